"""Cutting against masking: whether a cut network computes what the whole one does with those channels silenced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.core.copies import own_tensors, share_tensors
from compressor.core.groups import ChannelGroup
from compressor.graph.cost import evaluating
from compressor.surgery.cut import cut
from compressor.surgery.expand import expand
from compressor.surgery.masking import StepCounter, silenced
from exporters.signature import ExampleInputs, flatten_outputs

# Relative to the largest output. In double precision a wrong index map shows even where it moves the output little.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


@dataclass(frozen=True)
class Difference:
    """How far two networks' outputs lie apart."""

    max_abs: float
    max_rel: float  # of the largest absolute output
    effect_rel: float  # how much silencing the channels moved the outputs, on the same scale
    tolerance: float
    dtype: str

    @property
    def equal(self) -> bool:
        """Whether they agree: within the tolerance, and far below what silencing the channels did."""
        return self.max_rel <= self.tolerance and self.max_rel <= max(1e-3 * self.effect_rel, 1e-13)


class Reference:
    """A copy of the whole model in double precision (single, where its code insists) with its own outputs.

    Groups are best found on this copy: in another precision PyTorch may execute other operators.
    """

    def __init__(self, model: nn.Module, inputs: ExampleInputs) -> None:
        try:
            self.dtype = torch.float64
            self.model, self.inputs = own_tensors(model).double(), inputs.to(dtype=torch.float64)
            self.outputs = _outputs(self.model, self.inputs)
        except (RuntimeError, TypeError):  # a dtype is written into its forward
            self.dtype = torch.float32
            self.model, self.inputs = own_tensors(model), inputs
            self.outputs = _outputs(self.model, self.inputs)

    def compare(self, groups: Sequence[ChannelGroup], keep: Mapping[str, Sequence[int]]) -> Difference:
        """Cuts a copy and compares it with the silenced whole.

        Raises:
            CutDoesNotRun: the cut network's code raises.
            ShapeChanged: the cut network's outputs have other shapes.
        """
        smaller = share_tensors(self.model)
        cut(smaller, *expand(groups, keep, smaller))
        counter = StepCounter()
        try:
            found = _outputs(smaller, self.inputs, counter)
        except Exception as error:
            raise CutDoesNotRun(error, counter.step) from error
        for ours, whole in zip(found, self.outputs, strict=True):
            if ours.shape != whole.shape:
                raise ShapeChanged(tuple(whole.shape), tuple(ours.shape))
        wanted = _outputs(self.model, self.inputs, silenced(groups, keep))
        return self._difference(found, wanted)

    def _difference(self, found: list[Tensor], wanted: list[Tensor]) -> Difference:
        max_abs = max((_distance(a, b) for a, b in zip(found, wanted, strict=True)), default=0.0)
        moved = max((_distance(a, b) for a, b in zip(wanted, self.outputs, strict=True)), default=0.0)
        scale = max((float(t.abs().max()) for t in wanted if t.numel()), default=0.0) or 1.0
        effect = moved / scale if self.dtype is torch.float64 else float("inf")  # too coarse to tell in single
        return Difference(
            max_abs, max_abs / scale, effect, TOLERANCE[self.dtype], str(self.dtype).removeprefix("torch.")
        )


class CutDoesNotRun(Exception):
    """The cut network's code raised; `step` is the number of the operator that it was about to execute."""

    def __init__(self, cause: Exception, step: int) -> None:
        super().__init__(str(cause))
        self.cause, self.step = cause, step


class ShapeChanged(Exception):
    """The cut reached the model's outputs."""

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        super().__init__(f"an output of shape {before} becomes {after}")


def _outputs(
    model: nn.Module, inputs: ExampleInputs, mode: AbstractContextManager[object] | None = None
) -> list[Tensor]:
    """The model's outputs, executed under `mode`; what it draws (a sampled latent) is the same each time."""
    with evaluating(model), torch.random.fork_rng(devices=[]), mode or nullcontext():
        torch.default_generator.manual_seed(0)
        return flatten_outputs(inputs.call(model))


def _distance(a: Tensor, b: Tensor) -> float:
    if not a.is_floating_point():
        return 0.0
    distance = float((a - b).abs().max()) if a.numel() else 0.0
    return distance if distance == distance else float("inf")  # NaN is no agreement
