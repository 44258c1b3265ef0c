"""From a record to the report: exit codes, the command that makes the run again, and rows."""

import shlex
from dataclasses import replace

import pytest
import torch
from torch import nn

from compressor.cli.main import main
from compressor.core.measurement import Comparison, LatencyStats, MachineFacts, Measurement
from compressor.core.options import RunOptions, options_from
from compressor.core.progress import SilentProgress
from compressor.report.schema import Ladder
from compressor.runs.coverage import cover
from compressor.runs.inspecting import inspection_of
from compressor.runs.record import Record, Source, Timing
from compressor.runs.summary import command_of, exit_code, group_rows, parity_rows, summarise, weight_bytes
from exporters.signature import ExampleInputs
from exporters.types import ParityCheck, Verification
from tests.networks import images, seeded
from tests.runs import digits


@pytest.fixture(scope="module")
def source():
    model = seeded(digits.network)
    return Source(model, ExampleInputs.of(images(channels=1), model), "net.pt", "--input", "aa")


def record(source, **options):
    return Record(source, RunOptions(**{"model": "net.pt", **options}), SilentProgress())


def verification(tmp_path, *passed, failure=""):
    checks = tuple(ParityCheck(i + 1, "zeros", 0.1, 0.2, ok) for i, ok in enumerate(passed))
    return Verification("onnx", tmp_path / "model.onnx", 1e-3, 1e-5, checks, failure)


def test_exit_codes(source, tmp_path):
    made = record(source)
    assert exit_code(made) == 0
    made.verifications = [verification(tmp_path, True, True)]
    assert exit_code(made) == 0
    made.ladder = Ladder("accuracy", 90.0, 100, 1.0, 10, 0.5, True, ())
    assert exit_code(made) == 0
    made.ladder = replace(made.ladder, reached=False)
    assert exit_code(made) == 7
    made.ladder, made.budget_met = None, False
    assert exit_code(made) == 7
    made.verifications.append(verification(tmp_path, True, False))
    assert exit_code(made) == 6  # a file that disagrees is worse than a budget that is missed
    made.verifications = [verification(tmp_path, failure="it does not load")]
    assert exit_code(made) == 6


def test_parity_rows(tmp_path):
    rows = parity_rows(verification(tmp_path, True, False, failure="it does not load"))
    assert [(row.batch_size, row.passed) for row in rows] == [(1, True), (2, False), (0, False)]
    assert rows[2].inputs == "it does not load" and {row.file for row in rows} == {"model.onnx"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"macs": 0.25, "method": "reprune", "method_options": ("a=1", "b=two words"), "round_to": 4},
        {"export": ("onnx", "openvino"), "on": ("none",), "ignore": ("layer1.*", "stem"), "seed": 3},
        {
            "data": "my images",
            "mean": (0.5, 0.25, 0.125),
            "std": (1.0, 2.0, 3.0),
            "finetune_epochs": 3,
            "distill": True,
        },
        {"latency": 0.005, "on": ("openvino:cpu",), "export": ("openvino",)},
        {"speedup": 1.5, "on": ("onnxruntime:cpu",)},
        {"data": "d", "recover": ("neuron_merging",), "recover_options": ("neuron_merging.form=bn",)},
        {"data": "d", "max_drop": 1.5, "max_epochs": 0, "flip": True},
        {"control": "timm:a", "control_args": ("n=3", "m=two words"), "control_accuracy": 0.931, "on": ("torch:cpu",)},
        {"control": "w.pt", "control_arch": "f.py:make"},
        {"arch": "f.py:make", "arch_args": ("n=3",), "allow": ("my_pkg.",), "trust": True, "input": ("1x3x8x8",)},
    ],
)
def test_the_command_makes_the_same_options_again(source, monkeypatch, options):
    given = []
    monkeypatch.setattr("compressor.cli.run.execute", given.append)
    made = record(source, **options)
    words = shlex.split(command_of(made))
    assert words[0] == "compress"
    main(words[1:])
    assert replace(options_from(given[0]), output="") == made.options


def test_a_model_from_python_has_no_command(source):
    assert command_of(Record(source, RunOptions(), SilentProgress())) == ""


def test_a_report_needs_a_plan(source):
    with pytest.raises(RuntimeError, match="needs a finished plan"):
        summarise(record(source), nn.Identity())


def test_weight_bytes():
    model = nn.Sequential(nn.Linear(3, 4).half(), nn.BatchNorm1d(4))
    assert weight_bytes(model) == 2 * (12 + 4) + 4 * (4 + 4 + 4 + 4) + 8  # and one 64-bit counter


def test_rows_of_groups(source):
    coverage = cover(source.module, source.inputs, ignore=["3"])
    rows = group_rows(coverage)
    assert [(row.name, row.n_channels, row.n_kept, bool(row.reason)) for row in rows] == [
        ("0", 8, 8, False), ("3", 16, 16, True), ("7", 3, 3, True),
    ]  # fmt: skip
    assert sum(row.macs_share for row in rows) == pytest.approx(1.0, abs=1e-3)
    inspection = inspection_of(source, coverage)
    assert inspection.groups == rows and inspection.inputs == {"input": (2, 1, 8, 8)}
    assert inspection.params == sum(p.numel() for p in source.module.parameters())


class TestLatency:
    @staticmethod
    def timing(ratio, interval, n=1000):
        facts = MachineFacts("cpu", 1, 1, 1, "", "")
        measurement = Measurement("torch:cpu", __file__, "aa", 1, 1, ((0.002,) * n,), ((),), facts)
        stats = LatencyStats(n, 2.0, 2.0, 2.0, 2.0, 0.0)
        comparison = Comparison("torch:cpu", stats, stats, ratio, interval, "faster")
        return Timing("torch:cpu", base=measurement, compressed=measurement, comparison=comparison)

    @pytest.fixture
    def reported(self, compressed):
        def report(*timings):
            made = replace(compressed._record, timings=list(timings))
            return summarise(made, compressed.module).latency

        return report

    def test_a_target_that_is_not_here(self, reported):
        (row,) = reported(Timing("openvino:gpu", unavailable="no such device"))
        assert row.unavailable == "no such device" and row.ratio is None and row.base is None

    def test_samples_are_thinned_and_in_milliseconds(self, reported):
        (row,) = reported(self.timing(2.0, (1.9, 2.1)))
        assert row.ratio == 2.0 and row.base.median_ms == pytest.approx(2.0)
        assert len(row.base_samples_ms) <= 400 and set(row.base_samples_ms) == {2.0}

    def test_numbers_that_json_does_not_have(self, reported):
        (row,) = reported(self.timing(2.0, (1.0, float("inf"))))
        assert row.ratio is None and row.interval is None and row.verdict == "faster"


def test_stages_and_notes(source):
    said = []

    class Listener(SilentProgress):
        def note(self, sentence):
            said.append(sentence)

    made = Record(source, RunOptions(device="cuda:1"), Listener())
    made.note("once")
    made.note("once")
    assert made.notes == said == ["once"]
    with made.stage("plan") as facts:
        facts["x"] = 1
    assert made.stages[0].name == "plan" and made.stages[0].facts == {"x": 1} and made.stages[0].seconds >= 0
    with pytest.raises(ZeroDivisionError), made.stage("broken"):
        _ = 1 / 0
    assert len(made.stages) == 1
    assert made.device == "cuda:1"
    assert Record(source, RunOptions(), Listener()).device == ("cuda" if torch.cuda.is_available() else "cpu")
