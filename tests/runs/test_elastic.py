"""Probes: widths at which groups can be told apart, kept for the next run, and never in the way of one."""

from dataclasses import replace

import onnx
import pytest

from compressor.core.groups import ChannelGroup
from compressor.runs import elastic
from compressor.runs.elastic import NotElastic, elastic_file, extents_of, narrowable, narrowed, probe_widths
from exporters.export import export
from tests.networks import seeded
from tests.runs.planned import Switching, Wide, claimed, recorded


def groups(*sizes):
    return [ChannelGroup(f"g{number}", size, ()) for number, size in enumerate(sizes)]


def vectors(given):
    found = probe_widths(given)
    return {group.name: (group.n_channels, *(choice[group.name] for choice in found)) for group in given}


@pytest.mark.parametrize(
    ("sizes", "n_probes"),
    [((64,) * 40, 2), ((512, 7, 3), 2), ((3,) * 12, 5), ((4,) * 3, 3), ((8,) * 30, 3), ((1, 2, 64), 2)],
)
def test_groups_are_told_apart(sizes, n_probes):
    found = vectors(groups(*sizes))
    assert len(next(iter(found.values()))) == 1 + n_probes
    told = [vector for vector in found.values() if vector[0] > 2]
    assert len(set(told)) == len(told)
    for whole, *probes in told:
        assert len(set(probes)) > 1 and all(2 <= count <= whole for count in probes)
        assert min(probes) >= round(whole / 3)


def test_groups_of_one_and_two_channels_stay_whole():
    """Exporters write other nodes for an axis of one, so nothing narrower is tried, and plans leave them whole."""
    assert vectors(groups(1, 2)) == {"g0": (1, 1, 1), "g1": (2, 2, 2)}
    assert [narrowable(group) for group in groups(1, 2, 3)] == [False, False, True]


def test_more_groups_than_can_be_told_apart():
    with pytest.raises(NotElastic, match="too many groups of 3 channels"):
        probe_widths(groups(*[3] * 40))


def test_the_same_each_time():
    assert probe_widths(groups(64, 32)) == probe_widths(groups(64, 32))
    assert probe_widths(groups(64, 32), 4)[:1] != probe_widths(groups(32, 64), 4)[:1]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The record, and its original in ONNX."""
    record = recorded()
    (file,) = export(record.source.module, record.source.inputs, ["onnx"], tmp_path_factory.mktemp("original"))
    return record, file.path


@pytest.fixture
def made(exported, tmp_path, monkeypatch):
    """The elastic file, with a cache of its own; counts what was exported."""
    record, original = exported
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "cache"))
    exports = []
    real = elastic.export

    def counted(*args, **options):
        exports.append(args[2])
        return real(*args, **options)

    monkeypatch.setattr(elastic, "export", counted)

    def make():
        exports.clear()
        return elastic_file(record, original, extents_of(record), claimed(record, tmp_path / "run")), len(exports)

    make.cache = tmp_path / "cache"
    make.work = tmp_path / "run" / ".work"
    return make


def widths_of(file, record, n_keep, path):
    file.write(path, extents_of(record).at(n_keep))
    return {tensor.name: tuple(tensor.dims) for tensor in onnx.load(path).graph.initializer}


def test_kept_for_the_next_run(made, exported, tmp_path):
    record, _ = exported
    first, n = made()
    assert n == 2 and not (made.work / "probes").exists()
    kept = sorted(path.name for path in made.cache.rglob("*.*") if path.is_file())
    assert kept == ["0.onnx", "1.onnx", "widths.json"]
    again, n = made()
    assert n == 0
    for number, file in enumerate((first, again)):
        shapes = widths_of(file, record, {"stem": 17, "conv": 30}, tmp_path / f"{number}.onnx")
        assert shapes["stem.weight"] == (17, 3, 3, 3) and shapes["conv.weight"] == (30, 17, 3, 3)

    # Damaged, or cut at other widths: made anew.
    (probe,) = made.cache.rglob("1.onnx")
    for damage in (b"", probe.read_bytes()[:100]):
        probe.write_bytes(damage)
        assert made()[1] == 2
    (widths,) = made.cache.rglob("widths.json")
    widths.write_text(widths.read_text().replace("conv", "other"))
    assert made()[1] == 2 and made()[1] == 0


def test_a_cache_that_cannot_be_written_stops_nothing(made):
    made.cache.write_text("a file")
    assert made()[1] == 2 and made()[1] == 2


def test_models_with_other_nodes_when_narrow(tmp_path, monkeypatch):
    record = recorded(Switching)
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "cache"))
    (file,) = export(record.source.module, record.source.inputs, ["onnx"], tmp_path / "original")
    with pytest.raises(NotElastic, match="different nodes"):
        elastic_file(record, file.path, extents_of(record), claimed(record, tmp_path / "run"))


def test_rewritten_models_are_compared_with_themselves(tmp_path, monkeypatch):
    """What is cut is the rewritten module; the user's own has other nodes."""

    class Own(Wide):
        def forward(self, x):
            return super().forward(x).neg().neg()

    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "cache"))
    record = recorded()
    record.source = replace(record.source, as_given=seeded(Own))
    (file,) = export(record.source.original, record.source.inputs, ["onnx"], tmp_path / "original")
    elastic = elastic_file(record, file.path, extents_of(record), claimed(record, tmp_path / "run"))
    path = elastic.write(tmp_path / "small.onnx", extents_of(record).at({"stem": 20}))
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert "Neg" not in operators and operators != [node.op_type for node in onnx.load(file.path).graph.node]


def test_narrowed_models_have_the_first_channels(exported):
    record, _ = exported
    small = narrowed(record, {"stem": 5})
    assert small.stem.weight.equal(record.source.module.stem.weight[:5]) and small.conv.weight.shape[:2] == (64, 5)
    assert record.source.module.stem.out_channels == 48
