"""What the library is asked, and what its refusals become."""

import pytest
import torch
import torch_pruning
from torch import nn

from compressor.core.errors import UnsupportedModel
from compressor.graph.engine import find_groups
from compressor.graph.torch_pruning_engine import raw_groups
from exporters.signature import ExampleInputs
from tests import networks
from tests.networks import images, seeded


def test_every_position_has_its_channel():
    model = seeded(networks.Concat)
    for raw in raw_groups(model, ExampleInputs.of(images(), model)):
        assert raw.touches
        for touch in raw.touches:
            assert len(touch.position) == len(touch.channel) and set(touch.channel) <= set(range(raw.n_channels))


def test_groups_that_overlap_in_part_are_all_returned():
    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.narrow = nn.Conv2d(3, 16, 1), nn.Conv2d(3, 8, 1)
            self.read, self.read2 = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)

        def forward(self, x):
            left, right = self.wide(x).chunk(2, 1)
            return (self.read(left + self.narrow(x)) + self.read2(right)).mean()

    model = seeded(Split)
    groups, blocked = find_groups(model, ExampleInputs.of(images(), model))
    said = {member.layer for group in groups for member in group.members} | {n for b in blocked for n in b.layers}
    assert {"wide", "narrow", "read", "read2"} <= said


def test_the_library_cannot_trace(monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("integer division\nby zero")

    monkeypatch.setattr(torch_pruning.DependencyGraph, "build_dependency", broken)
    with pytest.raises(UnsupportedModel, match=r"ZeroDivisionError: integer division\)") as caught:
        raw_groups(nn.Linear(2, 2), ExampleInputs(("x",), (torch.zeros(1, 2),)))
    assert caught.value.exit_code == 4


def test_the_library_cannot_follow_one_layer(monkeypatch):
    original = torch_pruning.DependencyGraph.get_pruning_group

    def broken(self, module, *args, **kwargs):
        if isinstance(module, nn.Conv2d) and module.in_channels == 8 and module.out_channels == 6:
            raise KeyError("lost")
        return original(self, module, *args, **kwargs)

    monkeypatch.setattr(torch_pruning.DependencyGraph, "get_pruning_group", broken)
    model = seeded(networks.Residual)
    groups, blocked = find_groups(model, ExampleInputs.of(images(), model))
    assert [group.name for group in groups] == ["stem"]
    reasons = {group.name: group.reason for group in blocked}
    assert reasons["conv1"] == "torch-pruning cannot follow its channels (KeyError: 'lost')."
