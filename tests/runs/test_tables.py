"""Plans in time, measured in ONNX Runtime on a small network: what they say of themselves holds, however fast it is."""

import numpy as np
import onnx
import onnxruntime
import pytest

from compressor.planning.frontier import Frontier
from compressor.runs import elastic, tables
from compressor.runs.bench import Bench
from compressor.runs.tables import MOST_COUNTS, Slowest, frontier_of, time_plans
from tests.networks import images
from tests.runs.planned import Switching, Wide, claimed, planner_of, recorded


def planned(folder, make=Wide, **options):
    """(plans, record, planner) of a run in that folder, whose cache lies beside it."""
    record = recorded(make, **options)
    planner, run = planner_of(record), claimed(record, folder / "run")
    return time_plans(record, planner, Bench(record, run), run, planner.worth), record, planner


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPRESSOR_CACHE", str(path / "cache"))
        yield path


@pytest.fixture(scope="module")
def measured(folder):
    return planned(folder)


def test_the_plans_keep_their_limits(measured):
    plans, record, planner = measured
    assert record.notes == [] and list(plans.models) == ["onnxruntime:cpu"]
    assert all(found[-1] == n for found, n in zip(plans.counts.values(), (48, 64), strict=True))
    (row,) = plans.rows
    assert row.target == "onnxruntime:cpu" and row.n_models >= 4 and row.error >= 0 and 0 <= row.unexplained_share <= 1
    value = -1.0
    model = plans.models["onnxruntime:cpu"]
    for share in np.linspace(plans.frontier.narrowest.cost, 1.0, 12):
        choice = plans.frontier.best(share)
        assert choice.cost <= share and choice.value >= value
        assert choice.cost == pytest.approx(model.whole(choice.n_keep) / model.whole({}))
        assert all(choice.n_keep[name] in found for name, found in plans.counts.items())
        assert planner.widths_of(choice.n_keep).n_keep == choice.n_keep
        value = choice.value
    assert plans.frontier.best(1.0001).n_keep == {"stem": 48, "conv": 64}


def test_its_files_have_the_widths_and_run(measured, tmp_path):
    plans, _, _ = measured
    n_keep = plans.frontier.narrowest.n_keep
    path = plans.write(tmp_path / "small.onnx", n_keep)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in onnx.load(path).graph.initializer}
    assert shapes["conv.weight"] == (n_keep["conv"], n_keep["stem"], 3, 3)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.run(None, {session.get_inputs()[0].name: images().numpy()})[0].shape == (2, 3)
    assert plans.whole.is_file()


def test_nothing_is_left_behind(measured, folder):
    assert {path.name for path in (folder / "run" / ".work").iterdir()} <= {"identity.json", "base"}
    assert {path.name for path in (folder / "cache").iterdir()} == {"latency", "probes"}


def test_the_second_time_nothing_is_measured(measured, folder, tmp_path, monkeypatch):
    plans, _, _ = measured

    def forbidden(*args, **options):
        raise AssertionError("measured again")

    monkeypatch.setattr(tables.NodeProfiler, "profile", forbidden)
    monkeypatch.setattr(elastic, "export", forbidden)
    again, record, _ = planned(tmp_path)
    assert record.notes == [] and again.rows == plans.rows and again.counts == plans.counts
    assert again.frontier.best(0.7) == plans.frontier.best(0.7)


def test_a_step_that_is_asked_for(folder, tmp_path):
    plans, record, _ = planned(tmp_path, round_to=24)
    assert plans.counts == {"stem": [24, 48], "conv": [24, 48, 64]} and record.notes == []


def test_what_reads_no_onnx_files(folder, tmp_path):
    plans, record, _ = planned(tmp_path, on=("torch:cpu",), export=("none",))
    (note,) = record.notes
    assert plans is None and note.startswith("Widths were sought by their share of the MACs instead of measured tables")
    assert note.endswith("torch:cpu reads no ONNX files.")


def test_models_with_other_nodes_when_narrow(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "empty"))
    plans, record, _ = planned(tmp_path, make=Switching)
    (note,) = record.notes
    assert plans is None and "sought by their share of the MACs" in note and "different nodes" in note


def test_a_runtime_that_refuses_the_files(tmp_path, monkeypatch):
    """Its sentence is in the note, and the run goes on without tables."""
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(elastic.ElasticFile, "write", lambda self, path, quantities: path.write_bytes(b"no") and path)
    plans, record, _ = planned(tmp_path)
    (note,) = record.notes
    assert plans is None and "sought by their share of the MACs" in note and "Protobuf parsing failed" in note


class Linear:
    """Takes a constant, and so much for each channel."""

    def __init__(self, constant, **per_channel):
        self.constant, self.per_channel = constant, per_channel

    def whole(self, n_keep):
        counts = {"a": 10, "b": 20, **n_keep}
        return self.constant + sum(each * counts[name] for name, each in self.per_channel.items())

    def alternatives(self, n_keep, group, counts):
        return self.per_channel[group] * np.asarray(counts, dtype=float) - 3.0


def test_the_target_that_gains_least_decides():
    one, other = Linear(10.0, a=1.0, b=1.0), Linear(0.0, a=4.0, b=0.0)  # 40 s each
    cost = Slowest([one, other])
    assert cost.whole({"a": 10, "b": 20}) == 1.0
    assert cost.whole({"a": 10, "b": 1}) == 1.0 and cost.whole({"a": 5, "b": 20}) == pytest.approx(35 / 40)
    counts = np.array([1, 5, 10])
    for n_keep in ({"a": 10, "b": 20}, {"a": 3, "b": 2}):
        for group in ("a", "b"):
            whole = [cost.whole({**n_keep, group: int(count)}) for count in counts]
            found = cost.alternatives(n_keep, group, counts)
            np.testing.assert_allclose(found, whole)
            single = Slowest([one]).alternatives(n_keep, group, counts)
            alone = [Slowest([one]).whole({**n_keep, group: int(count)}) for count in counts]
            np.testing.assert_allclose(np.diff(single), np.diff(alone))


def test_a_group_that_one_target_does_not_feel_stays_a_choice():
    """As long as the other target is the slower one it saves nothing; once that one has gained, it does."""
    models = {"one": Linear(0.0, a=3.0, b=0.5), "other": Linear(20.0, a=0.0, b=1.0)}
    counts = {"a": list(range(1, 11)), "b": list(range(1, 21))}
    worth = {"a": np.arange(11.0), "b": np.arange(21.0)}
    frontier = frontier_of(models, counts, worth)
    assert frontier.narrowest.cost == pytest.approx(21 / 40) and frontier.narrowest.n_keep["b"] == 1
    assert frontier.best(0.6).n_keep["a"] < 10


def test_counts_that_save_next_to_nothing_are_not_offered():
    """Their part of two thousandths of the time is given for the wider count, and not more however many there are."""
    model = Linear(1000.0, a=0.3, b=4.0)
    counts = {"a": list(range(1, 11)), "b": list(range(1, 21))}
    worth = {"a": np.arange(11.0), "b": np.arange(21.0)}
    frontier = frontier_of({"t": model}, counts, worth)
    assert isinstance(frontier, Frontier)
    whole = model.whole({})
    least = (1000 + 0.3 + 4.0) / whole
    assert least <= frontier.narrowest.cost <= least + tables.FREE
    offered = {frontier.best(share).n_keep["a"] for share in np.linspace(least + tables.FREE, 1, 200)}
    assert 10 in offered and len(offered) < 6


def test_at_most_so_many_counts():
    assert tables._thinned([8, 16, 20]) == [8, 16, 20]
    found = tables._thinned(list(range(1, 1001)))
    assert len(found) <= MOST_COUNTS and found[-1] == 1000 and len(set(np.diff(found))) == 1
