"""Lengths of axes at any widths: those of models that were really cut there."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis
from compressor.graph.engine import find_groups
from compressor.graph.extents import Extents
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand
from exporters.signature import ExampleInputs
from tests import networks
from tests.networks import images, seeded

TOKENS = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))
GROUPED = nn.Conv2d(8, 16, 3, padding=1, groups=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1)
NETWORKS = {
    "residual": (lambda: networks.Residual(24, 18), images()),
    "concat": (networks.Concat, images()),
    "grouped": (lambda: networks.Chain(*GROUPED), images()),
    "flattened": (networks.Flattened, images()),
    "heads": (networks.Fused, TOKENS),
    "attention": (networks.Attentive, TOKENS[..., :6].contiguous()),
}


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    make, inputs = NETWORKS[request.param]
    model = seeded(make)
    groups = find_groups(model, ExampleInputs.of(inputs, model))[0]
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return model, groups, shapes


def drawn(groups, seed):
    generator = random.Random(seed)
    return {group.name: generator.randint(1, group.n_channels) for group in groups}


@pytest.mark.parametrize("seed", range(5))
def test_as_really_cut(case, seed):
    model, groups, shapes = case
    n_keep = drawn(groups, seed)
    lengths = Extents(groups, shapes).at(n_keep)
    small = cut_copy(model, *expand(groups, {name: range(n) for name, n in n_keep.items()}, model)).state_dict()
    true = {f"{name}[{axis}]": n for name, tensor in small.items() for axis, n in enumerate(tensor.shape)}
    named = {name: n for name, n in lengths.items() if not name.startswith("group ")}
    assert named == {name: true[name] for name in named}
    # What is not named never changes.
    whole = {f"{name}[{axis}]": n for name, shape in shapes.items() for axis, n in enumerate(shape)}
    assert all(true[name] == whole[name] for name in true.keys() - named.keys())
    assert {name: lengths[f"group {name}"] for name in n_keep} == n_keep


def test_whole_where_nothing_is_said(case):
    _, groups, shapes = case
    extents = Extents(groups, shapes)
    whole = extents.at({})
    assert whole == extents.at({group.name: group.n_channels for group in groups})
    first = groups[0]
    changed = extents.at({first.name: 1})
    told = {name for name in whole if changed[name] != whole[name]}
    assert told == {name for name in whole if first.name in extents.groups_of(name)} - (
        {name for name in whole if first.n_channels == 1}
    )


def test_arrays_of_counts(case):
    _, groups, shapes = case
    extents = Extents(groups, shapes)
    for group in groups:
        counts = np.arange(1, group.n_channels + 1)
        others = {**drawn(groups, 7), group.name: counts}
        lengths = extents.lengths(others)
        assert len(list(lengths)) == len(lengths)
        for place, count in enumerate(counts):
            each = extents.at({**others, group.name: int(count)})
            for name in each:
                found = np.broadcast_to(np.asarray(lengths[name]), counts.shape)[place]
                assert found == each[name]  # to the last digit: it is rounded up to blocks


def test_heads_times_dimensions():
    """A position of a projection stays only if both its head and its dimension stay."""
    n_heads, dim = 3, 4
    positions = tuple(range(n_heads * dim))

    def group(name, n, channel):
        axes = (TensorAxis("proj", 1, positions, channel),)
        return ChannelGroup(name, n, (GroupMember("proj", "Linear", Role.CONSUMER, positions, channel, axes),))

    heads = group("heads", n_heads, tuple(p // dim for p in positions))
    dims = group("dims", dim, tuple(p % dim for p in positions))
    extents = Extents([heads, dims], {"proj": (5, 12)})
    assert extents.at({"heads": 2, "dims": 3}) == {"proj[1]": 6, "group heads": 2, "group dims": 3}
    assert extents.groups_of("proj[1]") == {"heads", "dims"} and extents.groups_of("group dims") == {"dims"}
    np.testing.assert_allclose(extents.lengths({"heads": np.array([1, 2, 3]), "dims": 2})["proj[1]"], [2, 4, 6])
    with pytest.raises(KeyError):
        extents.groups_of("proj[0]")


def test_tied_blocks_of_grouped_convolutions_and_shared_axes():
    """Beside a group's positions an axis may have some that nobody owns."""
    member = GroupMember("c", "Conv2d", Role.CONSUMER, (2, 3, 6, 7), (0, 1, 0, 1), ())
    axes = (TensorAxis("w", 0, (2, 3, 6, 7), (0, 1, 0, 1)),)
    group = ChannelGroup("g", 2, (GroupMember("c", "Conv2d", Role.CONSUMER, member.position, member.channel, axes),))
    assert Extents([group], {"w": (10,)}).at({"g": 1})["w[0]"] == 8
