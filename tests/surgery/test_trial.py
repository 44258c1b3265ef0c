"""Groups whose cut is wrong are set aside with a reason, and only those."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks.cifar_resnet import resnet20
from compressor.core.groups import Role
from compressor.graph.engine import find_groups
from compressor.surgery.check import Reference
from compressor.surgery.trial import try_groups
from exporters.signature import ExampleInputs
from tests import networks
from tests.networks import Chain, images, seeded


def tried(model, tensor=None, change=lambda groups: groups):
    inputs = ExampleInputs.of(images() if tensor is None else tensor, model)
    good, blocked = try_groups(model, change(find_groups(model, inputs)[0]), inputs)
    return {group.name: group for group in good}, {group.name: group.reason for group in blocked}


def test_what_is_right_stays():
    assert set(tried(seeded(networks.Residual))[0]) == {"stem", "conv1", "conv3"}
    assert tried(seeded(networks.Residual))[1] == {}


def test_the_zero_padded_shortcut_is_set_aside_and_the_rest_stays():
    model = seeded(resnet20)
    good, blocked = tried(model, images(side=16))
    assert set(good) == {f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in range(3)}
    assert blocked and all("cifar_resnet.py" in reason or "outputs differ" in reason for reason in blocked.values())
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


@pytest.mark.parametrize("layer", [nn.Softmax(1), nn.ChannelShuffle(2), nn.LocalResponseNorm(3)])
def test_operators_that_mix_channels(layer):
    good, blocked = tried(seeded(lambda: Chain(layer)))
    assert set(good) == {"read"} and "mixes channels" in blocked["stem"]


def test_an_inner_feature_that_is_an_output():
    model = seeded(networks.TwoHeads)
    good, blocked = tried(model, {"pixels": images(), "scale": torch.ones(2, 1, 1, 1)})
    assert set(good) == {"stem", "conv2"}
    assert blocked["conv"].startswith("its channels reach the model's outputs (an output of shape (2, 6, 4, 4)")


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
    good, broken = try_groups(model, groups, inputs)
    assert len(blocked) == 1 and not broken and good == groups
