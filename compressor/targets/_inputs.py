"""Inputs made from a file's own description of them, and the sentences that targets share."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.core.errors import InvalidOption, ModelFileError

if TYPE_CHECKING:
    import numpy as np

# Same numbers in every process and for every file, so that two files of one comparison see the same data.
_SEED = 0
_DRAWN = 1 << 18  # numbers drawn at most; larger inputs repeat them, so that making inputs is no part of loading
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # terminal colours, which some runtimes put into their errors


@dataclass(frozen=True)
class InputSpec:
    """One input as the file describes it."""

    name: str
    shape: tuple[int | None, ...]  # None: dynamic
    dtype: np.dtype


def missing_package(package: str, install: str) -> str:
    """Why a target cannot be used if `package` is not installed; empty if it is. Imports nothing."""
    if importlib.util.find_spec(package) is None:
        return f"The package '{package}' is not installed. Run: pip install {install}"
    return ""


def cannot_load(path: Path, runtime: str, error: BaseException) -> ModelFileError:
    """The error for a file that its runtime refuses, with the first line of the runtime's own words."""
    plain = _COLOUR.sub("", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    reason = lines[0][:300] if lines else type(error).__name__
    return ModelFileError(f"{path}: {runtime} cannot load it ({reason}). Export the model again.")


def resolve_shapes(
    specs: Sequence[InputSpec], batch_size: int, shapes: Mapping[str, Sequence[int]], owner: str
) -> dict[str, tuple[int, ...]]:
    """The shape of every input for `batch_size`: a dynamic axis 0 is the batch, the other axes are the file's own.

    Args:
        specs: the file's inputs.
        batch_size: samples per inference, at least 1.
        shapes: {input name: full shape}; takes the place of what the file says, for axes that it leaves open.
        owner: opens the sentence of an error ("onnxruntime:cpu").

    Raises:
        InvalidOption: a name in `shapes` is no input, a shape contradicts the file, an axis other than 0 is dynamic and
            not given, or the file fixes another batch size.
    """
    if batch_size < 1:
        raise InvalidOption(owner, "batch_size", "at least 1", batch_size)
    names = [spec.name for spec in specs]
    for name in shapes:
        if name not in names:
            raise InvalidOption(owner, "shapes", f"for inputs of the file ({', '.join(names)})", name)
    resolved = {spec.name: _resolve(spec, batch_size, shapes.get(spec.name), owner) for spec in specs}
    batched = [shape for shape in resolved.values() if shape]
    if batched and all(shape[0] != batch_size for shape in batched):
        raise InvalidOption(
            owner,
            "batch_size",
            f"{batched[0][0]}, which the file fixes",
            batch_size,
            "Export it with a dynamic batch axis to time other batch sizes.",
        )
    return resolved


def make_arrays(specs: Sequence[InputSpec], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Standard normal numbers for floating-point inputs; ones for booleans and masks, zeros for other integers.

    Zero is a valid index into any table (token ids), and a mask of ones hides nothing.
    """
    import numpy as np

    generator = np.random.default_rng(_SEED)
    arrays = {}
    for spec in specs:
        shape = shapes[spec.name]
        if np.issubdtype(spec.dtype, np.floating):
            drawn = generator.standard_normal(min(_DRAWN, math.prod(shape))).astype(spec.dtype)
            arrays[spec.name] = np.resize(drawn, shape)
        else:
            ones = spec.dtype == np.bool_ or "mask" in spec.name.lower()
            arrays[spec.name] = np.full(shape, 1 if ones else 0, dtype=spec.dtype)
    return arrays


def _resolve(spec: InputSpec, batch_size: int, given: Sequence[int] | None, owner: str) -> tuple[int, ...]:
    if given is not None:
        shape = (batch_size, *given[1:]) if given and spec.shape and spec.shape[0] is None else tuple(given)
        agrees = len(shape) == len(spec.shape) and all(
            size >= 1 and own in (None, size) for size, own in zip(shape, spec.shape, strict=True)
        )
        if not agrees:
            raise InvalidOption(owner, f"shapes[{spec.name}]", f"a shape that fits {_words(spec.shape)}", tuple(given))
        return shape
    first = tuple(batch_size if size is None else size for size in spec.shape[:1])
    rest = tuple(size for size in spec.shape[1:] if size is not None)
    if len(first) + len(rest) != len(spec.shape):
        raise InvalidOption(
            owner,
            f"shapes[{spec.name}]",
            "given, since axes other than the batch are dynamic",
            _words(spec.shape),
            f"Give its full shape ({spec.name}=1x3x224x224), or export it with a static shape.",
        )
    return first + rest


def _words(shape: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)
