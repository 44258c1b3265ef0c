"""Groups whose cut is wrong are set aside with a reason, and only those."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks.cifar_resnet import resnet20
from compressor.core.groups import Role
from compressor.graph.engine import find_groups, follow
from compressor.surgery.check import Reference
from compressor.surgery.trial import try_groups
from exporters.signature import ExampleInputs
from tests import networks
from tests.networks import images, seeded


def tried(model, tensor=None, change=lambda groups: groups):
    inputs = ExampleInputs.of(images() if tensor is None else tensor, model)
    graph = follow(model, inputs)
    groups = change(list(graph.groups))
    good, blocked = try_groups(Reference(model, inputs), groups, groups_at=graph.groups_at)
    return {group.name: group for group in good}, {group.name: group.reason for group in blocked}


def test_what_is_right_stays():
    assert set(tried(seeded(networks.Residual))[0]) == {"stem", "conv1", "conv3"}
    assert tried(seeded(networks.Residual))[1] == {}


def test_the_zero_padded_shortcut_is_followed():
    model = seeded(resnet20)
    good, blocked = tried(model, images(side=16))
    inner = {f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in range(3)}
    assert set(good) == {"conv1", *inner} and not blocked
    inputs = ExampleInputs.of(images(side=16), model)
    keep = {name: range(0, group.n_channels, 3) for name, group in good.items()}
    assert Reference(model, inputs).compare(list(good.values()), keep).equal


def test_the_reason_shows_the_users_line():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.fc2(self.fc1(x).view(-1, 8))

    _, blocked = tried(Fixed(), torch.randn(3, 6))
    assert blocked["fc1"].startswith(
        "after the cut, `return self.fc2(self.fc1(x).view(-1, 8))` (surgery/test_trial.py:"
    )
    assert "invalid for input of size" in blocked["fc1"]


def test_sizes_that_do_not_fit_each_other_are_set_aside_together():
    """PyTorch's own attention takes its inner width for that of its input, so neither may shrink alone."""
    good, blocked = tried(seeded(networks.Attentive), torch.randn(2, 5, 6))
    assert set(good) == {"fc1"} and set(blocked) == {"fc", "attention.in_proj_weight"}
    assert "not divisible by num_heads" in blocked["fc"] or "unflatten" in blocked["fc"]


def test_code_that_looks_at_numbers_is_tried_on_numbers():
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2, self.fc3 = nn.Linear(6, 8), nn.Linear(8, 9), nn.Linear(9, 3)

        def forward(self, x):
            x = self.fc1(x).view(-1, 8)
            return self.fc3(self.fc2(x)) if float(x.sum()) < 1e9 else x

    good, blocked = tried(Looks(), torch.randn(3, 6))
    assert set(good) == {"fc2"} and "view(-1, 8)" in blocked["fc1"]


def test_several_culprits_among_many():
    def broken(groups):
        return [replace(g, members=g.members[:-1]) if g.name in ("a", "read") else g for g in groups]

    good, blocked = tried(seeded(networks.Concat), change=broken)
    assert set(blocked) == {"a", "read"} and set(good) == {"b", "c", "twice"}


def test_right_alone_and_wrong_together():
    """Two groups that both claim one layer's channels: the first stays, the second gives way."""

    def doubled(groups):
        first = next(group for group in groups if group.name == "conv3")
        return [*groups, replace(first, name="again")]

    good, blocked = tried(seeded(networks.Residual), change=doubled)
    assert len(good) + len(blocked) == 4
    model = seeded(networks.Residual)
    difference = Reference(model, ExampleInputs.of(images(), model)).compare(
        list(good.values()), {name: [0, 2] for name in good}
    )
    assert difference.equal


def test_places_that_a_layer_does_not_have():
    def shifted(groups):
        first = groups[0]
        members = tuple(
            replace(m, axes=tuple(replace(a, position=tuple(p + 1 for p in a.position)) for a in m.axes))
            if m.role is Role.PRODUCER
            else m
            for m in first.members
        )
        return [replace(first, members=members), *groups[1:]]

    good, blocked = tried(seeded(networks.Residual), change=shifted)
    assert "stem" in blocked and set(good) == {"conv1", "conv3"}


def test_nothing_to_try():
    assert tried(nn.Linear(6, 3), torch.randn(2, 6)) == ({}, {})


def test_the_same_seed_draws_the_same():
    model = seeded(networks.Concat)
    rng = torch.get_rng_state()
    assert tried(model) == tried(model)
    assert torch.equal(torch.get_rng_state(), rng)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121"])
def test_models_that_people_have(name):
    models = pytest.importorskip("torchvision.models")
    model = seeded(lambda: models.get_model(name, weights=None, num_classes=7))
    inputs = ExampleInputs.of(images(n=1, side=32), model)
    groups, blocked = find_groups(model, inputs)
    good, broken = try_groups(Reference(model, inputs), groups)
    assert len(blocked) == 1 and not broken and good == groups
