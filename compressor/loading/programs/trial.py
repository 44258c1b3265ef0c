"""Which shapes a program is tried with: those that it declares, with a second length where axes vary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption, ModelFileError
from compressor.loading.input_spec import InputSpec, parse_inputs
from compressor.loading.programs.program_file import FileInput
from compressor.loading.programs.values import n_elements

BATCH_SIZE = 2  # of the first trial run; not 1, which broadcasts. The second has one more.
_IMAGE_SIDES, _N_STEPS = (224, 256, 128, 64, 32), 16
_MOST_ELEMENTS = 1 << 28  # of one input: a gigabyte of float32


@dataclass(frozen=True)
class Axes:
    """Lengths for every axis of every input, in the first and in the second trial run."""

    first: tuple[tuple[int, ...], ...]
    second: tuple[tuple[int, ...], ...] | None  # None: nothing varies
    dynamic: tuple[Mapping[int, str], ...]  # per input: axis -> name, of the axes that vary
    source: str  # where the lengths come from
    frozen_batch: int | None = None  # the file's own batch size, if the second run has another one all the same

    @property
    def other_sizes(self) -> dict[str, int]:
        """Name of an axis beside the batch -> its length in the second run."""
        if self.second is None:
            return {}
        return {
            name: shape[axis]
            for named, shape in zip(self.dynamic, self.second, strict=True)
            for axis, name in named.items()
            if axis
        }

    @property
    def dynamic_batch(self) -> bool:
        """Whether the first axis varies."""
        return any(0 in named for named in self.dynamic)


def with_kinds(inputs: Sequence[FileInput], texts: Sequence[str]) -> tuple[FileInput, ...]:
    """Inputs whose shape the file does not say have the kind of numbers that --input says."""
    given = _given(inputs, texts)
    if given is None:
        return tuple(inputs)
    return tuple(
        replace(spec, dtype=known.dtype) if spec.shape is None else spec
        for spec, known in zip(inputs, given, strict=True)
    )


def candidates(
    inputs: Sequence[FileInput], texts: Sequence[str], data_sample_shape: Sequence[int] | None
) -> Iterator[Axes]:
    """What to try, one after the other: all axes vary that the file says vary; then only the batch; then none.

    A batch that the file fixes is freed, if that can be done, so that the module can be trained.

    Raises:
        InvalidOption: `texts` (the --input options) do not fit the file, or are needed and missing.
        ModelFileError: an input is declared so large that no machine can hold it.
    """
    given = _given(inputs, texts)
    declared = _named(inputs)
    batch = tuple({axis: name for axis, name in named.items() if axis == 0} for named in declared)
    none: tuple[dict[int, str], ...] = ({},) * len(inputs)
    kinds = [kind for index, kind in enumerate((declared, batch, none)) if kind not in (declared, batch, none)[:index]]
    for known, source in _lengths(inputs, given, data_sample_shape):
        for dynamic in kinds:
            if not any(batch) and len({shape[:1] for shape in known}) == 1 and known[0]:
                yield _axes(inputs, known, dynamic, source, freed=True)
            yield _axes(inputs, known, dynamic, source, freed=False)


def _axes(
    inputs: Sequence[FileInput],
    known: Sequence[tuple[int, ...]],
    dynamic: tuple[Mapping[int, str], ...],
    source: str,
    *,
    freed: bool,
) -> Axes:
    first = tuple(_sized(shape, named, BATCH_SIZE) for shape, named in zip(known, dynamic, strict=True))
    varying = tuple({0: "batch", **named} for named in dynamic) if freed else dynamic
    second = None
    if any(varying):
        second = tuple(_varied(shape, named) for shape, named in zip(first, varying, strict=True))
    for spec, shape in zip(inputs, second or first, strict=True):
        _check_size(spec, shape)
    return Axes(first, second, dynamic, source, first[0][0] if freed else None)


def _check_size(spec: FileInput, shape: Sequence[int]) -> None:
    if n_elements(shape) > _MOST_ELEMENTS:
        raise ModelFileError(
            f"the input '{spec.name}' of shape {'x'.join(map(str, shape))} is larger than a gigabyte. Pass a smaller "
            "--input, or export the model for smaller inputs."
        )


def _given(inputs: Sequence[FileInput], texts: Sequence[str]) -> list[InputSpec] | None:
    """The --input options in the order of the file's inputs."""
    if not texts:
        return None
    specs = parse_inputs(texts)
    listed = ", ".join(map(str, inputs))
    if specs[0].name:
        by_name = {spec.name: spec for spec in specs}
        if set(by_name) != {spec.name for spec in inputs}:
            raise InvalidOption(
                "loading", "--input", f"given for the file's inputs ({listed})", ", ".join(map(str, specs))
            )
        specs = tuple(by_name[spec.name] for spec in inputs)
    if len(specs) != len(inputs):
        raise InvalidOption(
            "loading", "--input", f"given once for each of the file's inputs ({listed})", ", ".join(map(str, specs))
        )
    for spec, declared in zip(specs, inputs, strict=True):
        if declared.shape is not None and spec.dtype not in (torch.float32, declared.dtype):
            kind = str(declared.dtype).removeprefix("torch.")
            raise InvalidOption("loading", "--input", f"of the kind {kind}, which the file declares", str(spec))
        if declared.shape is not None and not _fits(spec.shape, declared.shape):
            raise InvalidOption("loading", "--input", f"a shape that fits the file's input {declared}", str(spec))
    return list(specs)


def _fits(shape: Sequence[int], declared: Sequence[int | str]) -> bool:
    return len(shape) == len(declared) and all(
        isinstance(want, str) or have == want for have, want in zip(shape, declared, strict=True)
    )


def _lengths(
    inputs: Sequence[FileInput], given: list[InputSpec] | None, data_sample_shape: Sequence[int] | None
) -> Iterator[tuple[list[tuple[int, ...]], str]]:
    """Plain shapes of all inputs, with a batch of 1 where it varies, the likeliest first."""
    if given is not None:
        yield [spec.shape for spec in given], "--input"
        return
    unknown = [spec for spec in inputs if spec.shape is None]
    if unknown:
        if data_sample_shape is not None and len(inputs) == 1:
            yield [(1, *data_sample_shape)], "a sample of the data"
            return
        options = " ".join("--input 1x3x224x224" for _ in inputs)
        raise InvalidOption(
            "loading",
            "--input",
            f"given, since the file does not say the shape of {', '.join(spec.name for spec in unknown)}",
            None,
            f"As in: {options}",
        )
    if not any(isinstance(size, str) for spec in inputs for size in (spec.shape or ())[1:]):
        yield [_with_lengths(spec, 1, 1) for spec in inputs], "the file"
        return
    if data_sample_shape is not None and len(inputs) == 1 and _fits((1, *data_sample_shape), inputs[0].shape or ()):
        yield [(1, *data_sample_shape)], "a sample of the data"
    for side in _IMAGE_SIDES:
        yield [_with_lengths(spec, side, _N_STEPS) for spec in inputs], f"the file; of axes that vary, {side} runs"


def _with_lengths(spec: FileInput, side: int, n_steps: int) -> tuple[int, ...]:
    """Images have two spatial axes or more behind batch and channels; all else counts as a sequence."""
    shape = spec.shape or ()
    length = side if len(shape) >= 4 else n_steps
    return tuple((1 if axis == 0 else length) if isinstance(size, str) else size for axis, size in enumerate(shape))


def _named(inputs: Sequence[FileInput]) -> tuple[dict[int, str], ...]:
    """Axes that vary; where the file is silent, the batch does."""
    return tuple(
        {0: "batch"}
        if spec.shape is None
        else {axis: size for axis, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in inputs
    )


def _sized(shape: Sequence[int], named: Mapping[int, str], batch_size: int) -> tuple[int, ...]:
    return tuple(batch_size if axis == 0 and 0 in named else size for axis, size in enumerate(shape))


def _varied(shape: Sequence[int], named: Mapping[int, str]) -> tuple[int, ...]:
    """Another length on the axes that vary; images grow by 32, since networks halve them up to five times."""
    return tuple(
        size if axis not in named else size + 1 if axis == 0 else size + 32 if size % 32 == 0 else size + 8
        for axis, size in enumerate(shape)
    )


def random_inputs(inputs: Sequence[FileInput], shapes: Sequence[Sequence[int]], seed: int) -> list[Tensor]:
    """Numbers of the right kinds: normal, true, or 0 and 1, which every vocabulary has."""
    generator = torch.Generator().manual_seed(seed)
    return [_random(spec, shape, generator) for spec, shape in zip(inputs, shapes, strict=True)]


def _random(spec: FileInput, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    if spec.dtype.is_floating_point:
        return torch.randn(tuple(shape), generator=generator).to(spec.dtype)
    if spec.dtype is torch.bool or "mask" in spec.name:
        return torch.ones(tuple(shape), dtype=spec.dtype)
    return torch.randint(2, tuple(shape), generator=generator).to(spec.dtype)
