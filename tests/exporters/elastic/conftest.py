"""Files by hand: small graphs whose sizes are known."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.elastic.file import Sized


def array(name, *shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def integers(name, *values):
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def save(path, nodes, initializers, n_in=4):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, n_in])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def perceptron(path, inner, seed=0):
    """x (1, 4) -> inner -> 3."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first", transB=1),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], name="second", transB=1),
    ]
    weights = [("w1", (inner, 4)), ("b1", (inner,)), ("w2", (3, inner)), ("b2", (3,))]
    return save(path, nodes, [array(name, *shape, seed=seed) for name, shape in weights])


@pytest.fixture
def sized(tmp_path):
    """Files of a function of quantities: `sized(write, {"n": 16}, {"n": 7}, ...)`."""

    def make(write, *choices):
        found = []
        for number, quantities in enumerate(choices):
            found.append(Sized(write(tmp_path / f"{number}.onnx", **quantities), quantities))
        return found

    return make
