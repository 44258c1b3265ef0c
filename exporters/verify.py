"""Loads an exported file in a fresh process and compares its outputs with the module's.

Exporters and simplifiers have been silently wrong (wrong biases, zero accuracy), so a file counts for nothing before
its own runtime has given the module's numbers.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from exporters.cases import CannotCompare, Case, differs_from_run_to_run, make_cases
from exporters.child import run_child
from exporters.compare import Array, compare, peak
from exporters.signature import ExampleInputs
from exporters.types import ExportedFile, ParityCheck, Verification

RANDOM = (
    "the module draws random numbers (called again with the same inputs, it gives other outputs), so the file's cannot "
    "be compared with them. Give it its random numbers as an input, or export the part that draws none"
)


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
    """Compares `file` with `module` on random inputs and on `extra_inputs`.

    Args:
        file: as `export` returned it, or `reopen` made it.
        module: the reference: the module that was exported, or that of `load_program`. It is left as it was.
        inputs: of the right shapes and kinds; their batch size does not matter, unless the file's is fixed.
        batch_sizes: all seeds are tried at the first, one seed at each of the others. A file whose batch is fixed is
            verified at the batch size of `inputs`.
        seeds: of the random inputs.
        extra_inputs: what they are ("calibration images") -> inputs, beside the random ones.
        rel_tolerance: allowed max |file - module| as a share of max |module|, per output.
        abs_tolerance: allowed max |file - module| where outputs are near zero; see `exporters.compare`.
        timeout_s: for the process that runs the file, seconds.

    A file that cannot be loaded, run or compared is never passed: `failure` says why.
    """
    results = verify_all(
        [file],
        module,
        inputs,
        batch_sizes=batch_sizes,
        seeds=seeds,
        extra_inputs=extra_inputs,
        rel_tolerance=rel_tolerance,
        abs_tolerance=abs_tolerance,
        timeout_s=timeout_s,
    )
    return next(results)


def verify_all(
    files: Iterable[ExportedFile],
    module: nn.Module,
    inputs: ExampleInputs | Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    *,
    batch_sizes: Sequence[int] = (1, 2, 5),
    seeds: Sequence[int] = (0, 1),
    extra_inputs: Mapping[str, ExampleInputs] | None = None,
    rel_tolerance: float = 1e-3,
    abs_tolerance: float = 1e-5,
    timeout_s: float = 600.0,
) -> Iterator[Verification]:
    """`verify` for several files of one module, which runs only once for all of them; yields as each is done.

    Where axes beside the batch vary (`ExampleInputs.resized`), a second length of them is tried, too.
    """
    example = ExampleInputs.of(inputs, module).to("cpu")
    known: dict[tuple[tuple[int, ...], bool], list[Case]] = {}
    resized = example.resized()
    for file in files:
        sizes = tuple(batch_sizes) if file.dynamic_batch else (example.batch_size,)
        more = dict(extra_inputs or {})
        if resized is not None and "fixed_axes" not in file.details:
            more["random, other sizes"] = resized
        kind = (sizes, len(more) > len(extra_inputs or {}))
        checks: tuple[ParityCheck, ...] = ()
        failure = ""
        try:
            if kind not in known:
                known[kind] = make_cases(module, example, sizes, seeds, more)
            checks = tuple(_checks(file, example.names, known[kind], rel_tolerance, abs_tolerance, timeout_s))
            if not all(check.passed for check in checks) and differs_from_run_to_run(module, example):
                failure = RANDOM
        except CannotCompare as reason:
            failure = str(reason)
        yield Verification(file.format, file.path, rel_tolerance, abs_tolerance, checks, failure)


def _checks(
    file: ExportedFile,
    input_names: Sequence[str],
    cases: Sequence[Case],
    rel_tolerance: float,
    abs_tolerance: float,
    timeout_s: float,
) -> Iterator[ParityCheck]:
    if not cases:
        raise CannotCompare("there was nothing to compare: no batch sizes or no seeds, and no other inputs")
    with tempfile.TemporaryDirectory() as folder:
        results = _run_file(file, input_names, cases, Path(folder), timeout_s)
    n = len(cases[0].outputs)
    names = file.output_names if len(file.output_names) == n else tuple(f"output_{i}" for i in range(n))
    peaks = [max(peak(case.outputs[i]) for case in cases) for i in range(n)]
    for case, found in zip(cases, results, strict=True):
        result = compare(case.outputs, found, names, peaks, rel_tolerance, abs_tolerance)
        if result.failure:
            raise CannotCompare(f"{result.failure} ({case.label}, batch {case.batch_size})")
        yield ParityCheck(case.batch_size, case.label, result.max_abs_error, result.max_rel_error, result.passed)


def _run_file(
    file: ExportedFile, input_names: Sequence[str], cases: Sequence[Case], folder: Path, timeout_s: float
) -> list[list[Array]]:
    """The file's outputs, per case and in the file's order, from a process of its own."""
    arrays = {f"{c}.{i}": array for c, case in enumerate(cases) for i, array in enumerate(case.inputs)}
    np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
    job = {"format": file.format, "path": str(file.path.resolve()), "input_names": input_names, "n_cases": len(cases)}
    (folder / "job.json").write_text(json.dumps(job))
    if failure := run_child("exporters.worker", [str(folder)], folder, timeout_s):
        raise CannotCompare(f"the file does not run: {failure}")
    answer = json.loads((folder / "answer.json").read_text())
    found = tuple(answer["output_names"])
    if file.output_names and found != file.output_names:
        expected = ", ".join(file.output_names)
        raise CannotCompare(f"the file's outputs are {', '.join(found)}, but the module's are {expected}")
    with np.load(folder / "outputs.npz") as outputs:
        return [[outputs[f"{c}.{i}"] for i in range(answer["n_outputs"])] for c in range(len(cases))]
