"""Profiles as `compress profile` would give them, made without measuring anything."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from compressor.core.measurement import Comparison, Measurement, Outlook
from compressor.core.scenario import OFFLINE, SINGLE_STREAM, Scenario
from compressor.core.startup import EnergySample, Start, Startup
from compressor.profiling.statistics import latency_stats
from compressor.report.profile_schema import Profile, ProfileReport
from tests.report.conftest import HOSTILE, MACHINE

BUSY = "The machine was busy (load 3.9 on 4 cores). Time it when it is idle."
NOISY = "The machine is too noisy for this difference: about 40 more processes (12 s of sampling) would probably tell."


def profile(
    target: str, threads: int, batch_size: int, *, names: tuple[str, ...] = ("resnet20.onnx", "small.onnx"), ms: float
) -> Profile:
    """The first file takes `ms` per inference, each further one 0.7 of it; two threads with batch 8 cannot tell."""
    generator = random.Random(threads * 100 + batch_size)
    measurements, startups = [], []
    for number, name in enumerate(names):
        centre = ms * 0.7**number / 1000
        samples = tuple(tuple(centre * generator.lognormvariate(0, 0.03) for _ in range(40)) for _ in range(6))
        measurements.append(
            Measurement(
                target,
                Path(name),
                f"{number}" * 64,
                batch_size,
                threads,
                samples,
                tuple((centre * 2,) for _ in range(6)),
                MACHINE,
                {"provider": "CPUExecutionProvider"},
                20,
                "one",
            )
        )
        energy = EnergySample(2.1, 400, 0.5, ("package-0",))
        bare, own = 92_000_000, 9_000_000 // (number + 1)
        start = Start(0.4, 0.031 * (number + 1), centre * 1.8, bare, bare + own, energy)
        startups.append(Startup(target, Path(name), batch_size, threads, 1_091_234 // (number + 1), (start,) * 3))
    base = latency_stats(measurements[0].samples_s)
    comparisons = []
    for number, one in enumerate(measurements[1:], 1):
        ratio, told = 1 / 0.7**number, (threads, batch_size) != (2, 8)
        comparisons.append(
            Comparison(
                target,
                base,
                latency_stats(one.samples_s),
                ratio if told else 1.04,
                (ratio * 0.97, ratio * 1.03) if told else (0.98, 1.11),
                "faster" if told else "no significant difference",
                (BUSY,) if told else (NOISY, BUSY),
                None if told else Outlook("faster", 40, 12.0, NOISY),
            )
        )
    return Profile(target, tuple(measurements), tuple(comparisons), tuple(startups))


def scenario(name: str, file: str, batch_size: int, *, valid: bool = True) -> Scenario:
    value, unit = (1.52, "ms, 90th percentile") if name == SINGLE_STREAM else (1234.5, "samples per second")
    return Scenario(
        name, "onnxruntime:cpu", Path(file), batch_size, 1, 5.0, valid, value, unit, 3301, "6.0.17", {"num_errors": 0.0}
    )


def grid() -> ProfileReport:
    """Two files on two targets, two numbers of threads, two batch sizes; one setting does not tell."""
    found = [
        profile(target, threads, batch, ms=ms * batch / threads**0.7)
        for target, ms in (("onnxruntime:cpu", 1.48), ("openvino:cpu", 1.21))
        for threads in (1, 2)
        for batch in (1, 8)
    ]
    scenarios = (scenario(SINGLE_STREAM, "resnet20.onnx", 1), scenario(OFFLINE, "small.onnx", 1, valid=False))
    return _report(replace(found[0], scenarios=scenarios), *found[1:])


def lone() -> ProfileReport:
    """One file, one setting, no counters, and a system that does not tell its memory."""
    one = profile("torch:cpu", 1, 1, names=("model.pt2",), ms=3.9)
    start = Startup("torch:cpu", Path("model.pt2"), 1, 1, 900, (Start(3.0, 0.2, 0.01, None, None),))
    return _report(replace(one, startups=(start,)))


def many() -> ProfileReport:
    """Four files with long names in folders."""
    names = tuple(f"runs/2026-11/{place}/resnet152_faster_rcnn_epoch_0113.onnx" for place in "abcd")
    return _report(*(profile("onnxruntime:cpu", 1, batch, names=names, ms=412.0 * batch) for batch in (1, 32)))


def hostile() -> ProfileReport:
    """Every text that comes from outside tries to be code."""
    one = profile(HOSTILE, 1, 1, names=(HOSTILE, f"b{HOSTILE}"), ms=1.0)
    said = replace(one.comparisons[0], target=HOSTILE, warnings=(HOSTILE,))
    under = replace(scenario(OFFLINE, HOSTILE, 1), target=HOSTILE, loadgen_version=HOSTILE)
    machine = replace(MACHINE, cpu=HOSTILE, accelerators=(HOSTILE,), versions={HOSTILE: HOSTILE})
    report = _report(replace(one, comparisons=(said,), scenarios=(under,)))
    return replace(report, machine=machine, created=HOSTILE, compressor_version=HOSTILE)


def _report(*profiles: Profile) -> ProfileReport:
    return ProfileReport(profiles, MACHINE, "2026-11-28T03:12:44+00:00", "0.1.0")


PROFILES = {"grid": grid, "lone": lone, "many": many, "hostile": hostile}
