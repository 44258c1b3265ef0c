"""Starts files one by one, each alone in a fresh process: load time, first inference, memory, energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter

from compressor.core.errors import UnsupportedModel
from compressor.core.progress import Progress, SilentProgress
from compressor.core.startup import Start, Startup
from compressor.profiling.children import ask
from compressor.profiling.energy import POWERCAP
from compressor.profiling.start_worker import Request, Started

STARTS = 3
MAX_SECONDS = 6.0  # of one file's starts; a file that starts slowly is started less often, once at least


def start_files(
    files: Sequence[Path],
    n_bytes: Sequence[int],
    target_name: str,
    target_factory: str,
    *,
    threads: int = 1,
    batch_size: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    starts: int = STARTS,
    powercap: Path = POWERCAP,
    progress: Progress | None = None,
) -> list[Startup]:
    """Starts each file `starts` times, in turns; fewer times where that takes longer than 6 s.

    Args:
        files: files that the target accepts.
        n_bytes: their sizes, with the files that belong to them.
        target_name: "onnxruntime:cpu"; recorded, and named in errors. Energy is asked for on CPUs only, whose counters
            these are.
        target_factory: "compressor.targets.onnxruntime_cpu:PLUGIN".
        threads: of the runtime.
        batch_size: inputs per inference.
        shapes: {input name: full shape}, for inputs whose axes other than the batch are dynamic.
        starts: per file.
        powercap: folder of the energy counters.
        progress: is told of each start.

    Raises:
        InvalidOption: the inputs' shapes cannot be settled, or the target is not here.
        ModelFileError: the runtime refuses a file.
        UnsupportedModel: the runtime crashes on one.
    """
    counters = str(powercap) if target_name.endswith(":cpu") else ""
    requests = [
        Request(
            factory=target_factory,
            file=str(path.resolve()),
            batch_size=batch_size,
            threads=threads,
            shapes={name: list(shape) for name, shape in (shapes or {}).items()},
            powercap=counters,
        )
        for path in files
    ]
    found: list[list[Start]] = [[] for _ in files]
    begin = perf_counter()
    with (progress or SilentProgress()).step(f"starting on {target_name}", starts * len(files)) as step:
        for _ in range(starts):
            for request, mine in zip(requests, found, strict=True):
                mine.append(_start(request, target_name))
                step.advance(1)
            if perf_counter() - begin > MAX_SECONDS * len(files):
                break
    return [
        Startup(target_name, path, batch_size, threads, size, tuple(mine))
        for path, size, mine in zip(files, n_bytes, found, strict=True)
    ]


def _start(request: Request, target: str) -> Start:
    doing = f"starting {Path(request.file).name}"
    started = ask("compressor.profiling.start_worker", request, Started, target, doing)
    if started.start is None:
        raise UnsupportedModel(f"{target}: {doing} gave no figures.")
    return started.start
