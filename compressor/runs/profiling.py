"""Times files of any origin; two of them are compared, more are each compared with the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.core.errors import InvalidOption, ModelFileError
from compressor.core.measurement import Comparison, Measurement
from compressor.core.progress import Progress, SilentProgress
from compressor.profiling.compare import compare
from compressor.profiling.timer import measure
from compressor.runs.targets import load_target, target_factory, target_names


@dataclass(frozen=True)
class Profile:
    """What timing found on one target; comparisons are with the first file."""

    target: str
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]


def profile(
    paths: Sequence[str | Path],
    on: Sequence[str] = (),
    *,
    threads: int = 1,
    batch_size: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress | None = None,
) -> list[Profile]:
    """Times `paths` in alternation on each target.

    Args:
        paths: exported files; all of them must be of a kind that each target accepts.
        on: targets; none: the CPU target that reads the first file.
        threads: of the runtime.
        batch_size: inputs per inference.
        shapes: {input name: whole shape}, for files whose axes other than the batch are open.
        progress: is told of each process.

    Raises:
        UnknownPlugin, InvalidOption: a target that does not exist, is not available here or does not read the files.
        ModelFileError: a file is missing or damaged.
    """
    files = [Path(path) for path in paths]
    for file in files:
        if not file.is_file():
            raise ModelFileError(f"{file}: there is no such file. Check the path.")
    found = []
    for name in on or (_default_target(files[0]),):
        factory, target = target_factory(name), load_target(name)
        unavailable = target.unavailable()
        if unavailable:
            raise InvalidOption("profile", "--on", "a target that is available here", name, unavailable)
        foreign = [file.name for file in files if file.suffix not in target.accepts]
        if foreign:
            kinds = " or ".join(target.accepts)
            raise InvalidOption(
                "profile", "--on", f"a target that reads {foreign[0]}", name, f"{name} reads {kinds} files."
            )
        measured = measure(
            files,
            name,
            factory,
            threads=threads,
            batch_size=batch_size,
            shapes=shapes,
            progress=progress or SilentProgress(),
        )
        found.append(Profile(name, tuple(measured), tuple(compare(measured[0], other) for other in measured[1:])))
    return found


def _default_target(file: Path) -> str:
    for name in target_names():
        if name.endswith(":cpu") and file.suffix in load_target(name).accepts:
            return name
    raise InvalidOption(
        "profile", "FILE", "an .onnx, .xml or .pt2 file", file.name, "`compress targets` lists what is read."
    )
