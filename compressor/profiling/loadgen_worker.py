"""Puts one file on one target under MLPerf's LoadGen, in this process.

    python -m compressor.profiling.loadgen_worker < request

LoadGen (Reddi et al., "MLPerf Inference Benchmark", ISCA 2020, arXiv:1911.02549) asks and keeps the time. In the
single-stream scenario it sends the next sample when the last one is answered, and reports the 90th percentile of the
latencies, as its early stopping estimates it from few of them. In the offline scenario it sends all samples at once,
and reports how many are answered per second.

There is one sample, made from the file's own description; what it holds makes no difference to dense networks.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from compressor.core.scenario import OFFLINE, SINGLE_STREAM
from compressor.profiling.children import answer, make_target

_WARMUP_S = 0.15
_WARMUP_RUNS = 3
_MIN_QUERIES = 64  # what early stopping needs at the 90th percentile
_MAX_SECONDS = 120.0  # then LoadGen stops and calls the run invalid
_SLACK = 1.1  # LoadGen's own, for a machine that turns out faster than it was
_PREFIX = ":::MLLOG "
_METRICS = {SINGLE_STREAM: ("early_stopping_latency_ss", 1e-6), OFFLINE: ("result_samples_per_second", 1.0)}


@dataclass(frozen=True)
class Request:
    """What to run."""

    factory: str  # "package.module:CLASS" of a target
    file: str
    batch_size: int
    threads: int
    scenario: str
    seconds: float  # at least
    shapes: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    """What LoadGen found, or why it found nothing."""

    valid: bool = False
    value: float = 0.0
    n_samples: int = 0
    version: str = ""
    results: dict[str, float | bool | str] = field(default_factory=dict)
    error: str = ""
    error_kind: str = ""  # its class in compressor.core.errors


def work(request: Request) -> Answered:
    """Loads the file, warms it up, and lets LoadGen ask."""
    target = make_target(request.factory, [request.file], request.shapes)
    target.prepare()
    run = target.runner(Path(request.file), request.batch_size, request.threads)
    seconds = _warm_up(run)
    with tempfile.TemporaryDirectory() as folder:
        n_samples = _test(run, request, seconds, folder)
        found = dict(_logged(Path(folder, "mlperf_log_detail.txt").read_text().splitlines()))
    key, scale = _METRICS[request.scenario]
    results = {name: value for name, value in found.items() if isinstance(value, (bool, int, float, str))}
    version = str(results.pop("loadgen_version", ""))
    return Answered(found.get("result_validity") == "VALID", float(found[key]) * scale, n_samples, version, results)


def _test(run: Callable[[], None], request: Request, seconds: float, folder: str) -> int:
    """LoadGen's test; how many samples it sent."""
    import mlperf_loadgen as loadgen

    sent = 0

    def issue(samples: Sequence[Any]) -> None:
        nonlocal sent
        for first in range(0, len(samples), request.batch_size):
            run()
            batch = samples[first : first + request.batch_size]
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample.id, 0, 0) for sample in batch])
        sent += len(samples)

    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, request.scenario)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(1000 * request.seconds)
    settings.max_duration_ms = round(1000 * max(_MAX_SECONDS, 10 * request.seconds))
    if request.scenario == SINGLE_STREAM:
        settings.min_query_count = _MIN_QUERIES
        settings.single_stream_expected_latency_ns = max(1, round(1e9 * seconds))
    else:  # one query of whole batches: the larger of what the duration needs and this count
        n_batches = math.ceil(_SLACK * request.seconds / seconds)
        settings.min_query_count = n_batches * request.batch_size
        settings.offline_expected_qps = 0.5 * request.batch_size / seconds
    log = loadgen.LogSettings()
    output = loadgen.LogOutputSettings()
    output.outdir = folder
    output.copy_summary_to_stdout = False
    log.log_output = output
    log.enable_trace = False
    system = loadgen.ConstructSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(1, 1, lambda samples: None, lambda samples: None)
    try:
        loadgen.StartTestWithLogSettings(system, library, settings, log)
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(system)
    return sent


def _warm_up(run: Callable[[], None]) -> float:
    """Seconds per inference, the shortest that was seen."""
    times: list[float] = []
    while len(times) < _WARMUP_RUNS or sum(times[1:]) < _WARMUP_S:
        begin = perf_counter()
        run()
        times.append(perf_counter() - begin)
    return min(times[1:])


def _logged(lines: Iterable[str]) -> Iterable[tuple[str, Any]]:
    """Results of LoadGen's detailed log: lines of JSON behind a mark."""
    for line in lines:
        if not line.startswith(_PREFIX):
            continue
        entry = json.loads(line.removeprefix(_PREFIX))
        key = entry["key"]
        if key.startswith(("result_", "early_stopping_", "num_", "loadgen_version")):
            yield key, entry["value"]


def main() -> None:
    """Answers one request."""
    answer(Request, work, lambda error, kind: Answered(error=error, error_kind=kind))


if __name__ == "__main__":
    main()
