"""From a runtime's profile to plain data: quiet times, and reorders as part of the nodes that they serve."""

from pathlib import Path

import pytest

from compressor.core.node_times import NodeProfile, NodeTime
from compressor.core.serial import from_json, to_json
from compressor.latency.samples import ModelSample, sample_of


def node(operator, seconds, channels=8):
    return NodeTime(operator, operator, seconds, ((1, channels, 4, 4),), ((1, channels, 4, 4),))


def profile(*nodes, whole=(1.0, 1.0)):
    return NodeProfile("fake", Path("net.onnx"), 1, 1, whole, nodes)


def test_what_other_programs_add_is_left_out():
    nodes = node("Conv", (1.0, 1.0, 1.0, 9.0, 7.0)), node("Relu", (3.0, 3.0, 9.0, 3.0, 3.0))
    sample = sample_of({"a": 8}, profile(*nodes), 4.0)
    assert sample.whole_s == 4.0 and [each.seconds for each in sample.nodes] == [1.0, 3.0]
    assert sample.n_keep == {"a": 8}


def test_nodes_share_what_the_model_takes_without_the_profiler():
    sample = sample_of({}, profile(node("Conv", (3.0,)), node("Relu", (1.0,))), 2.0)
    assert [each.seconds for each in sample.nodes] == [1.5, 0.5]


def test_reorders_count_for_the_node_behind_them():
    nodes = node("ReorderInput", (0.5,)), node("Conv", (1.0,)), node("Relu", (2.0,)), node("Reorder", (0.25,))
    found = sample_of({}, profile(*nodes), 3.75)
    assert [(each.operator, each.seconds) for each in found.nodes] == [("Conv", 1.5), ("Relu", 2.25)]
    same = sample_of({}, profile(node("Conv", (1.0,)), node("Relu", (2.0,))), 3.0)
    assert found.operators == same.operators


def test_only_reorders():
    assert sample_of({}, profile(node("Reorder", (0.5,))), 1.0).nodes == ()


def test_graphs_are_told_apart_by_operators_and_axes():
    def operators(*nodes):
        return sample_of({}, profile(*nodes), 1.0).operators

    plain = operators(node("Conv", (1.0,)), node("Relu", (1.0,)))
    assert operators(node("FusedConv", (1.0,)), node("Relu", (1.0,), 16)) == plain
    assert operators(node("Relu", (1.0,)), node("Conv", (1.0,))) != plain
    flat = NodeTime("Conv", "Conv", (1.0,), ((1, 8),), ((1, 8),))
    assert operators(flat, node("Relu", (1.0,))) != plain


def test_written_and_read_back():
    sample = sample_of({"a": 3}, profile(node("Conv", (0.1, 0.2)), whole=(0.3,)), 0.3)
    assert from_json(ModelSample, to_json(sample), "a sample") == sample
    with pytest.raises(Exception, match="not a valid ModelSample"):
        from_json(ModelSample, "{}", "a sample")
