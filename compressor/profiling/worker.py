"""Times files on one target in this process, in turns, and prints the samples as JSON.

    python -m compressor.profiling.worker < request

The request is one line of JSON (see `Request`, and `compressor.profiling.children` for how it gets here).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from compressor.profiling.children import answer, make_target

# A burst is long enough for caches to be as in steady use, and short enough for both files to meet the same weather.
_BURST_S = 0.04
_BURST_SAMPLES = (5, 50)
_SLOW_S = 0.1  # from here on an inference fills caches by itself, and three make a burst
_SLOW_BURST_SAMPLES = 3
_ROUNDS = (2, 30)
_WARMUP_S = 0.15
_WARMUP_SAMPLES = 2


@dataclass(frozen=True)
class Request:
    """What to time, and how often."""

    factory: str  # "package.module:CLASS" of a target
    files: list[str]
    order: list[int]  # in which the files are loaded and take their first turn
    batch_size: int
    threads: int
    seconds: float  # of sampling in this process, where `rounds` is not given
    shapes: dict[str, list[int]] = field(default_factory=dict)
    burst_sizes: list[int] = field(default_factory=list)  # one per file; empty: found from the warm-up
    rounds: int = 0  # 0: found from the warm-up


@dataclass(frozen=True)
class Result:
    """Samples in seconds, by file, in the order of the request's files."""

    samples: list[list[float]] = field(default_factory=list)
    warmups: list[list[float]] = field(default_factory=list)
    burst_sizes: list[int] = field(default_factory=list)
    rounds: int = 0
    details: dict[str, str] = field(default_factory=dict)
    error: str = ""  # the sentence, if it did not work
    error_kind: str = ""  # its class in compressor.core.errors


def work(request: Request) -> Result:
    """Loads all files, warms them up, and times them in bursts that take turns."""
    target = make_target(request.factory, request.files, request.shapes)
    runs: dict[int, Callable[[], None]] = {}
    for i in request.order:
        runs[i] = target.runner(Path(request.files[i]), request.batch_size, request.threads)
    warmups = [_warm_up(runs[i]) for i in range(len(runs))]
    typical = [min(times[1:]) for times in warmups]
    burst_sizes = request.burst_sizes or [_burst_size(seconds) for seconds in typical]
    rounds = request.rounds or _n_rounds(typical, burst_sizes, request.seconds)
    samples: list[list[float]] = [[] for _ in runs]
    for number in range(rounds):
        # A B, B A, A B, ...: whatever drifts does so for both.
        for i in request.order if number % 2 == 0 else reversed(request.order):
            first, *rest = _burst(runs[i], 1 + burst_sizes[i])
            warmups[i].append(first)
            samples[i].extend(rest)
    return Result(samples, warmups, burst_sizes, rounds, target.describe())


def _warm_up(run: Callable[[], None]) -> list[float]:
    times = _burst(run, _WARMUP_SAMPLES)
    while sum(times[1:]) < _WARMUP_S:
        times += _burst(run, len(times))
    return times


def _burst(run: Callable[[], None], n: int) -> list[float]:
    """Seconds of `n` inferences, back to back, without Python's garbage collector in between."""
    times = [0.0] * n
    gc.collect()
    gc.disable()
    try:
        for i in range(n):
            start = perf_counter()
            run()
            times[i] = perf_counter() - start
    finally:
        gc.enable()
    return [round(time, 9) for time in times]  # the clock has no digits beyond nanoseconds


def _burst_size(seconds: float) -> int:
    if seconds >= _SLOW_S:
        return _SLOW_BURST_SAMPLES
    low, high = _BURST_SAMPLES
    return max(low, min(high, math.ceil(_BURST_S / seconds)))


def _n_rounds(typical: list[float], burst_sizes: list[int], seconds: float) -> int:
    """An even number of rounds that fill `seconds`, so that every file is first as often as the others."""
    one_round = sum(time * (1 + size) for time, size in zip(typical, burst_sizes, strict=True))
    low, high = _ROUNDS
    return max(low, min(high, 2 * round(seconds / one_round / 2)))


def main() -> None:
    """Answers one request; exits with 0 if standard output holds a `Result`, of whatever kind."""
    answer(Request, work, lambda error, kind: Result(error=error, error_kind=kind))


if __name__ == "__main__":
    main()
