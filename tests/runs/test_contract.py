"""Budgets in time, with runtimes whose times are functions of the files, and once with a real one."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

import compressor
from compressor.core.errors import InvalidOption
from compressor.core.measurement import Measurement
from compressor.core.options import RunOptions
from compressor.core.progress import SilentProgress
from compressor.profiling.machine import machine_facts
from compressor.report.schema import SplitRow
from compressor.runs import bench, contract, timing
from compressor.runs.choose import choose
from compressor.runs.contract import judge, judged
from compressor.runs.coverage import cover
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.low_rank import split_source
from compressor.runs.record import Record, Source, Timing, Whole
from exporters.signature import ExampleInputs
from exporters.types import ExportedFile
from tests.networks import images, seeded

MACHINE = machine_facts()
SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}


def wide():
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 3),
    )


def measurement(path, seconds, target="onnxruntime:cpu", jitter=0.004, processes=4):
    """Every process is a little off, by the same amount for all files."""
    samples = tuple((seconds * (1 + jitter * (i % 2)),) * 6 for i in range(processes))
    return Measurement(target, path, "aa", 1, 1, samples, (), MACHINE, burst_size=2, session="one")


@pytest.fixture
def runtime(monkeypatch):
    """Replaces exporting and timing: `seconds[target](parameters of the model)`; returns what was timed."""
    timed = []

    def install(**seconds):
        def export(module, inputs, formats, folder):
            folder.mkdir(parents=True, exist_ok=True)
            paths = {name: folder / f"model{SUFFIX[name]}" for name in formats}
            for path in paths.values():
                path.write_text(str(sum(p.numel() for p in module.parameters())))
            return [ExportedFile(name, path, (), (), True, 0, "") for name, path in paths.items()]

        def measure(files, target, factory, *, processes, machine, **others):
            install.machines.append(machine)
            timed.append((target, [path.parent.name for path in files], processes))
            times = [seconds[target.partition(":")[0]](int(path.read_text())) for path in files]
            return [measurement(path, time, target) for path, time in zip(files, times, strict=True)]

        monkeypatch.setattr("compressor.runs.ways.time_plans", lambda *args: None)  # files of text have no nodes
        monkeypatch.setattr(bench, "export", export)
        monkeypatch.setattr(bench, "measure", measure)
        return timed

    install.machines = []
    return install


@pytest.fixture
def chosen(tmp_path):
    """The record after the plan."""

    def run(**options):
        model = seeded(wide)
        source = Source(model, ExampleInputs.of(images(), model), "net.pt", "", "aa")
        given = {"on": ("onnxruntime:cpu",), "export": ("onnx",), "round_to": 1, **options}
        record = Record(source, RunOptions(**given), SilentProgress())
        record.coverage = cover(model, source.inputs)
        record.plan, record.budget_met = choose(
            record, Datasets(), RunFolder.claim(tmp_path / "run", record.options, "aa")
        )
        return record

    run.folder = tmp_path
    return run


def linear(n_parameters):
    return 1e-3 * n_parameters / 76_000  # about a millisecond for the whole


def taken(record):
    return [row for row in record.speed_search.rows if row.macs_share == record.speed_search.macs_share]


def test_a_speed_is_reached_as_measured(runtime, chosen):
    timed = runtime(onnxruntime=linear)
    record = chosen(speedup=2.0)
    assert all(machine is record.machine for machine in runtime.machines)  # our own timing makes nobody's machine busy
    assert record.budget_met and record.speed_search.reached and record.plan.budget == {"speedup": 2.0}
    (row,) = taken(record)
    assert row.holds and row.interval[0] >= 2.0 and row.value < 2.2
    assert record.plan.macs[1] / record.plan.macs[0] == pytest.approx(row.macs_share, rel=1e-6)
    assert all(folders == ["base", "timed"] for _, folders, _ in timed) and len(timed) <= 8
    assert record.plan.params[0] / record.plan.params[1] == pytest.approx(row.value, rel=0.02)


def test_a_latency_is_reached_as_measured(runtime, chosen):
    timed = runtime(onnxruntime=linear)
    record = chosen(latency=0.5e-3)
    (row,) = taken(record)
    assert record.budget_met and 0.45e-3 < row.interval[1] <= 0.5e-3
    assert timed[0][1] == ["base"]  # the original alone says where to begin


def test_the_slowest_target_decides(runtime, chosen):
    runtime(onnxruntime=linear, openvino=lambda n: 1e-3 + linear(n))  # half of it does not shrink
    record = chosen(export=("onnx", "openvino"), on=("onnxruntime:cpu", "openvino:cpu"), speedup=1.2)
    fast, slow = taken(record)
    assert (fast.target, slow.target) == ("onnxruntime:cpu", "openvino:cpu") and fast.holds and slow.holds
    assert fast.value > 1.35 and slow.value < 1.3


def test_what_cannot_be_reached_is_said_with_what_can(runtime, chosen):
    runtime(onnxruntime=lambda n: 1e-3 + linear(n))
    record = chosen(speedup=5.0)
    assert not record.budget_met and not record.speed_search.reached
    (note,) = record.notes
    assert note.startswith("--speedup 5x was not reached: 2.00x [") and "on onnxruntime:cpu, with the narrowest" in note


def test_an_original_that_is_fast_enough_is_left_alone(runtime, chosen):
    runtime(onnxruntime=linear)
    with pytest.raises(
        InvalidOption, match=r"`--latency` must be below the original's 1(\.\d+)? ms.*Nothing has to be"
    ):
        chosen(latency=1.0)


def test_targets_that_cannot_be_timed_are_refused_first(runtime, chosen):
    runtime()
    with pytest.raises(InvalidOption, match=r"must be targets that can be timed here.*add the format to --export"):
        chosen(speedup=2.0, on=("openvino:cpu",), export=("none",))
    with pytest.raises(InvalidOption, match=r"must be targets that can be timed here.*CUDA"):
        chosen(speedup=2.0, on=("torch:cuda",), export=("none",))


def split_and_chosen(path, **options):
    """The record after the plan of a model whose large convolution has rank 8: a ninth of the parameters is left."""
    model = seeded(wide)
    source = Source(model, ExampleInputs.of(images(), model), "net.pt", "", "aa")
    split = split_source(source, "channel", [SplitRow("2", (8,), 2, 1, 0.5, None, True, "")])
    given = {"on": ("onnxruntime:cpu",), "export": ("onnx",), "round_to": 1, "decompose": "channel", **options}
    record = Record(split, RunOptions(**given), SilentProgress(), coverage=cover(split.module, split.inputs))
    record.whole = Whole(source, cover(model, source.inputs))
    record.plan, record.budget_met = choose(record, Datasets(), RunFolder.claim(path, record.options, "aa"))
    return record


def test_thin_layers_that_are_fast_enough_by_themselves(runtime, tmp_path):
    timed = runtime(onnxruntime=linear)
    record = split_and_chosen(tmp_path / "run", speedup=4.0)
    assert record.budget_met and record.speed_search.reached and not record.plan.cuts
    (row,) = record.speed_search.rows
    assert row.value > 8 and row.macs_share == record.speed_search.macs_share < 0.5
    assert all(names == ["base", "timed"] for _, names, _ in timed)  # the original beside it


def test_thin_layers_and_fewer_channels(runtime, tmp_path):
    runtime(onnxruntime=linear)
    record = split_and_chosen(tmp_path / "run", speedup=16.0)
    (row,) = taken(record)
    assert record.budget_met and row.interval[0] >= 16.0 and row.value < 18 and record.plan.cuts
    assert record.plan.macs[0] == record.whole.coverage.cost.macs  # shares are of the model as it was
    assert record.plan.macs[1] / record.plan.macs[0] == pytest.approx(row.macs_share, rel=1e-6)


def test_an_interval_that_does_not_tell_is_measured_for_longer(runtime, chosen, monkeypatch):
    timed = runtime(onnxruntime=linear)
    sure = bench.measure

    def unsure(files, target, factory, *, processes, **others):
        """Six processes do not agree with one another, ten do."""
        found = sure(files, target, factory, processes=processes, **others)
        if processes > 6:
            return found
        times = [linear(int(path.read_text())) for path in files]
        return [replace(measurement(p, t, target, jitter=0.1), session="") for p, t in zip(files, times, strict=True)]

    monkeypatch.setattr(bench, "measure", unsure)
    assert chosen(speedup=2.0).budget_met
    processes = [number for _, _, number in timed]
    assert (4, 6, 10) in zip(processes, processes[1:], processes[2:], strict=False)


@pytest.mark.parametrize(
    ("seconds", "sure_with", "expected"),
    [
        (0.9e-3, 6, [6]),  # kept, and told at once
        (1.2e-3, 6, [6]),  # broken, and told at once
        (0.9e-3, 10, [6, 10]),
        (0.95e-3, 16, [6, 10, 16]),
        (0.95e-3, 99, [6, 10, 16]),  # it stays untold
    ],
)
def test_the_last_word_takes_as_long_as_it_must(monkeypatch, seconds, sure_with, expected):
    efforts = []

    def timed(record, name, paths, effort):
        efforts.append(effort)
        jitter = 0.004 if effort.processes >= sure_with else 0.5
        samples = [measurement(Path("a"), 2e-3, jitter=0.0), measurement(Path("b"), seconds, jitter=jitter)]
        return [replace(each, session=str(i)) for i, each in enumerate(samples)]

    class Here:
        def unavailable(self):
            return ""

    monkeypatch.setattr(timing, "timed", timed)
    source = Source(wide(), ExampleInputs.of(images(), wide()), "net.pt", "", "aa")
    record = Record(source, RunOptions(model="net.pt", speedup=2.0), SilentProgress())
    file = ExportedFile("onnx", Path("b"), (), (), True, 0, "")
    record.base_files = [file]
    found = timing._time(record, "onnxruntime:cpu", Here(), file)
    assert [effort.processes for effort in efforts] == expected
    assert efforts[-1].max_seconds > 60 or len(efforts) < 3  # slow files fit only a few times into a minute
    assert found.compressed.processes[0][0] == seconds


@pytest.mark.parametrize(
    ("ratio", "unsure", "sure_with", "expected"),
    [
        (2.4, 0.1, 4, [4]),  # fast enough, and told at once
        (1.6, 0.1, 4, [4]),  # too slow, and told at once
        (2.1, 0.1, 10, [4, 6, 10]),
        (1.97, 0.1, 6, [4, 6]),  # may be noise: the next model would be narrower than was asked for
        (2.1, 0.1, 99, [4, 6, 10, 16]),  # it stays untold
        (2.1, 0.9, 99, [4]),  # so noisy that no effort will tell
    ],
)
def test_a_trial_of_the_search_takes_as_long_as_it_must(ratio, unsure, sure_with, expected):
    efforts = []

    class AnyBench:
        targets = ("onnxruntime:cpu",)

        def pair(self, name, files, effort):
            efforts.append(effort)
            jitter = 0.004 if effort.processes >= sure_with else unsure
            n = effort.processes
            small = measurement(Path("b"), 2e-3 / ratio, jitter=jitter, processes=n)
            samples = measurement(Path("a"), 2e-3, jitter=0.0, processes=n), small
            return tuple(replace(each, session="one") for each in samples)

    source = Source(wide(), ExampleInputs.of(images(), wide()), "net.pt", "", "aa")
    record = Record(source, RunOptions(model="net.pt", speedup=2.0), SilentProgress())
    ((name, _),) = contract._pairs(record, AnyBench(), {"onnxruntime:cpu": (Path("a"), Path("b"))})
    assert name == "onnxruntime:cpu" and [effort.processes for effort in efforts] == expected


def test_it_is_read_back(runtime, chosen):
    timed = runtime(onnxruntime=linear)
    first = chosen(speedup=2.0)
    n = len(timed)
    again = chosen(speedup=2.0)
    assert len(timed) == n and again.speed_search == first.speed_search and again.plan == first.plan


def test_an_interrupted_search_goes_on(runtime, chosen, monkeypatch):
    timed = runtime(onnxruntime=lambda n: 3e-4 + linear(n))
    whole = chosen(speedup=2.0).speed_search
    n_models = len(whole.rows)
    assert n_models > 1
    shutil.rmtree(next(Path(chosen.folder).glob("run")))
    timed.clear()
    measure = bench.measure

    def interrupted(*args, **options):
        if len(timed) == n_models - 1:
            raise KeyboardInterrupt
        return measure(*args, **options)

    monkeypatch.setattr(bench, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        chosen(speedup=2.0)
    monkeypatch.setattr(bench, "measure", measure)
    assert chosen(speedup=2.0).speed_search == whole and len(timed) == n_models


def test_the_files_that_are_written_have_the_last_word(chosen, runtime):
    runtime(onnxruntime=linear)
    record = chosen(speedup=2.0)
    base = measurement(Path("a"), 2e-3)
    record.timings = [Timing("onnxruntime:cpu", base=base, compressed=measurement(Path("b"), 0.9e-3))]
    judge(record)
    assert record.budget_met
    record.timings = [Timing("onnxruntime:cpu", base=base, compressed=measurement(Path("b"), 1.1e-3))]
    judge(record)
    assert not record.budget_met
    assert record.notes[-1].startswith("--speedup 2x does not hold for the files that were written: 1.82x [")
    record.timings = [Timing("onnxruntime:cpu", base=base, compressed=measurement(Path("b"), 0.9e-3))]
    judge(record)
    assert record.budget_met and "2x holds for the files that were written: 2.22x [" in record.notes[-1]
    record.timings.append(Timing("openvino:cpu", unavailable="it is gone"))
    judge(record)
    assert not record.budget_met


def test_judged_in_units_of_what_was_asked_for(tmp_path):
    base, small = measurement(tmp_path, 4e-3), measurement(tmp_path, 1e-3)
    speed = judged("speedup", 2.0, base, small)
    assert speed.value == pytest.approx(2.0) and speed.low <= speed.value <= speed.high
    time = judged("latency", 2e-3, base, small)
    assert time.value == pytest.approx(2.0, rel=0.01) and time.low < time.value < time.high


def test_a_real_runtime(monkeypatch):
    """How fast anything is here nobody knows; but the verdict must be what the final timing says."""
    monkeypatch.setattr("compressor.planning.seek.MAX_TRIALS", 2)
    monkeypatch.setattr(contract, "SEARCH", contract.SEARCH[:2])
    given = {"on": ["onnxruntime:cpu"], "export": ["onnx"], "method": "random", "speedup": 1.3}
    report = compressor.compress(seeded(wide), images(), **given).report()
    (row,) = report.latency
    assert report.speed_search.rows and report.budget_met == (row.interval[0] >= 1.3)
    assert report.exit_code == (0 if report.budget_met else 7) and report.budget == {"speedup": 1.3}
