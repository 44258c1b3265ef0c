"""The runtime's nodes and the layers' channels: which sizes follow what."""

from dataclasses import replace
from fractions import Fraction

import pytest

from compressor.latency.lines import LEAST_SAMPLES, lines_of, values_in
from compressor.latency.samples import NodeSample
from exporters.elastic.sizes import Size

WIDTHS = [(64, 96, 128), (24, 50, 70), (40, 31, 99), (17, 80, 33), (50, 44, 61)]


@pytest.fixture
def samples(network):
    return [network.sample(a=a, b=b, c=c) for a, b, c in WIDTHS]


def quantities(network, samples):
    return [network.extents.at(sample.n_keep) for sample in samples]


def test_convolutions_concatenations_and_what_never_changes(network, samples):
    lines, same, unexplained = lines_of(samples, quantities(network, samples))
    assert same == samples and unexplained == 0
    found = {(line.pattern[0], line.pattern[1][0]): line for line in lines}
    groups = {
        line.pattern: tuple(
            frozenset(g for name in size.quantities for g in network.extents.groups_of(name)) for size in line.variables
        )
        for line in lines
    }
    second = next(line for line in lines if line.pattern[1][1:2] == ((-2, -1, 3, 3),))
    assert second.pattern == ("Conv", ((1, -1, 14, 14), (-2, -1, 3, 3), (-2,)), ((1, -2, 14, 14))) or (
        second.pattern == ("Conv", ((1, -1, 14, 14), (-2, -1, 3, 3), (-2,), (1, -2, 14, 14)))
    )
    assert groups[second.pattern] == ({"a"}, {"b"})
    joined = next(line for line in lines if line.pattern[0] == "Concat")
    assert groups[joined.pattern] == ({"a"}, {"b"}, {"a", "b"})
    assert found["Softmax", (1, 10)].variables == ()
    assert sum(line.seconds for line in lines) == pytest.approx(sum(node.seconds for node in samples[0].nodes))
    by_hand = sum(node.seconds for sample in samples for node in sample.nodes) / len(samples)
    assert sum(line.typical_s for line in lines) == pytest.approx(by_hand)


def test_the_whole_model_is_the_widest_not_the_slowest(network, samples):
    """A narrow one may have been timed while the machine was busy."""
    busy = [*samples[:-1], replace(samples[-1], whole_s=1.0)]
    lines, _, _ = lines_of(busy, quantities(network, busy))
    assert sum(line.seconds for line in lines) == pytest.approx(sum(node.seconds for node in samples[0].nodes))


def test_nodes_on_the_same_sizes_are_one_line(network):
    samples = []
    for a, b, c in WIDTHS:
        sample = network.sample(a=a, b=b, c=c)
        samples.append(replace(sample, nodes=(*sample.nodes, sample.nodes[1])))
    lines, _, _ = lines_of(samples, quantities(network, samples))
    twice = [line for line in lines if line.count == 2]
    assert len(twice) == 1 and twice[0].seconds == pytest.approx(2 * samples[0].nodes[1].seconds)


def test_sizes_that_nothing_explains(network, samples):
    """A runtime that pads by its own rule."""
    padded = []
    for sample in samples:
        nodes = list(sample.nodes)
        size = 64 if sample is samples[0] else 7 + len(padded) ** 3
        nodes[1] = replace(nodes[1], outputs=((1, size, 14, 14),))
        padded.append(replace(sample, nodes=tuple(nodes)))
    lines, _, unexplained = lines_of(padded, quantities(network, padded))
    whole = padded[0].nodes
    assert unexplained == pytest.approx(whole[1].seconds / sum(node.seconds for node in whole))
    lost = next(line for line in lines if line.pattern[0] == "unexplained 1")
    assert lost.variables == () and lost.count == 1


def test_the_graph_that_most_samples_have(network, samples):
    other = network.sample(a=8)
    odd = replace(other, nodes=other.nodes[:-1])
    _, same, _ = lines_of([odd, *samples], quantities(network, [odd, *samples]))
    assert same == samples


def test_too_few_of_one_graph(network, samples):
    mixed = [*samples[: LEAST_SAMPLES - 1], replace(samples[3], nodes=samples[3].nodes[:-1])]
    with pytest.raises(ValueError, match=f"only {LEAST_SAMPLES - 1} samples have the same nodes"):
        lines_of(mixed, quantities(network, mixed))


def test_values_in_a_node():
    pattern = ("Conv", ((1, -1, 14, 14), (-2, -1, 3, 3), (1, -2, 14, 14)))

    def node(c_in, c_out, weight_in=None, side=14, operator="Conv"):
        weight = (c_out, weight_in or c_in, 3, 3)
        return NodeSample(operator, ((1, c_in, side, side), weight), ((1, c_out, side, side),), 1.0)

    assert values_in(pattern, node(5, 7)) == (5, 7)
    assert values_in(pattern, node(7, 7)) == (7, 7)
    for other in (node(5, 7, weight_in=1), node(5, 7, side=7), node(5, 7, operator="Gemm")):
        assert values_in(pattern, other) is None
    assert values_in(pattern, NodeSample("Conv", ((1, 5, 14, 14),), ((1, 7, 14, 14),), 1.0)) is None
    assert values_in(pattern, NodeSample("Conv", ((1, 5), (7, 5, 3, 3)), ((1, 7, 14, 14),), 1.0)) is None
    assert values_in(("Relu", ((1, 8), (1, 8))), NodeSample("Relu", ((1, 8),), ((1, 8),), 1.0)) == ()


def test_one_layer_on_a_multiple_of_channels(network):
    """Queries, keys and values come from one layer: three times a group's channels."""
    samples = []
    for a, b, c in WIDTHS:
        sample = network.sample(a=a, b=b, c=c)
        extra = NodeSample("Gemm", ((1, 10), (3 * c, 10)), ((1, 3 * c),), 1e-5)
        samples.append(replace(sample, nodes=(*sample.nodes, extra)))
    lines, _, _ = lines_of(samples, quantities(network, samples))
    (line,) = [line for line in lines if line.pattern[1][0] == (1, 10) and line.pattern[0] == "Gemm"]
    (size,) = line.variables
    assert isinstance(size, Size) and size.terms[0][0] == Fraction(3)
