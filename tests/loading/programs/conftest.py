"""Networks as files in every format that is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from exporters.modules import without_fast_path
from exporters.quiet import quietly

Write = Callable[..., Path]


def write_pt2(path: Path, module: nn.Module, inputs: Sequence[Tensor], *, dynamic: bool = True) -> None:
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} for _ in inputs) if dynamic else None
    torch.export.save(torch.export.export(module, tuple(inputs), dynamic_shapes=shapes), path)


def write_core(path: Path, module: nn.Module, inputs: Sequence[Tensor], *, dynamic: bool = True) -> None:
    """With every operator decomposed into the core ATen operators."""
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} for _ in inputs) if dynamic else None
    program = torch.export.export(module, tuple(inputs), dynamic_shapes=shapes)
    torch.export.save(program.run_decompositions(), path)


def write_trace(path: Path, module: nn.Module, inputs: Sequence[Tensor]) -> None:
    torch.jit.save(torch.jit.trace(module, tuple(inputs), strict=False), str(path))


def write_script(path: Path, module: nn.Module, inputs: Sequence[Tensor]) -> None:
    torch.jit.save(torch.jit.script(module), str(path))


def write_onnx(
    path: Path, module: nn.Module, inputs: Sequence[Tensor], *, dynamic: bool = True, **more: object
) -> None:
    """By torch's tracing exporter."""
    names = [f"in.{index}" for index in range(len(inputs))]
    axes = {name: {0: "n"} for name in names} if dynamic else None
    options = {"opset_version": 17, "input_names": names, "dynamic_axes": axes, **more}
    torch.onnx.export(module, tuple(inputs), str(path), dynamo=False, **options)  # type: ignore[arg-type]


def write_dynamo(path: Path, module: nn.Module, inputs: Sequence[Tensor], *, dynamic: bool = True) -> None:
    """By torch's newer exporter."""
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} for _ in inputs) if dynamic else None
    options = {"dynamic_shapes": shapes, "external_data": False, "verbose": False}
    torch.onnx.export(module, tuple(inputs), str(path), dynamo=True, **options)  # type: ignore[arg-type]


WRITERS = {
    "pt2": write_pt2,
    "core": write_core,
    "trace": write_trace,
    "script": write_script,
    "onnx": write_onnx,
    "dynamo": write_dynamo,
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes (format, module, inputs, options of the format) to a file, and gives its path."""

    def written(form: str, module: nn.Module, inputs: Sequence[Tensor], **options: object) -> Path:
        path = tmp_path / f"model.{form}"
        with quietly(), torch.no_grad(), without_fast_path():
            WRITERS[form](path, module, inputs, **options)  # type: ignore[operator]
        return path

    return written


def shapes_of(inputs: Sequence[Tensor]) -> list[str]:
    """As --input wants them."""
    kinds = ["" if tensor.is_floating_point() else f":{str(tensor.dtype).removeprefix('torch.')}" for tensor in inputs]
    return ["x".join(map(str, tensor.shape)) + kind for tensor, kind in zip(inputs, kinds, strict=True)]
