"""Which channels leave together, for every construction that a network may hold, and the reason where none may."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from benchmarks.cifar_resnet import resnet20
from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.groups import Role
from compressor.graph.engine import find_groups
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand
from exporters.signature import ExampleInputs
from tests import networks
from tests.networks import Chain, images, seeded

HEAD = "its channels reach the model's outputs, which keep their shape."


def found(model, inputs=None, ignore=()):
    """{name: group} and {name: reason}."""
    inputs = ExampleInputs.of(images() if inputs is None else inputs, model)
    groups, blocked = find_groups(model, inputs, ignore)
    return {group.name: group for group in groups}, {group.name: group.reason for group in blocked}


def layers(group, *roles):
    return [member.layer for member in group.members if not roles or member.role in roles]


def sizes(group, layer):
    """{attribute: its entry} of a layer that shrink with the group."""
    return {size.attribute: size.entry for size in group.sizes if size.layer == layer}


def member(group, layer):
    return next(each for each in group.members if each.layer == layer)


class TestWhatLeavesTogether:
    def test_a_residual_stream(self):
        groups, blocked = found(seeded(networks.Residual))
        assert {name: group.n_channels for name, group in groups.items()} == {"stem": 8, "conv1": 6, "conv3": 6}
        assert layers(groups["stem"], Role.PRODUCER) == ["stem", "conv2", "conv4"]
        assert layers(groups["stem"], Role.CHANNELWISE) == ["bn", "bn2"]
        assert layers(groups["stem"], Role.CONSUMER) == ["conv1", "conv3", "head"]
        assert blocked == {"head": HEAD}
        assert str(groups["conv1"]) == "conv1: 6 channels, 1 producers, 1 channelwises, 1 consumers"

    def test_groups_and_members_are_in_the_order_of_the_model(self):
        model = seeded(networks.Residual)
        order = [name for name, _ in model.named_modules()]
        groups, _ = found(model)
        assert sorted(groups, key=order.index) == list(groups)
        for group in groups.values():
            assert sorted(layers(group), key=order.index) == layers(group)
            assert group.name == layers(group, Role.PRODUCER)[0]

    def test_a_depthwise_convolution_passes_channels_on(self):
        model = seeded(lambda: Chain(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8)))
        groups, _ = found(model)
        depthwise = member(groups["stem"], "middle.0")
        assert depthwise.role is Role.CHANNELWISE
        assert set(sizes(groups["stem"], "middle.0")) == {"in_channels", "out_channels", "groups"}
        assert [(axis.tensor, axis.axis) for axis in depthwise.axes] == [("middle.0.weight", 0), ("middle.0.bias", 0)]

    def test_a_depthwise_transposed_convolution_too(self):
        groups, _ = found(seeded(lambda: Chain(nn.ConvTranspose2d(8, 8, 2, stride=2, groups=8))))
        assert layers(groups["stem"]) == ["stem", "middle.0", "read"]

    def test_a_depth_multiplier_loses_whole_blocks(self):
        groups, _ = found(seeded(lambda: Chain(nn.Conv2d(8, 16, 3, padding=1, groups=8), out=16)))
        assert groups["stem"].n_channels == 8 and "middle.0" not in groups
        assert member(groups["stem"], "middle.0").channel == tuple(i // 2 for i in range(16))

    def test_a_grouped_convolution_loses_the_same_in_every_block(self):
        model = seeded(lambda: Chain(nn.Conv2d(8, 12, 3, padding=1, groups=2), nn.BatchNorm2d(12), out=12))
        groups, _ = found(model)
        assert groups["stem"].n_channels == 4 and groups["middle.0"].n_channels == 6
        assert member(groups["stem"], "stem").channel == (0, 1, 2, 3, 0, 1, 2, 3)
        reader = member(groups["stem"], "middle.0")
        # The weight is (12, 4, 3, 3): its axis 1 holds one block's inputs.
        assert reader.role is Role.CONSUMER
        assert [(a.axis, a.position, a.channel) for a in reader.axes] == [(1, (0, 1, 2, 3), (0, 1, 2, 3))]
        assert set(sizes(groups["stem"], "middle.0")) == {"in_channels"}

    def test_many_small_blocks_leave_whole(self):
        model = seeded(lambda: Chain(nn.Conv2d(12, 24, 3, padding=1, groups=6), out=24, n=12))
        groups, _ = found(model)
        assert groups["stem"].n_channels == 6 and set(groups) == {"stem", "read"}
        assert member(groups["stem"], "middle.0").channel == tuple(i // 4 for i in range(24))
        assert set(sizes(groups["stem"], "middle.0")) == {"in_channels", "out_channels", "groups"}

    @pytest.mark.parametrize(
        ("n_norm_groups", "n_channels", "whole"),
        [(1, 16, False), (2, 8, False), (4, 4, True), (8, 8, True), (16, 16, True)],
        ids=["one", "few", "square", "many", "all"],
    )
    def test_group_norm_takes_the_finer_choice(self, n_norm_groups, n_channels, whole):
        groups, _ = found(seeded(lambda: Chain(nn.GroupNorm(n_norm_groups, 16), n=16)))
        group = groups["stem"]
        assert group.n_channels == n_channels
        assert set(sizes(group, "middle.0")) == {"num_channels", *(["num_groups"] if whole else [])}
        if whole:  # channel i is norm group i
            assert member(group, "stem").channel == tuple(i // (16 // n_norm_groups) for i in range(16))
        elif n_norm_groups > 1:  # channel i is position i of every norm group
            assert member(group, "stem").channel == tuple(i % n_channels for i in range(16))

    def test_group_norm_with_grouped_convolutions(self):
        def make():
            middle = nn.GroupNorm(4, 16), nn.Conv2d(16, 16, 3, padding=1, groups=2), nn.GroupNorm(2, 16)
            return Chain(*middle, n=16)

        groups, _ = found(seeded(make))
        assert {name: group.n_channels for name, group in groups.items()} == {"stem": 4, "middle.1": 8, "read": 6}

    def test_blocks_that_do_not_fit(self):
        groups, blocked = found(
            seeded(lambda: Chain(nn.GroupNorm(3, 12), nn.Conv2d(12, 12, 1, groups=4), nn.GroupNorm(2, 12), n=12))
        )
        assert "stem" not in groups  # 3 and 4 blocks: all 12 would have to leave together
        assert "divide channels across an earlier division (aten.convolution at tests/networks.py" in blocked["stem"]

    def test_concatenation_shifts_positions(self):
        groups, _ = found(seeded(networks.Concat))
        assert set(groups) == {"a", "b", "c", "read", "twice"}
        assert member(groups["b"], "read").position == (4, 5, 6, 7, 8, 9)
        assert member(groups["c"], "bn").position == (10, 11, 12, 13, 14)

    def test_concatenated_twice(self):
        groups, _ = found(seeded(networks.Concat))
        twice = member(groups["b"], "twice")
        assert sorted(zip(twice.position, twice.channel, strict=True)) == [(i, i % 6) for i in range(12)]

    def test_a_flattened_channel_is_many_positions(self):
        groups, _ = found(seeded(networks.Flattened))
        read = member(groups["conv"], "fc1")
        assert sorted(zip(read.position, read.channel, strict=True)) == [(i, i // 16) for i in range(96)]

    def test_transposed_convolutions_have_other_axes(self):
        groups, _ = found(seeded(lambda: Chain(nn.ConvTranspose2d(8, 10, 2, stride=2), nn.BatchNorm2d(10), out=10)))
        assert [axis.axis for axis in member(groups["stem"], "middle.0").axes] == [0]
        assert [axis.axis for axis in member(groups["middle.0"], "middle.0").axes] == [1, 0]  # weight, bias

    def test_prelu(self):
        groups, _ = found(seeded(lambda: Chain(nn.PReLU(8))))
        assert [axis.tensor for axis in member(groups["stem"], "middle.0").axes] == ["middle.0.weight"]
        groups, _ = found(seeded(lambda: Chain(nn.PReLU())))  # one slope for all channels
        assert "middle.0" not in layers(groups["stem"])

    def test_embedding_and_layer_norm(self):
        groups, _ = found(seeded(networks.Tokens), torch.tensor([[1, 2, 3], [4, 5, 10]]))
        group = groups["embedding"]
        assert layers(group, Role.PRODUCER) == ["embedding", "fc2"]
        assert layers(group, Role.CHANNELWISE) == ["norm"]
        assert member(group, "embedding").axes[0].axis == 1

    def test_bare_parameters_and_a_channels_first_layer_norm(self):
        groups, _ = found(seeded(networks.Scaled))
        assert set(layers(groups["stem"], Role.CHANNELWISE)) == {"gamma", "norm"}
        assert member(groups["stem"], "gamma").axes[0].axis == 0

    def test_a_layer_that_is_called_twice(self):
        groups, _ = found(seeded(networks.Shared))
        roles = [m.role for m in groups["stem"].members if m.layer == "conv"]
        assert sorted(roles) == [Role.CONSUMER, Role.PRODUCER]

    def test_a_layer_that_is_registered_twice(self):
        class Alias(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
                self.again = self.a

            def forward(self, x):
                return self.b(torch.relu(self.again(x)))

        groups, blocked = found(seeded(Alias), torch.randn(2, 6))
        assert set(groups) == {"a"} and set(blocked) == {"b"}


class TestWhatIsExact:
    """Constructions that need the order of elements and not a guess."""

    def test_tied_weights_lose_the_same_on_both_sides(self):
        groups, _ = found(seeded(networks.Tied), torch.randn(3, 6))
        assert set(groups) == {"fc1", "fc4"}
        assert layers(groups["fc1"], Role.PRODUCER) == ["fc1", "fc2", "fc3"]
        assert layers(groups["fc1"], Role.CONSUMER) == ["fc2", "fc3", "fc4"]

    @pytest.mark.parametrize("normed", [weight_norm, spectral_norm, nn.utils.weight_norm])
    @pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
    def test_computed_weights(self, normed):
        groups, _ = found(seeded(lambda: Chain(normed(nn.Conv2d(8, 8, 3, padding=1)))))
        assert set(groups) == {"stem", "middle.0", "read"} and groups["middle.0"].n_channels == 8

    def test_grouped_transposed_convolutions(self):
        groups, _ = found(seeded(lambda: Chain(nn.ConvTranspose2d(8, 8, 2, stride=2, groups=2))))
        assert {name: group.n_channels for name, group in groups.items()} == {"stem": 4, "middle.0": 4, "read": 6}

    def test_norms_over_channels_and_pixels(self):
        groups, _ = found(seeded(lambda: Chain(nn.LayerNorm([8, 8, 8]))))
        assert sizes(groups["stem"], "middle.0") == {"normalized_shape": 0}

    def test_pixel_shuffle_joins_four_channels(self):
        groups, _ = found(seeded(lambda: Chain(nn.Conv2d(8, 16, 1), nn.PixelShuffle(2), out=4)))
        assert member(groups["middle.0"], "middle.0").channel == tuple(i // 4 for i in range(16))

    def test_channel_shuffle_joins_the_same_channel_of_every_block(self):
        groups, _ = found(seeded(lambda: Chain(nn.ChannelShuffle(2))))
        assert member(groups["stem"], "stem").channel == (0, 1, 2, 3, 0, 1, 2, 3)
        assert member(groups["stem"], "read").channel == (0, 0, 1, 1, 2, 2, 3, 3)

    def test_heads_of_fused_attention(self):
        groups, _ = found(seeded(networks.Fused), torch.randn(2, 5, 12))
        heads, dims = groups["qkv:1"], groups["qkv:2"]
        assert (heads.n_channels, dims.n_channels) == (3, 4)
        assert member(heads, "qkv").channel == tuple(i // 4 % 3 for i in range(36))
        assert member(dims, "qkv").channel == tuple(i % 4 for i in range(36))
        assert sizes(heads, "") == {"n_heads": None} and sizes(dims, "") == {"head_dim": None}

    def test_the_zero_padded_shortcut(self):
        """Half of the next stage's channels come from the padding and stay; the others go with the stage before."""
        groups, _ = found(seeded(resnet20), images(side=16))
        assert groups["conv1"].n_channels == 16
        second = member(groups["conv1"], "layer2.0.conv2")
        assert sorted(zip(second.position, second.channel, strict=True)) == [(8 + i, i) for i in range(16)]


class TestWhatStays:
    def test_outputs_of_every_kind(self):
        class Outputs(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.c, self.d = (nn.Linear(6, 6) for _ in range(4))

            def forward(self, x):
                y = self.d(torch.relu(x))
                return {"first": self.a(y), "rest": (self.b(y), [self.c(y).sigmoid()])}

        groups, blocked = found(seeded(Outputs), torch.randn(2, 6))
        assert set(groups) == {"d"} and blocked == dict.fromkeys("abc", HEAD)

    def test_inputs_by_keyword_in_any_order(self):
        model = seeded(networks.TwoHeads)
        inputs = {"scale": torch.ones(2, 1, 1, 1), "pixels": images()}
        groups, blocked = found(model, inputs)
        assert {"stem", "conv2"} <= set(groups) and blocked["head"] == HEAD

    def test_operators_that_mix_channels(self):
        _, blocked = found(seeded(lambda: Chain(nn.Softmax(1))))
        assert blocked["stem"].startswith("each of its channels depends on all others (aten._softmax at ")

    @pytest.mark.parametrize("n_heads", [1, 2])
    @pytest.mark.parametrize("reduced", [False, True])
    def test_products_of_channels_with_themselves(self, n_heads, reduced):
        """Gram matrices: every channel is a row and a column, which become one axis."""

        class Gram(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem, self.read = nn.Linear(6, 8), nn.Linear(8 if reduced else 64, 3)

            def forward(self, x):
                x = self.stem(x).unflatten(2, (n_heads, -1)).flatten(2)  # (2, 5, 8)
                gram = (x.mT @ x).flatten(1)  # (2, 64)
                return self.read(x[:, 0] * gram.mean(1, keepdim=True) if reduced else gram)

        groups, blocked = found(seeded(Gram), torch.randn(2, 5, 6))
        assert groups == {} and blocked["stem"] == "two of its copies are multiplied out on one axis."

    def test_a_single_channel(self):
        _, blocked = found(seeded(lambda: Chain(nn.Conv2d(8, 1, 1), out=1)))
        assert blocked["middle.0"] == "it has a single channel, which has to stay."

    def test_layers_that_the_trace_does_not_meet_are_said(self):
        class Partly(nn.Module):
            def __init__(self):
                super().__init__()
                self.frozen, self.a, self.b, self.unused = (nn.Linear(6, 6) for _ in range(4))

            def forward(self, x):
                with torch.no_grad():
                    x = self.frozen(x)
                return self.b(torch.relu(self.a(x)))

        groups, blocked = found(seeded(Partly), torch.randn(2, 6))
        assert set(groups) == {"frozen", "a"} and set(blocked) == {"b", "unused"}
        assert blocked["unused"] == "it is not called on these inputs, so its channels cannot be followed."

    def test_a_model_that_returns_classes(self):
        class Decides(nn.Sequential):
            def forward(self, x):
                return super().forward(x).argmax(1)

        model = Decides(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        groups, blocked = found(model, torch.randn(2, 6))
        assert set(groups) == {"0"} and blocked["2"].startswith("its positions are counted (aten.argmax at ")

    def test_a_layer_is_the_whole_model(self):
        groups, blocked = found(nn.Linear(6, 3), torch.randn(2, 6))
        assert groups == {} and blocked == {"": HEAD}


class TestIgnore:
    def test_patterns_and_prefixes(self):
        model = seeded(networks.Residual)
        for pattern, gone in (("conv[13]", {"conv1", "conv3"}), ("stem", {"stem"}), ("conv2", {"stem"})):
            groups, blocked = found(model, ignore=[pattern])
            assert set(groups) == {"stem", "conv1", "conv3"} - gone
            assert all(blocked[name].endswith(f"is kept by --ignore {pattern}.") for name in gone)
        groups, _ = found(seeded(lambda: Chain(nn.Sequential(nn.Conv2d(8, 8, 1)))), ignore=["middle"])
        assert "middle.0.0" not in groups and "stem" in groups

    def test_reading_layers_are_not_meant(self):
        groups, _ = found(seeded(networks.Residual), ignore=["head"])
        assert set(groups) == {"stem", "conv1", "conv3"}

    def test_a_pattern_that_matches_nothing(self):
        with pytest.raises(InvalidOption, match=r"--ignore.*stemm.*Layers are named stem"):
            found(seeded(networks.Residual), ignore=["stemm"])


class TestTheModelIsLeftAsItWas:
    def test_modes_gradients_and_weights(self):
        model = seeded(networks.Residual)
        model.train()
        model.bn1.eval()
        model.conv1.weight.requires_grad_(False)
        model.conv2.bias.grad = torch.ones(8)
        before = copy.deepcopy(model)
        groups, _ = found(model)
        assert "conv1" in groups  # a frozen layer is pruned like any other
        for name, module in model.named_modules():
            assert module.training == before.get_submodule(name).training, name
            assert not (module._forward_hooks or module._forward_pre_hooks), name
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == (name != "conv1.weight"), name
            assert (parameter.grad is None) == (name != "conv2.bias"), name
        assert all(
            torch.equal(a, b) for a, b in zip(model.state_dict().values(), before.state_dict().values(), strict=True)
        )

    def test_what_forward_keeps_on_a_module(self):
        class Keeps(nn.Sequential):
            def forward(self, x):
                self.last = self[0](x)
                return self[1](torch.relu(self.last))

        model = Keeps(nn.Linear(6, 8), nn.Linear(8, 3))
        found(model, torch.randn(2, 6))
        assert not hasattr(model, "last")

    def test_an_error_in_forward_too(self):
        class Breaks(nn.Sequential):
            def forward(self, x):
                raise ValueError("no such thing\nas this")

        model = Breaks(nn.Linear(6, 8)).train()
        model[0].weight.requires_grad_(False)
        with pytest.raises(UnsupportedModel, match=r"ValueError: no such thing\)"):
            found(model, torch.randn(2, 6))
        assert model.training and model[0].training and not model[0].weight.requires_grad


class AuxiliaryHead(nn.Module):
    """A head that only training calls, beside the one that evaluation calls."""

    def __init__(self, refuses=False):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.aux_conv, self.aux, self.fc = nn.Conv2d(8, 6, 1), nn.Linear(6, 5), nn.Linear(8, 5)
        self.refuses = refuses

    def forward(self, x):
        if self.training and self.refuses:
            raise ValueError("targets should not be None")
        x = self.norm(self.stem(x))
        y = self.fc(x.mean((2, 3)))
        return (y, self.aux(self.aux_conv(x).mean((2, 3)))) if self.training else y


def test_what_training_alone_calls_follows_the_cut():
    model = seeded(AuxiliaryHead).eval()
    statistics = model.norm.running_mean.clone()
    groups, blocked = found(model)
    assert {name: set(layers(group)) for name, group in groups.items()} == {
        "stem": {"stem", "norm", "aux_conv", "fc"},
        "aux_conv": {"aux_conv", "aux"},
    }
    assert blocked == {"aux": HEAD, "fc": HEAD}
    assert torch.equal(model.norm.running_mean, statistics)
    assert not model.training
    keep = {"stem": [0, 2, 5], "aux_conv": [1, 4]}
    small = cut_copy(model, *expand(list(groups.values()), keep, model)).train()
    assert [tuple(y.shape) for y in small(images(2))] == [(2, 5), (2, 5)]


def test_a_model_that_does_not_train_on_its_inputs_is_followed_in_evaluation_alone():
    groups, blocked = found(seeded(lambda: AuxiliaryHead(refuses=True)))
    assert list(groups) == ["stem"]
    assert all("is not called" in blocked[layer] for layer in ("aux_conv", "aux"))


def test_a_recurrent_layer_follows_its_input_and_its_state():
    groups, blocked = found(seeded(networks.Recurrent), torch.randn(2, 5, 6))
    assert {name: (group.n_channels, layers(group)[0], layers(group)[-1]) for name, group in groups.items()} == {
        "fc": (8, "fc", "lstm.weight_ih_l0"),
        "fc2": (10, "fc2", "head"),
        "lstm.weight_ih_l0": (7, "fc2", "lstm.bias_hh_l0"),
    }
    assert set(blocked) == {"head"}
    assert sizes(groups["fc"], "lstm") == {"input_size": None}
    assert sizes(groups["lstm.weight_ih_l0"], "lstm") == {"hidden_size": None}


class GroupedQueries(nn.Module):
    """Six heads of queries read two of keys and values; only another path of the code uses `key_value_groups`."""

    def __init__(self):
        super().__init__()
        self.key_value_groups, self.dim = 3, 4
        self.q, self.k, self.v, self.head = nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(24, 5)

    def forward(self, x):
        q, k, v = (layer(x).unflatten(-1, (-1, self.dim)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, scale=0.5, enable_gqa=True)
        return self.head(mixed.transpose(1, 2).flatten(2))


def test_attributes_count_heads_that_attention_itself_tells_apart():
    groups, _ = found(seeded(GroupedQueries), torch.randn(2, 5, 8))
    (shared,) = (group for group in groups.values() if group.n_channels == 3)
    assert layers(shared) == ["q", "head"]
    assert sizes(shared, "") == {"key_value_groups": None}


def test_positions_share_their_integers():
    """A flattened kernel bank has millions of positions: 28 bytes each where every tuple has integers of its own."""
    model = nn.Sequential(nn.Linear(4, 600), nn.BatchNorm1d(600), nn.Linear(600, 700), nn.Linear(700, 2)).eval()
    x = torch.randn(2, 4)
    first, second = find_groups(model, ExampleInputs.of(x, model))[0]
    assert first.members[0].position[500] == 500
    assert first.members[0].position[500] is second.members[0].position[500]
