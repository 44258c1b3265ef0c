"""ONNX by tracing, for models that torch.export or its ONNX conversion cannot handle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from exporters.failures import first_line
from exporters.quiet import quietly, without_native_output
from exporters.signature import ExampleInputs, flatten_outputs
from exporters.source import Source
from exporters.types import ExportedFile
from exporters.verify import verify


def write_by_tracing(source: Source, path: Path, opset: int | None) -> tuple[bool, str]:
    """Traces the module; returns whether the batch is dynamic, and what the trace has frozen (empty: nothing).

    Raises:
        Exception: whatever the tracer raises where an operator has no translation.
    """
    axes = source.inputs.interface.axis_names(len(source.input_names))
    if any(0 in named for named in axes) and _runs(source.module, source.batched_inputs):
        try:
            frozen = _write(source, path, opset, axes, dynamic=True)
            if not frozen or _holds_for_other_batches(source, path):
                return True, frozen
        except OSError:  # the disk, not the model
            raise
        except Exception:  # an operator whose attributes follow from the batch: with a fixed one they are numbers
            pass
        path.unlink(missing_ok=True)
    return False, _write(source, path, opset, axes, dynamic=False)


def _write(source: Source, path: Path, opset: int | None, axes: Sequence[Mapping[int, str]], *, dynamic: bool) -> str:
    """Traces with a variable batch or the example's, and says which constants were taken from the example."""
    inputs = source.batched_inputs if dynamic else source.inputs
    batch = next((named[0] for named in axes if 0 in named), "batch")
    variable = {
        name: {axis: label for axis, label in named.items() if axis or dynamic}
        for name, named in zip(source.input_names, axes, strict=True)
    }
    variable |= {name: {0: batch} for name in source.output_names if dynamic}
    with without_native_output(), quietly() as caught:
        torch.onnx.export(
            _Positional(source.module, inputs),
            inputs.tensors,
            path,
            dynamo=False,
            input_names=list(source.input_names),
            output_names=list(source.output_names),
            dynamic_axes={name: named for name, named in variable.items() if named} or None,
            opset_version=opset,
        )
    frozen = [warning.message for warning in caught if warning.category.__name__ == "TracerWarning"]
    if not frozen:
        return ""
    return f"{len(frozen)} constants taken from the example; the first: {first_line(_exception(frozen[0]))}"


class _Positional(nn.Module):
    """The module called by position with a plain tuple of outputs, which is all that the tracer understands."""

    def __init__(self, module: nn.Module, inputs: ExampleInputs) -> None:
        super().__init__()
        self.module, self.inputs = module, inputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        called = ExampleInputs(self.inputs.names, tensors, self.inputs.by_keyword)
        return tuple(flatten_outputs(called.call(self.module)))


def _holds_for_other_batches(source: Source, path: Path) -> bool:
    """Whether the file gives the module's numbers at batch sizes that it was not traced with.

    A trace unrolls loops over the batch, as detectors have them: the file then takes one batch size only.
    """
    file = ExportedFile("onnx", path, tuple(source.input_names), (), True, path.stat().st_size, "")
    sizes = [size for size in (1, 2, 3) if size != source.batched_inputs.batch_size]
    return verify(file, source.module, source.inputs, batch_sizes=sizes, seeds=(0,)).passed


def _runs(module: nn.Module, inputs: ExampleInputs) -> bool:
    try:
        inputs.call(module)
    except Exception:  # the answer is no, whatever the user's code raises
        return False
    return True


def _exception(message: Warning | str) -> BaseException:
    return message if isinstance(message, BaseException) else Warning(message)
