"""The file's outputs against the module's: nobody gets a module that computes something else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs.program_file import ProgramFile
from exporters.compare import compare, peak
from exporters.signature import flatten_outputs

REL_TOLERANCE = 1e-4  # of an output's largest number
_ABS_TOLERANCE = 1e-7


def check_freed(file: ProgramFile, module: fx.GraphModule, cases: Sequence[Sequence[Tensor]]) -> None:
    """The module on all cases as one batch, against the file on one case after the other.

    Raises:
        UnsupportedModel: they differ, or an output has no batch axis.
    """
    expected = _outputs(file, cases)
    joined = [torch.cat(tensors) for tensors in zip(*cases, strict=True)]
    if any(not output.ndim for output in expected[0]):
        raise UnsupportedModel("an output has no batch axis")
    _check_case(file, module, joined, [torch.cat(outputs) for outputs in zip(*expected, strict=True)])


def check_equal(file: ProgramFile, module: fx.GraphModule, cases: Sequence[Sequence[Tensor]]) -> None:
    """Runs both on every case.

    Raises:
        UnsupportedModel: they differ, or the file does not run.
    """
    for tensors, results in zip(cases, _outputs(file, cases), strict=True):
        _check_case(file, module, tensors, results)


def _outputs(file: ProgramFile, cases: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    try:
        return file.outputs([[tensor.clone() for tensor in tensors] for tensors in cases])
    except UnsupportedModel:
        raise
    except Exception as error:  # whatever a runtime raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnsupportedModel(f"the file itself does not run: {reason[:200]}") from error


def _check_case(
    file: ProgramFile, module: fx.GraphModule, tensors: Sequence[Tensor], results: Sequence[Tensor]
) -> None:
    shapes = ", ".join("x".join(map(str, tensor.shape)) for tensor in tensors)
    with torch.no_grad():
        try:
            found = [tensor.numpy() for tensor in flatten_outputs(module(*tensors))]
        except Exception as error:  # the module is made of the file
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UnsupportedModel(
                f"the converted module does not run with inputs of {shapes}: {reason[:200]}"
            ) from error
    arrays = [tensor.detach().numpy() for tensor in results]
    names = file.output_names or tuple(f"output {index}" for index in range(len(arrays)))
    result = compare(found, arrays, names, [peak(array) for array in arrays], REL_TOLERANCE, _ABS_TOLERANCE)
    if not result.passed:
        reason = result.failure or f"by {result.max_rel_error:.1e} of the largest output"
        raise UnsupportedModel(f"with inputs of {shapes} the converted module gives something else: {reason}")
