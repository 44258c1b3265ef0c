"""Times files of any origin; two of them are compared, more are each compared with the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.core.errors import InvalidOption
from compressor.core.measurement import Comparison, Measurement
from compressor.core.progress import Progress, SilentProgress
from compressor.profiling.compare import compare
from compressor.profiling.timer import measure
from compressor.targets import factory_of, load_target, target_names


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
        UnknownPlugin, InvalidOption: a file or a target that does not exist, or a target that is not available or does
            not read the files.
        ModelFileError: a file is damaged.
    """
    files = [Path(path) for path in paths]
    for file in files:
        if not file.is_file():
            raise InvalidOption("profile", "FILE", "an existing file", str(file), "Check the path.")
    factories = {name: _factory(name, files) for name in on or (_default_target(files[0]),)}
    found = []
    for name, factory in factories.items():
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


def _factory(name: str, files: Sequence[Path]) -> str:
    """Where the target is found; refuses one that cannot be used here or reads other files."""
    factory, target = factory_of(name), load_target(name)()
    unavailable = target.unavailable()
    if unavailable:
        raise InvalidOption("profile", "--on", "a target that is available here", name, unavailable)
    foreign = [file.name for file in files if file.suffix not in target.accepts]
    if foreign:
        kinds = " or ".join(target.accepts)
        raise InvalidOption(
            "profile", "--on", f"a target that reads {foreign[0]}", name, f"{name} reads {kinds} files."
        )
    return factory


def _default_target(file: Path) -> str:
    for name in target_names():
        if name.endswith(":cpu") and file.suffix in load_target(name)().accepts:
            return name
    raise InvalidOption(
        "profile", "FILE", "an .onnx, .xml or .pt2 file", file.name, "`compress targets` lists what is read."
    )
