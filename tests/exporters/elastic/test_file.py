"""A file at other widths is the one that would have been exported there, but for the weights' values."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from compressor.graph.engine import find_groups
from compressor.graph.extents import Extents
from compressor.runs.elastic import probe_widths
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand
from exporters.elastic.file import ElasticFile, NotElastic, Sized
from exporters.elastic.probes import strip_weights
from exporters.export import export
from exporters.signature import ExampleInputs
from tests import networks
from tests.exporters.elastic.conftest import array, integers, perceptron, save
from tests.networks import images, seeded


def written(path):
    """What decides how long a file takes: operators, shapes of weights, integer constants and attributes, by place."""
    graph = onnx.load(path).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    produced = {output: number for number, node in enumerate(graph.node) for output in node.output}
    told = []
    for node in graph.node:
        inputs = [
            _told(stored[name]) if name in stored else ("from", produced.get(name, name)) for name in node.input if name
        ]
        attributes = {}
        for attribute in node.attribute:
            value = helper.get_attribute_value(attribute)
            attributes[attribute.name] = _told(value) if isinstance(value, onnx.TensorProto) else value
        told.append((node.op_type, inputs, attributes))
    return told


def _told(tensor):
    exact = tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    return tuple(tensor.dims), numpy_helper.to_array(tensor).ravel().tolist() if exact else "weights"


def outputs_of(path, inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {value.name: inputs for value in session.get_inputs()})


@dataclass
class Case:
    """A network, its elastic file, and a true export at widths that the elastic file never saw."""

    elastic: ElasticFile
    extents: Extents
    n_keep: dict[str, int]
    true: Path
    whole: Path
    pixels: np.ndarray


NETWORKS = {
    "residual": (lambda: networks.Residual(24, 18), images()),
    "concat": (networks.Concat, images()),
    "depthwise": (
        lambda: networks.Chain(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16), nn.Hardswish(), n=16),
        images(),
    ),
    "attention": (networks.Fused, torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))),
}


@pytest.fixture(scope="module", params=NETWORKS)
def case(request, tmp_path_factory):
    make, pixels = NETWORKS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    model = seeded(make)
    inputs = ExampleInputs.of(pixels, model)
    groups = find_groups(model, inputs)[0]
    extents = Extents(groups, {name: tensor.shape for name, tensor in model.state_dict().items()})

    def exported(name, n_keep):
        small = cut_copy(model, *expand(groups, {g: range(n) for g, n in n_keep.items()}, model))
        (file,) = export(small, inputs, ["onnx"], folder / name)
        return file.path

    whole = exported("whole", {})
    probes, held_out = probe_widths(groups), {g.name: max(2, round(0.6 * g.n_channels)) for g in groups}
    files = []
    for number, n_keep in enumerate(probes):
        path = exported(str(number), n_keep)
        files.append(Sized(strip_weights(path, path), extents.at(n_keep)))
    assert held_out not in probes
    elastic = ElasticFile(Sized(whole, extents.at({})), files)
    return Case(elastic, extents, held_out, exported("held-out", held_out), whole, pixels.numpy())


def test_as_exported_at_widths_never_seen(case, tmp_path):
    path = case.elastic.write(tmp_path / "small.onnx", case.extents.at(case.n_keep))
    assert written(path) == written(case.true) != written(case.whole)
    assert [y.shape for y in outputs_of(path, case.pixels)] == [y.shape for y in outputs_of(case.true, case.pixels)]


def test_at_full_size_it_is_the_original(case, tmp_path):
    """Weights keep their first positions, so here all of them."""
    path = case.elastic.write(tmp_path / "whole.onnx", case.extents.at({}))
    assert written(path) == written(case.whole)
    for one, other in zip(outputs_of(path, case.pixels), outputs_of(case.whole, case.pixels), strict=True):
        np.testing.assert_array_equal(one, other)


def test_writing_changes_nothing(case, tmp_path):
    first = case.elastic.write(tmp_path / "a.onnx", case.extents.at(case.n_keep)).read_bytes()
    case.elastic.write(tmp_path / "b.onnx", case.extents.at({}))
    assert case.elastic.write(tmp_path / "c.onnx", case.extents.at(case.n_keep)).read_bytes() == first


def test_by_hand(sized, tmp_path):
    whole, *others = sized(lambda path, n: perceptron(path, n), {"n": 16}, {"n": 7}, {"n": 9})
    path = ElasticFile(whole, others).write(tmp_path / "small.onnx", {"n": 3})
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    assert {name: value.shape for name, value in stored.items()} == {"w1": (3, 4), "b1": (3,), "w2": (3, 3), "b2": (3,)}
    full = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(whole.path).graph.initializer}
    np.testing.assert_array_equal(stored["w2"], full["w2"][:, :3])


def merged(path, a, b, c=5):
    """Ends of slices that are one constant where they are equal, as exporters write them; twice in one node."""
    ends = {}
    for value in (a, b, c):
        ends.setdefault(value, integers(f"c{value}", value))
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name="gemm", transB=1),
        helper.make_node("Slice", ["h", "zero", f"c{c}", "one"], ["fixed"], name="s0"),
        helper.make_node("Slice", ["h", f"c{a}", f"c{b}", "one"], ["y"], name="s1"),
    ]
    return save(path, nodes, [array("w", 40, 4), integers("zero", 0), integers("one", 1), *ends.values()])


def test_constants_that_are_equal_at_one_size_only(sized, tmp_path):
    """At full size the start, the end and something fixed are one and the same constant."""
    choices = {"a": 5, "b": 5}, {"a": 3, "b": 9}, {"a": 4, "b": 7}
    whole, *others = sized(merged, *choices)
    path = ElasticFile(whole, others).write(tmp_path / "small.onnx", {"a": 2, "b": 30})
    assert outputs_of(path, np.ones((1, 4), np.float32))[0].shape == (1, 28)
    stored = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in onnx.load(path).graph.initializer}
    first, second = onnx.load(path).graph.node[1:]
    assert stored[first.input[2]] == [5] and stored[second.input[1]] == [2] and stored[second.input[2]] == [30]


def split(path, n, groups=2):
    """An attribute with several numbers."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name="gemm", transB=1),
        helper.make_node("LpNormalization", ["h"], ["l"], name="norm", p=groups),
        helper.make_node("Constant", [], ["shape"], name="shape", value_ints=[1, n, 1]),
        helper.make_node("Reshape", ["l", "shape"], ["y"], name="reshape"),
    ]
    return save(path, nodes, [array("w", n, 4)])


def test_integers_of_attributes(sized, tmp_path):
    whole, *others = sized(split, {"n": 12}, {"n": 5}, {"n": 7})
    path = ElasticFile(whole, others).write(tmp_path / "small.onnx", {"n": 4})
    assert outputs_of(path, np.ones((1, 4), np.float32))[0].shape == (1, 4, 1)


def test_other_nodes_are_refused(sized, tmp_path):
    whole, other = sized(lambda path, n: perceptron(path, n), {"n": 16}, {"n": 7})
    model = onnx.load(other.path)
    model.graph.node[1].op_type = "Sigmoid"
    other.path.write_bytes(model.SerializeToString())
    with pytest.raises(NotElastic, match="different nodes"):
        ElasticFile(whole, [other])


def test_sizes_without_a_cause_are_refused(sized):
    whole, *others = sized(
        lambda path, n, hidden: perceptron(path, hidden), {"n": 16, "hidden": 60}, {"n": 7, "hidden": 31}
    )
    blind = [Sized(file.path, {"n": file.quantities["n"]}) for file in (whole, *others)]
    third = Sized(perceptron(whole.path.with_name("third.onnx"), 22), {"n": 9})
    with pytest.raises(NotElastic, match=r"axis 0 of w1 is 60, 31, 22 at different sizes"):
        ElasticFile(blind[0], [*blind[1:], third])


def test_attributes_that_come_and_go_are_refused(sized):
    whole, other = sized(split, {"n": 12}, {"n": 5})
    model = onnx.load(other.path)
    del model.graph.node[1].attribute[:]
    other.path.write_bytes(model.SerializeToString())
    with pytest.raises(NotElastic, match="norm has other attributes"):
        ElasticFile(whole, [other])


def test_attributes_that_appear_elsewhere_are_refused(sized):
    whole, other = sized(split, {"n": 12}, {"n": 5})
    model = onnx.load(other.path)
    model.graph.node[1].attribute.append(helper.make_attribute("axis", 1))
    other.path.write_bytes(model.SerializeToString())
    with pytest.raises(NotElastic, match="norm has other attributes"):
        ElasticFile(whole, [other])


def test_weights_that_are_computed_at_another_size_are_refused(sized):
    whole, other = sized(lambda path, n: perceptron(path, n), {"n": 16}, {"n": 7})
    model = onnx.load(other.path)
    model.graph.node[2].input[1] = "r"
    other.path.write_bytes(model.SerializeToString())
    with pytest.raises(NotElastic, match="w2 is a weight at one size only"):
        ElasticFile(whole, [other])


def test_what_would_not_fit_is_refused(sized, monkeypatch):
    whole, other = sized(lambda path, n: perceptron(path, n), {"n": 16}, {"n": 7})
    monkeypatch.setattr("exporters.elastic.file.LARGEST_BYTES", 100)
    with pytest.raises(NotElastic, match="too large"):
        ElasticFile(whole, [other])


def test_weights_beside_the_file_count(sized, monkeypatch):
    """Files above 2 GB keep their weights in a second one."""
    whole, other = sized(lambda path, n: perceptron(path, n), {"n": 400}, {"n": 7})
    model = onnx.load(whole.path)
    onnx.save(model, whole.path, save_as_external_data=True, location="0.onnx.data", size_threshold=0)
    assert whole.path.stat().st_size < 2000
    monkeypatch.setattr("exporters.elastic.file.LARGEST_BYTES", 4000)
    with pytest.raises(NotElastic, match="too large"):
        ElasticFile(whole, [other])


def test_quantities_beyond_the_whole_are_refused(sized, tmp_path):
    whole, *others = sized(lambda path, n: perceptron(path, n), {"n": 16}, {"n": 7}, {"n": 9})
    with pytest.raises(ValueError, match="at most"):
        ElasticFile(whole, others).write(tmp_path / "large.onnx", {"n": 17})
