"""Profiles files node by node, or runs them in short bursts, in this process; see `compressor.profiling.serving`.

python -m compressor.profiling.nodes_worker
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from compressor.core.errors import InvalidOption
from compressor.core.node_times import NodeTime, Turns
from compressor.core.protocols import Target
from compressor.core.serial import to_plain
from compressor.profiling.serving import serve

_MIN_SAMPLES = 2
WARM_UP_S = 0.04
_LONG_S = 0.1  # from here on an inference fills caches by itself


@dataclass(frozen=True)
class Opening:
    """What all files of one worker have in common."""

    factory: str  # "package.module:CLASS" of a target
    threads: int
    batch_size: int
    options: dict[str, Any] = field(default_factory=dict)  # of the target


@dataclass(frozen=True)
class Answer:
    """What `Target.nodes` found."""

    whole_s: tuple[float, ...]
    nodes: tuple[NodeTime, ...]


def make_target(factory: str, options: dict[str, Any]) -> Target:
    """The target with its options.

    Raises:
        InvalidOption: it cannot be used here.
    """
    module, _, attribute = factory.partition(":")
    target: Target = getattr(importlib.import_module(module), attribute)(**options)
    reason = target.unavailable()
    if reason:
        raise InvalidOption("profile", "on", "targets that can be used here", target.name, reason)
    return target


def require_accepted(target: Target, file: Path) -> None:
    """Refuses a file of another kind.

    Raises:
        InvalidOption: the target does not read it.
    """
    if file.suffix not in target.accepts:
        raise InvalidOption(target.name, "file", f"of a kind it loads ({', '.join(target.accepts)})", str(file))


def open_service(opening: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What answers requests.

    {"file": path, "inferences": n}: an `Answer`.
    {"file": path, "burst_s": s}: {"samples_s": [...]}, of about so many seconds; the file stays loaded.
    {"file": path, "against": path, "rounds": n, "burst_s": s}: `Turns`; only the second file stays loaded.
    """
    common = Opening(**opening)
    target = make_target(common.factory, common.options)
    runners: dict[Path, Callable[[], None]] = {}

    def loaded(file: Path) -> Callable[[], None]:
        if file not in runners:
            runners[file] = target.runner(file, common.batch_size, common.threads)
            burst(runners[file], WARM_UP_S)
        return runners[file]

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        file = Path(request["file"])
        require_accepted(target, file)
        if "against" in request:
            try:
                found = turns(loaded(file), loaded(Path(request["against"])), request["rounds"], request["burst_s"])
            finally:  # the next file may have the same name
                runners.pop(file, None)
            both: dict[str, Any] = to_plain(found)
            return both
        if "burst_s" in request:
            return {"samples_s": burst(loaded(file), request["burst_s"])}
        whole_s, nodes = target.nodes(file, common.batch_size, common.threads, request["inferences"])
        plain: dict[str, Any] = to_plain(Answer(whole_s, nodes))
        return plain

    return answer


def turns(run: Callable[[], None], against: Callable[[], None], rounds: int, seconds: float) -> Turns:
    """Bursts of two files that take turns; each round's medians."""
    files: list[float] = []
    others: list[float] = []
    for number in range(rounds):
        pair = [(against, others), (run, files)]
        for each, medians in pair if number % 2 == 0 else reversed(pair):
            medians.append(median(burst(each, seconds)))
    return Turns(tuple(files), tuple(others))


def burst(run: Callable[[], None], seconds: float) -> list[float]:
    """Seconds of inferences, back to back: at least two after one that does not count, or a single long one."""
    samples: list[float] = []
    first = _timed(run)
    if first >= _LONG_S:
        return [first]
    while sum(samples) < seconds or len(samples) < _MIN_SAMPLES:
        samples.append(_timed(run))
    return samples


def _timed(run: Callable[[], None]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


if __name__ == "__main__":
    serve(open_service)
