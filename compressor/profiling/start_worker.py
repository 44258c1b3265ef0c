"""Starts one file on one target in this process: how long that takes, what it adds to memory, and its energy.

    python -m compressor.profiling.start_worker < request

See `compressor.profiling.children` for how the request gets here. The runtime is set up first, by a model that is as
small as can be, so that what is counted afterwards belongs to the file.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from compressor.core.startup import EnergySample, Start
from compressor.profiling import energy
from compressor.profiling.children import answer, make_target
from compressor.profiling.memory import forget_peak, peak_bytes

_SETTLING = 3  # inferences until memory is as in steady use: some buffers are made by the second
_ENERGY_S = 0.5  # the counters move about every millisecond


@dataclass(frozen=True)
class Request:
    """What to start."""

    factory: str  # "package.module:CLASS" of a target
    file: str
    batch_size: int
    threads: int
    shapes: dict[str, list[int]] = field(default_factory=dict)
    powercap: str = ""  # folder of the energy counters; empty: they are not asked


@dataclass(frozen=True)
class Started:
    """The start, or why there is none."""

    start: Start | None = None
    error: str = ""
    error_kind: str = ""  # its class in compressor.core.errors


def work(request: Request) -> Started:
    """One start."""
    begin = perf_counter()
    target = make_target(request.factory, [request.file], request.shapes)
    target.prepare()
    gc.collect()
    runtime_s = perf_counter() - begin
    forget_peak()
    runtime_bytes = peak_bytes()

    begin = perf_counter()
    run = target.runner(Path(request.file), request.batch_size, request.threads)
    load_s = perf_counter() - begin

    begin = perf_counter()
    run()
    first_s = perf_counter() - begin

    for _ in range(_SETTLING - 1):
        run()
    peak = peak_bytes()
    used = _energy(run, Path(request.powercap)) if request.powercap else None
    return Started(Start(runtime_s, load_s, first_s, runtime_bytes, peak, used))


def _energy(run: Callable[[], None], powercap: Path) -> EnergySample | None:
    counters = energy.zones(powercap)
    if not counters:
        return None
    begin, n = perf_counter(), 0
    before = energy.read_uj(counters)
    while n == 0 or perf_counter() - begin < _ENERGY_S:
        run()
        n += 1
    after = energy.read_uj(counters)
    joules = energy.joules_between(counters, before, after)
    return EnergySample(joules, n, perf_counter() - begin, tuple(zone.name for zone in counters))


def main() -> None:
    """Answers one request."""
    answer(Request, work, lambda error, kind: Started(error=error, error_kind=kind))


if __name__ == "__main__":
    main()
