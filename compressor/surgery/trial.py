"""Every group is cut on a copy before anybody relies on it; what breaks is set aside with its reason."""

from __future__ import annotations

import linecache
import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from compressor.core.errors import CompressionError
from compressor.core.groups import BlockedGroup, ChannelGroup
from compressor.core.progress import Progress, SilentProgress
from compressor.graph.cost import evaluating
from compressor.surgery.check import CutDoesNotRun, Reference, ShapeChanged
from compressor.surgery.cut import cut, share_tensors
from compressor.surgery.expand import expand
from compressor.surgery.masking import StepCounter
from exporters.signature import ExampleInputs


def try_groups(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    inputs: ExampleInputs,
    seed: int = 0,
    progress: Progress | None = None,
    groups_at: Sequence[frozenset[str]] = (),
    operators: Sequence[str] = (),
) -> tuple[list[ChannelGroup], list[BlockedGroup]]:
    """Splits groups into those whose cut equals masking on `model`, and those whose cut does not.

    All are cut at once. Where the cut network stops at an operator, the groups that meet there are set aside, and the
    rest is tried again; where it runs and is wrong, groups are halved until the culprits stand alone. So a model whose
    graph is right costs two forward passes.

    Args:
        model: left as it was found.
        groups: candidates from the graph.
        inputs: run through the copies.
        seed: draws the channels that are removed.
        progress: told of each trial.
        groups_at: per executed operator, the names of the groups whose channels it sees.
        operators: per executed operator, "name at place".
    """
    listener = progress or SilentProgress()
    reference = Reference(model, inputs, operators)
    generator = random.Random(seed)
    keep = {group.name: _some(group.n_channels, generator) for group in groups}
    good, blocked = list(groups), []

    with listener.step("Trying every group on a copy") as step:

        def trial(subset: Sequence[ChannelGroup]) -> _Failure | None:
            step.advance(note=f"{len(subset)} groups")
            return _failure(reference, subset, keep)

        for reason, culprits in _misshapen(model, inputs, good, keep, groups_at, operators):
            step.advance(note=f"{len(good)} groups")
            blocked += [(group, reason) for group in good if group.name in culprits]
            good = [group for group in good if group.name not in culprits]
        failure = trial(good)
        while failure is not None and good:
            suspects = _suspects(failure.step, good, groups_at)
            if not suspects:
                good, found = _separate(good, trial)
                blocked += found
                failure = trial(good)
                if failure is not None and not found:  # right one by one, wrong together
                    good, found = _agreeing(good, trial)
                    blocked += found
                    break
                continue
            by_name = {group.name: group for group in good}
            culprits = _culprits([by_name[name] for name in sorted(suspects)], trial)
            blocked += [(group, failure.reason) for group in good if group.name in culprits]
            good = [group for group in good if group.name not in culprits]
            failure = trial(good)
    return good, [_blocked(group, reason) for group, reason in blocked]


@dataclass(frozen=True)
class _Failure:
    """Why a cut is wrong, and at which operator the cut network stopped (none if it ran)."""

    reason: str
    step: int | None = None


def _suspects(step: int | None, groups: Sequence[ChannelGroup], groups_at: Sequence[frozenset[str]]) -> frozenset[str]:
    """The groups that meet at the operator, or at the last one before it that sees any; nobody if the network ran."""
    if step is None:
        return frozenset()
    names = {group.name for group in groups}
    return next((found for at in reversed(groups_at[: step + 1]) if (found := at & names)), frozenset())


def _culprits(
    suspects: Sequence[ChannelGroup], failure: Callable[[Sequence[ChannelGroup]], object | None]
) -> frozenset[str]:
    """Names of those of several suspects that fail by themselves; of all if each is right by itself."""
    alone = [group for group in suspects if len(suspects) == 1 or failure([group]) is not None]
    return frozenset(group.name for group in alone or suspects)


def _misshapen(
    model: nn.Module,
    inputs: ExampleInputs,
    groups: Sequence[ChannelGroup],
    keep: dict[str, list[int]],
    groups_at: Sequence[frozenset[str]],
    operators: Sequence[str],
) -> Iterator[tuple[str, frozenset[str]]]:
    """Cuts of shapes alone, without computing: what stops them, and the groups at fault, until they run through.

    Says nothing where the model cannot run without numbers.
    """
    whole = share_tensors(model).to("meta")
    shapes = inputs.to(device="meta")
    try:
        with evaluating(whole):
            shapes.call(whole)
    except Exception:  # its code looks at numbers
        return

    def failure(subset: Sequence[ChannelGroup]) -> tuple[Exception, StepCounter] | None:
        smaller, counter = share_tensors(whole), StepCounter()
        try:
            cut(smaller, *expand(subset, keep, smaller))
            with evaluating(smaller), counter:
                shapes.call(smaller)
        except Exception as error:  # a user's forward may raise anything
            return error, counter
        return None

    left = list(groups)
    while left and (found := failure(left)) is not None:
        error, counter = found
        in_step = counter.names == [name.partition(" at ")[0] for name in operators[: counter.step]]
        suspects = _suspects(counter.step, left, groups_at) if in_step else frozenset()
        if isinstance(error, CompressionError) or not suspects:
            return
        by_name = {group.name: group for group in left}
        culprits = _culprits([by_name[name] for name in sorted(suspects)], failure)
        left = [group for group in left if group.name not in culprits]
        yield _explain(error), culprits


Trial = Callable[[Sequence[ChannelGroup]], "_Failure | None"]


def _separate(groups: list[ChannelGroup], trial: Trial) -> tuple[list[ChannelGroup], list[tuple[ChannelGroup, str]]]:
    if not groups:
        return [], []
    failure = trial(groups)
    if failure is None:
        return groups, []
    if len(groups) == 1:
        return [], [(groups[0], failure.reason)]
    half = len(groups) // 2
    good_a, bad_a = _separate(groups[:half], trial)
    good_b, bad_b = _separate(groups[half:], trial)
    return good_a + good_b, bad_a + bad_b


def _agreeing(groups: list[ChannelGroup], trial: Trial) -> tuple[list[ChannelGroup], list[tuple[ChannelGroup, str]]]:
    """Keeps the groups that agree with those before them."""
    good: list[ChannelGroup] = []
    blocked = []
    for group in groups:
        failure = trial([*good, group])
        if failure is None:
            good.append(group)
        else:
            blocked.append((group, failure.reason))
    return good, blocked


def _failure(reference: Reference, groups: Sequence[ChannelGroup], keep: dict[str, list[int]]) -> _Failure | None:
    """What is wrong with the cut of these groups; None if it is right."""
    try:
        difference = reference.compare(groups, keep)
    except ShapeChanged as error:
        return _Failure(f"its channels reach the model's outputs ({error}).")
    except CutDoesNotRun as error:
        return _Failure(_explain(error.cause), error.step)
    except CompressionError as error:  # our own cut refuses
        return _Failure(f"the graph leads its channels to places that its layers do not have ({error}).")
    if difference.equal:
        return None
    return _Failure(
        f"the cut network runs, but its outputs differ from the masked one's by {difference.max_rel:.1e} of their "
        "size: an operator on the way mixes channels in a way that the graph does not follow."
    )


def _explain(error: Exception) -> str:
    """The error of the cut network with the operator's place in the user's code."""
    message = (str(error).splitlines() or [type(error).__name__])[0][:160]
    frames = traceback.extract_tb(error.__traceback__)
    torch_root = str(Path(torch.__file__).parent)
    ours = str(Path(__file__).parent.parent)
    user = [f for f in frames if not f.filename.startswith((torch_root, ours)) and "/exporters/" not in f.filename]
    if not user:
        return f"the cut network does not run: {message}."
    last = user[-1]
    line = linecache.getline(last.filename, last.lineno or 0).strip()
    return f"after the cut, `{line[:100]}` ({_short(last.filename)}:{last.lineno}) fails: {message}."


def _short(filename: str) -> str:
    parts = Path(filename).parts
    if "site-packages" in parts:
        return "/".join(parts[parts.index("site-packages") + 1 :])
    return "/".join(parts[-2:])


def _some(n_channels: int, generator: random.Random) -> list[int]:
    """A random kept set of a third to two thirds of the channels, never none and never all.

    Every group keeps another share: code that divides one group's size by another's works by chance where all keep
    the same share.
    """
    n_keep = round(n_channels * generator.uniform(1 / 3, 2 / 3))
    return sorted(generator.sample(range(n_channels), min(max(1, n_keep), n_channels - 1)))


def _blocked(group: ChannelGroup, reason: str) -> BlockedGroup:
    layers = tuple(m.layer for m in group.members if m.role is not m.role.CONSUMER)
    return BlockedGroup(group.name, group.n_channels, reason, layers=layers)
