"""What the three kinds of program files have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, fx


@dataclass(frozen=True)
class FileInput:
    """One input as the file declares it."""

    name: str
    dtype: torch.dtype
    shape: tuple[int | str, ...] | None  # a text names an axis that varies; None: the file does not say

    def __str__(self) -> str:
        return f"{self.name} {'x'.join(map(str, self.shape)) if self.shape is not None else 'of unknown shape'}"


class ProgramFile(Protocol):
    """An opened file: a program with weights."""

    description: str  # as in "an ONNX model (opset 17, made by pytorch)"
    inputs: tuple[FileInput, ...]
    output_names: tuple[str, ...]  # empty where the file has none
    metadata: dict[str, str]

    def build(self, runs: Sequence[Sequence[Tensor]], frozen_batch: int | None = None) -> fx.GraphModule:
        """The program as a module.

        Args:
            runs: the input tensors of each trial run.
            frozen_batch: the batch size that stands in the program, if the runs have others.

        Raises:
            UnsupportedModel: an operator has no counterpart, or the program does not run with these inputs.
        """

    def outputs(self, cases: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """What the file itself gives for each case of inputs."""
