"""Outputs of a file against outputs of the module, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Difference:
    """How far one case's outputs lie apart, or why they cannot be compared (then `failure` is a sentence)."""

    max_abs_error: float = 0.0
    max_rel_error: float = 0.0  # per output: max |file - module| / max |module|; the largest of them
    passed: bool = False
    failure: str = ""


def peak(array: Array) -> float:
    """The largest magnitude among the finite elements; 0 if there is none."""
    values = np.abs(array[np.isfinite(array)].astype(np.float64))
    return float(values.max()) if values.size else 0.0


def compare(
    module: Sequence[Array],
    file: Sequence[Array],
    names: Sequence[str],
    peaks: Sequence[float],
    rel_tolerance: float,
    abs_tolerance: float,
) -> Difference:
    """Compares one case, output by output.

    An output passes if max |file - module| is at most rel_tolerance * max |module|, or at most abs_tolerance; but of
    the latter never more than a hundredth of `peaks` (the output's largest magnitude over all cases): an output whose
    numbers are all tiny must not pass unseen. Integers and booleans must be equal.
    """
    if len(module) != len(file):
        return Difference(failure=f"the module has {len(module)} outputs, but the file has {len(file)}")
    largest_abs, largest_rel, passed = 0.0, 0.0, True
    for name, expected, found, top in zip(names, module, file, peaks, strict=True):
        if failure := _mismatch(name, expected, found):
            return Difference(failure=failure)
        finite = np.isfinite(expected)
        gap = np.abs(found[finite].astype(np.float64) - expected[finite].astype(np.float64))
        error, size = float(gap.max(initial=0.0)), peak(expected)
        allowed = max(rel_tolerance * size, min(abs_tolerance, top / 100) if top else abs_tolerance)
        passed &= error <= allowed if expected.dtype.kind == "f" else error == 0
        largest_abs = max(largest_abs, error)
        largest_rel = max(largest_rel, error / size if size else float(error > 0))
    return Difference(largest_abs, largest_rel, passed)


def _mismatch(name: str, expected: Array, found: Array) -> str:
    if expected.shape != found.shape:
        return f"output '{name}' has shape {expected.shape} in the module, but {found.shape} in the file"
    if _kind(expected) != _kind(found):
        return f"output '{name}' holds {expected.dtype} in the module, but {found.dtype} in the file"
    odd = ~np.isfinite(expected)
    if not np.array_equal(expected[odd], found[odd]) or not np.isfinite(found[~odd]).all():
        return f"output '{name}' has infinite or undefined numbers at other places in the file than in the module"
    return ""


def _kind(array: Array) -> str:
    return {"u": "i"}.get(array.dtype.kind, array.dtype.kind)
