"""Files without their weights: small, and with everything that tells sizes."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from exporters.elastic.probes import MOST_ENTRIES, fingerprint, strip_weights
from tests.exporters.elastic.conftest import array, integers, perceptron, save


def reshaped(path, shape=(2, 8), seed=0, name="", meta="", fill=None):
    """Has a weight, an integer constant as initializer, one inside a node, and a large table of integers."""
    table = np.arange(MOST_ENTRIES + 1, dtype=np.int64) if fill is None else np.full(MOST_ENTRIES + 1, fill)
    inside = numpy_helper.from_array(np.array([1, -1], dtype=np.int64), "inside")
    weight = numpy_helper.from_array(np.random.default_rng(seed).normal(size=(16, 4)).astype(np.float32), "inside_w")
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name=f"{name}gemm", transB=1),
        helper.make_node("Reshape", ["h", "shape"], ["r"], name="reshape"),
        helper.make_node("Constant", [], ["back"], name="constant", value=inside),
        helper.make_node("Constant", [], ["floats"], name="weights", value=weight),
        helper.make_node("Gather", ["table", "shape"], ["unused"], name="gather"),
        helper.make_node("Reshape", ["r", "back"], ["y"], name="end"),
    ]
    table = numpy_helper.from_array(table.astype(np.int64), "table")
    save(path, nodes, [array("w", 16, 4, seed=seed), integers("shape", *shape), table])
    if meta:
        model = onnx.load(path)
        helper.set_model_props(model, {"written": meta})
        path.write_bytes(model.SerializeToString())
    return path


def test_stripped_of_weights_only(tmp_path):
    source = reshaped(tmp_path / "source.onnx")
    path = strip_weights(source, tmp_path / "stripped.onnx")
    before, after = onnx.load(source), onnx.load(path)
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    tensors = {tensor.name: tensor for tensor in after.graph.initializer}
    assert list(tensors["w"].dims) == [16, 4] and not tensors["w"].raw_data
    assert numpy_helper.to_array(tensors["shape"]).tolist() == [2, 8]
    assert list(tensors["table"].dims) == [MOST_ENTRIES + 1] and not tensors["table"].raw_data
    inside, floats = (node.attribute[0].t for node in after.graph.node if node.op_type == "Constant")
    assert numpy_helper.to_array(inside).tolist() == [1, -1] and not floats.raw_data and list(floats.dims) == [16, 4]
    assert path.stat().st_size < 0.05 * source.stat().st_size
    assert onnx.load(source) == before


def test_stripping_a_file_in_place(tmp_path):
    path = perceptron(tmp_path / "net.onnx", 64)
    whole = path.stat().st_size
    assert strip_weights(path, path).stat().st_size < whole / 2


def test_fingerprints_tell_sizes_and_nodes_not_weights(tmp_path):
    same = fingerprint(reshaped(tmp_path / "a.onnx"))
    assert fingerprint(reshaped(tmp_path / "b.onnx", seed=1)) == same
    assert fingerprint(reshaped(tmp_path / "c.onnx", meta="at noon")) == same
    assert fingerprint(strip_weights(tmp_path / "a.onnx", tmp_path / "d.onnx")) == same
    assert fingerprint(reshaped(tmp_path / "e.onnx", shape=(4, 4))) != same
    assert fingerprint(perceptron(tmp_path / "f.onnx", 8)) != fingerprint(perceptron(tmp_path / "g.onnx", 9))
    # Tables as large as weights are none of the sizes.
    assert fingerprint(reshaped(tmp_path / "h.onnx", fill=3)) == same
