"""Loads an exported file in a fresh process and compares its outputs with the module's.

Exporters and simplifiers have been silently wrong (wrong biases, zero accuracy), so a file counts for nothing before
its own runtime has given the module's numbers.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from exporters.child import run_child
from exporters.compare import Array, Difference, compare, peak
from exporters.failures import first_line
from exporters.modules import evaluating, on_cpu
from exporters.signature import ExampleInputs, flatten_outputs
from exporters.types import ExportedFile, ParityCheck, Verification


def verify(
    file: ExportedFile,
    module: nn.Module,
    inputs: ExampleInputs | Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    *,
    batch_sizes: Sequence[int] = (1, 2, 5),
    seeds: Sequence[int] = (0, 1),
    extra_inputs: Mapping[str, ExampleInputs] | None = None,
    rel_tolerance: float = 1e-3,
    abs_tolerance: float = 1e-5,
    timeout_s: float = 600.0,
) -> Verification:
    """Compares `file` with `module` on random inputs of every batch size and seed, and on `extra_inputs`.

    Args:
        file: as `export` returned it, or `reopen` made it.
        module: the reference: the module that was exported, or that of `load_program`. It is left as it was.
        inputs: of the right shapes and kinds; their batch size does not matter, unless the file's is fixed.
        batch_sizes: a file with a fixed batch is verified at the batch size of `inputs` only.
        seeds: of the random inputs.
        extra_inputs: what they are ("calibration images") -> inputs, beside the random ones.
        rel_tolerance: allowed max |file - module| as a share of max |module|, per output.
        abs_tolerance: allowed max |file - module| where outputs are near zero; see `exporters.compare`.
        timeout_s: for the process that runs the file, seconds.

    A file that cannot be loaded, run or compared is never passed: `failure` says why.
    """
    example = ExampleInputs.of(inputs, module).to("cpu")
    sizes = tuple(batch_sizes) if file.dynamic_batch else (example.batch_size,)
    checks: tuple[ParityCheck, ...] = ()
    try:
        cases = list(_cases(on_cpu(module), example, sizes, seeds, extra_inputs or {}))
        with tempfile.TemporaryDirectory() as folder:
            results = _run_file(file, example.names, cases, Path(folder), timeout_s)
        checks = tuple(_checks(file, cases, results, rel_tolerance, abs_tolerance))
        failure = "" if checks else "there was nothing to compare: no batch sizes, no seeds"
    except _CannotCompare as reason:
        failure = str(reason)
    return Verification(file.format, file.path, rel_tolerance, abs_tolerance, checks, failure)


class _CannotCompare(Exception):
    """Carries the sentence that becomes `Verification.failure`."""


@dataclass(frozen=True)
class _Case:
    label: str
    batch_size: int
    inputs: list[Array]
    outputs: list[Array]  # the module's


def _cases(
    module: nn.Module,
    example: ExampleInputs,
    sizes: Sequence[int],
    seeds: Sequence[int],
    extra: Mapping[str, ExampleInputs],
) -> Iterator[_Case]:
    with evaluating(module):
        for size in sizes:
            for seed in seeds:
                case = _case(module, f"random, seed {seed}", example.random(size, seed))
                if _undefined(case):  # the model may be made for a narrower range of numbers
                    case = _case(module, "the example inputs", example.tiled(size))
                if _undefined(case):
                    raise _CannotCompare("the module's own outputs are not numbers (NaN), so nothing can be compared")
                yield case
        for label, inputs in extra.items():
            yield _case(module, label, inputs.to("cpu"))


def _case(module: nn.Module, label: str, inputs: ExampleInputs) -> _Case:
    try:
        outputs = flatten_outputs(inputs.call(module))
    except Exception as error:  # whatever the user's module raises
        message = f"the module itself does not run on {label} with a batch of {inputs.batch_size}: {first_line(error)}"
        raise _CannotCompare(message) from error
    return _Case(label, inputs.batch_size, [_array(t) for t in inputs.tensors], [_array(t) for t in outputs])


def _array(tensor: Tensor) -> Array:
    try:
        array: Array = tensor.detach().numpy()
    except TypeError as error:
        raise _CannotCompare(f"{tensor.dtype} cannot be compared; export the module in float32") from error
    return array


def _undefined(case: _Case) -> bool:
    return any(bool(np.isnan(output).any()) for output in case.outputs if output.dtype.kind in "fc")


def _run_file(
    file: ExportedFile, names: Sequence[str], cases: Sequence[_Case], folder: Path, timeout_s: float
) -> list[list[Array]]:
    """The file's outputs, per case and in the file's order, from a process of its own."""
    arrays = {f"{c}.{i}": array for c, case in enumerate(cases) for i, array in enumerate(case.inputs)}
    np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
    job = {"format": file.format, "path": str(file.path.resolve()), "input_names": names, "n_cases": len(cases)}
    (folder / "job.json").write_text(json.dumps(job))
    if failure := run_child("exporters.worker", [str(folder)], folder, timeout_s):
        raise _CannotCompare(f"the file does not run: {failure}")
    answer = json.loads((folder / "answer.json").read_text())
    found = tuple(answer["output_names"])
    if file.output_names and found and found != file.output_names:
        expected = ", ".join(file.output_names)
        raise _CannotCompare(f"the file's outputs are {', '.join(found)}, but were written as {expected}")
    with np.load(folder / "outputs.npz") as outputs:
        n = len(outputs.files) // max(1, len(cases))
        return [[outputs[f"{c}.{i}"] for i in range(n)] for c in range(len(cases))]


def _checks(
    file: ExportedFile,
    cases: Sequence[_Case],
    results: Sequence[Sequence[Array]],
    rel_tolerance: float,
    abs_tolerance: float,
) -> Iterator[ParityCheck]:
    n = len(cases[0].outputs) if cases else 0
    names = file.output_names if len(file.output_names) == n else tuple(f"output_{i}" for i in range(n))
    peaks = [max(peak(case.outputs[i]) for case in cases) for i in range(n)]
    for case, found in zip(cases, results, strict=True):
        result: Difference = compare(case.outputs, found, names, peaks, rel_tolerance, abs_tolerance)
        if result.failure:
            raise _CannotCompare(f"{result.failure} ({case.label}, batch {case.batch_size})")
        yield ParityCheck(case.batch_size, case.label, result.max_abs_error, result.max_rel_error, result.passed)
