"""A model's time at widths that were never timed, from node times that are functions of the sizes."""

import random
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from compressor.latency.design import choices
from compressor.latency.model import LatencyModel
from tests.latency.conftest import CALL_S, Network


def sampled(network, n=40, step=1, seed=0):
    return [network.sample(**widths) for widths in islice(choices(network.grids(step), seed), n)]


def unseen(network, n=30):
    generator = random.Random(5)
    return [
        {name: generator.randint(len_ // 6, len_) for name, len_ in network.extents.groups.items()} for _ in range(n)
    ]


def test_widths_that_were_never_timed(network):
    model = LatencyModel(sampled(network), network.extents)
    for widths in unseen(network):
        assert model.whole(widths) == pytest.approx(network.whole_s(**widths), rel=0.002)
    assert model.whole({}) == pytest.approx(network.whole_s(64, 96, 128), rel=0.002)
    assert model.whole({"b": 32}) == pytest.approx(network.whole_s(64, 32, 128), rel=0.002)
    assert model.fitted.n_samples == 40 and model.fitted.error < 1e-3 and model.fitted.unexplained_share == 0


def test_blocks_of_the_runtime():
    """On the widths that plans have, which are whole blocks, and between them."""
    network = Network(block=8)
    model = LatencyModel(sampled(network, 60, step=4), network.extents)
    for widths in unseen(network):
        assert model.whole(widths) == pytest.approx(network.whole_s(**widths), rel=0.04)
        even = {name: -(-count // 8) * 8 for name, count in widths.items()}
        assert model.whole(even) == pytest.approx(network.whole_s(**even), rel=0.02)


def test_alternatives_differ_as_the_whole_does(network):
    model = LatencyModel(sampled(network), network.extents)
    for widths in unseen(network, 5):
        for name, n in network.extents.groups.items():
            counts = np.array([1, 5, n // 2, n, 5])
            found = model.alternatives(widths, name, counts)
            whole = np.array([model.whole({**widths, name: int(count)}) for count in counts])
            np.testing.assert_allclose(found - found[0], whole - whole[0], atol=1e-12)
            np.testing.assert_array_equal(model.alternatives(widths, name, counts), found)  # remembered


def test_what_is_remembered_is_not_mixed_up(network):
    """Answers are the same in whatever order and company they are asked for."""
    samples = sampled(network)
    asked, fresh = LatencyModel(samples, network.extents), LatencyModel(samples, network.extents)
    widths = unseen(network, 6)
    for each in widths:
        asked.whole(each)
        asked.alternatives(each, "a", np.array([3, 4]))
    counts = np.array([4, 3, 60])
    for each in reversed(widths):
        assert asked.whole(each) == fresh.whole(each)
        np.testing.assert_array_equal(asked.alternatives(each, "a", counts), fresh.alternatives(each, "a", counts))
    assert asked.whole({}) == fresh.whole({"a": 64, "b": 96, "c": 128})


def test_nodes_overlap_and_calls_take_time(network):
    """The whole is no sum of its nodes: a factor and a constant come from whole-model times."""

    def slowed(sample):
        return replace(sample, whole_s=3 * CALL_S + 0.5 * sum(node.seconds for node in sample.nodes))

    model = LatencyModel([slowed(sample) for sample in sampled(network)], network.extents)
    for widths in unseen(network, 5):
        assert model.whole(widths) == pytest.approx(slowed(network.sample(**widths)).whole_s, rel=0.002)


def test_sizes_measured_in_other_models_are_used(network):
    """A few samples of its own, all near full width; the rest comes from a wider model's layers."""
    generator = random.Random(3)
    near = [network.sample()]
    near += [
        network.sample(**{n: generator.randint(w * 3 // 4, w) for n, w in network.extents.groups.items()})
        for _ in range(5)
    ]
    other = replace(network, a=100, b=100, c=200)
    nodes = [node for sample in sampled(other, 60) for node in sample.nodes]

    def errors(model):
        return [abs(model.whole(w) / network.whole_s(**w) - 1) for w in unseen(network)]

    helped = LatencyModel(near, network.extents, nodes)
    assert max(errors(helped)) < 0.02
    assert helped.kinds[0].n_sizes > LatencyModel(near, network.extents).kinds[0].n_sizes


def test_what_nothing_explains_takes_what_it_did_on_average(network):
    """It stands in no alternative, and in the whole as a constant."""
    samples = []
    for number, sample in enumerate(sampled(network, 20)):
        nodes = list(sample.nodes)
        nodes[5] = replace(
            nodes[5], operator="Odd", inputs=((1, 1000 - (number * 37) ** 2 % 997),), seconds=1e-6 * (1 + number % 2)
        )
        samples.append(replace(sample, nodes=tuple(nodes)))
    model = LatencyModel(samples, network.extents)
    assert model.fitted.unexplained_share == pytest.approx(1e-6 / sum(n.seconds for n in samples[0].nodes), rel=1e-3)
    odd = [kind for kind in model.kinds if kind.pattern[0].startswith("unexplained")]
    assert len(odd) == 1 and odd[0].n_variables == 0 and odd[0].n_sizes == 0


def test_kinds_add_up(network):
    model = LatencyModel(sampled(network), network.extents)
    kinds = {kind.pattern[0]: kind for kind in model.kinds}
    assert sum(kind.share for kind in model.kinds) == pytest.approx(1)
    assert kinds["Concat"].n_variables == 3 and kinds["Concat"].groups == {("a", "b")}
    assert kinds["Softmax"].n_variables == 0 and kinds["Pool"].groups == {("c",)}
    assert all(kind.n_sizes > 10 for kind in model.kinds if kind.n_variables)


def test_too_few_of_one_graph(network):
    with pytest.raises(ValueError, match="only 3 samples"):
        LatencyModel(sampled(network, 3), network.extents)
