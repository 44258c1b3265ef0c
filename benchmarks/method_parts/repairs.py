"""Chains of repairs: recoveries without training, one after the other, each beginning with what the former left."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import nn
from zoo_parts.sentences import in_one_line, with_place

from compressor.core.errors import CompressionError
from compressor.core.progress import SilentProgress
from compressor.core.protocols import RecoveryContext
from compressor.runs.recover import RECOVERIES
from compressor.training.evaluate import evaluate
from method_parts.cells import Chosen, Repaired
from method_parts.subject import Subject

NONE = "none"
# Bias absorption is not followed by re-estimation: where a norm follows, its new mean takes the constant out again.
CHAINS = (
    NONE,
    "bias_absorption",
    "neuron_merging",
    "bn_reestimate",
    "neuron_merging+bn_reestimate",
    "least_squares",
    "least_squares+bn_reestimate",
)


def steps_of(chain: str) -> tuple[str, ...]:
    """The recoveries of a chain, in order.

    >>> steps_of("least_squares+bn_reestimate"), steps_of("none")
    (('least_squares', 'bn_reestimate'), ())
    """
    return () if chain == NONE else tuple(chain.split("+"))


def available(chains: Sequence[str]) -> list[str]:
    """Those whose recoveries all exist."""
    known = set(RECOVERIES.names())
    return [chain for chain in chains if known.issuperset(steps_of(chain))]


def needs_of(chain: str) -> frozenset[str]:
    """What the recoveries of a chain need together."""
    return frozenset().union(*(RECOVERIES.load(step).needs for step in steps_of(chain)))


@dataclass(frozen=True)
class _State:
    """The small model after a chain."""

    model: nn.Module
    seconds: float = 0.0
    facts: dict[str, float | int | str] = field(default_factory=dict)


class Repairs:
    """Everything that can be made of one cut model. What several chains begin with is done once."""

    def __init__(self, subject: Subject, chosen: Chosen, cut: nn.Module) -> None:
        self._subject, self._chosen, self._cut = subject, chosen, cut
        self._states: dict[tuple[str, ...], _State] = {}

    @cached_property
    def _context(self) -> RecoveryContext:
        source, coverage = self._subject.covered(self._chosen.choice.allocation)
        of_ours = self._chosen.plan is not None  # a foreign cut has no plan
        return RecoveryContext(
            self._cut,
            source.module,
            plan=self._chosen.plan,
            groups=coverage.groups if of_ours else (),
            inputs=source.inputs,
            train=self._subject.data.train,
            seed=self._chosen.choice.seed,
        )

    def measure(self, chain: str) -> Repaired:
        """Repairs a copy and measures it; what goes wrong becomes a sentence."""
        try:
            state = self._after(steps_of(chain))
            start = time.perf_counter()
            top1, n_images = evaluate(state.model, self._subject.data.val)
        except CompressionError as error:
            return Repaired(chain, failure=in_one_line(str(error)))
        except Exception as error:  # a bug, which must not look like a result nor end the benchmark
            return Repaired(chain, failure=f"[bug] {with_place(error)}")
        return Repaired(chain, top1, n_images, state.seconds, time.perf_counter() - start, state.facts)

    def repaired(self, chain: str) -> nn.Module:
        """The model after a chain that was measured."""
        return self._after(steps_of(chain)).model

    def _after(self, steps: tuple[str, ...]) -> _State:
        if not steps:
            return _State(self._cut)
        if steps not in self._states:
            before = self._after(steps[:-1])
            model = copy.deepcopy(before.model)
            start = time.perf_counter()
            recovery = RECOVERIES.load(steps[-1])()
            facts = recovery.apply(replace(self._context, model=model), SilentProgress())
            self._states[steps] = _State(model, before.seconds + time.perf_counter() - start, facts)
        return self._states[steps]
