import pytest
import torch
from torch import nn

from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis
from compressor.runs.coverage import cover
from compressor.training.regularizers._masks import Masks, evaluating, maskable
from exporters.signature import ExampleInputs
from tests import networks
from tests.training.regularizers import masked

NAMES = ["normed", "residual", "concat", "depthwise", "shared", "flattened", "tied"]


def drawn(groups, seed):
    """Masks that silence about half, and never all of a group."""
    generator = torch.Generator().manual_seed(seed)
    live = {group.name: torch.rand(group.n_channels, generator=generator) < 0.5 for group in groups}
    for mask in live.values():
        mask[0] = True
    return live


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def move(model):
    """As an optimizer would; and running statistics, as a forward pass would."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(1.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_silent_is_as_good_as_cut(nets, name, seed):
    model, groups = nets.build(name)
    live = drawn(groups, seed)
    Masks(model, groups).choose(live)
    inputs = torch.randn(4, 6) if name == "tied" else networks.images(4)
    masked.assert_masked_is_cut(model, groups, live, inputs)


@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.Softplus()])
def test_silent_is_as_good_as_cut_where_the_activation_of_0_is_not_0(activation):
    model = networks.seeded(lambda: networks.Chain(nn.BatchNorm2d(8), activation))
    groups = cover(model, ExampleInputs.of(networks.images(), model)).groups
    live = drawn(groups, 0)
    Masks(model, groups).choose(live)
    masked.assert_masked_is_cut(model, groups, live, networks.images(4))


@pytest.mark.parametrize(("make", "shape"), [(networks.Attentive, (5, 6)), (networks.Fused, (5, 12))])
def test_silent_heads_are_as_good_as_cut(make, shape):
    model = networks.seeded(make)
    groups = cover(model, ExampleInputs.of(torch.randn(2, *shape), model)).groups
    live = drawn(groups, 0)
    live = {name: mask if len(mask) > 2 else torch.tensor([True, False]) for name, mask in live.items()}
    Masks(model, groups).choose(live)
    masked.assert_masked_is_cut(model, groups, live, torch.randn(4, *shape))


def test_what_is_silent_is_zero_and_the_rest_is_as_it_was():
    model, group = masked.chain()
    before = state_of(model)
    masks = Masks(model, [group])
    live = torch.tensor([True, False, True, False])
    masks.choose({"0": live})
    after = model.state_dict()
    for name in ("0.weight", "0.bias", "1.weight", "1.bias"):
        assert torch.equal(after[name], before[name] * live.view(-1, *[1] * (before[name].dim() - 1))), name
    assert torch.equal(after["3.weight"], before["3.weight"] * live)
    assert all(torch.equal(after[name], before[name]) for name in ("3.bias", "1.running_mean", "1.running_var"))
    assert masks.share_silent() == 0.5


def test_what_an_optimizer_moves_is_zero_again():
    model, group = masked.chain()
    masks = Masks(model, [group])
    masks.choose({"0": torch.tensor([True, False, True, True])})
    move(model)
    model[0].weight.data[1, 0] = torch.nan
    moved = state_of(model)
    masks.silence()
    assert (model[0].weight[1] == 0).all() and model[1].weight[1] == 0 and (model[3].weight[:, 1] == 0).all()
    assert torch.equal(model[0].weight[[0, 2, 3]], moved["0.weight"][[0, 2, 3]])
    assert torch.equal(model[3].weight[:, [0, 2, 3]], moved["3.weight"][:, [0, 2, 3]])


def test_a_channel_comes_back_as_it_was_when_it_fell_silent():
    model, group = masked.chain()
    masks = Masks(model, [group])
    move(model)
    before = state_of(model)
    masks.choose({"0": torch.tensor([True, False, True, False])})
    for _ in range(3):
        move(model)
        masks.silence()
    masks.choose({"0": torch.tensor([True, False, True, True])})
    after = model.state_dict()
    for name in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
        assert torch.equal(after[name][3], before[name][3]), name
        torch.testing.assert_close(after[name][0], before[name][0] + 3)  # it went on
    assert torch.equal(after["3.weight"][:, 3], before["3.weight"][:, 3])
    assert (after["0.weight"][1] == 0).all() and (after["3.weight"][:, 1] == 0).all()
    masks.choose({"0": torch.ones(4, dtype=torch.bool)})
    assert torch.equal(after["0.weight"][1], before["0.weight"][1])
    assert masks.state().keys() == {"live.0"}


@pytest.mark.parametrize("first", ["rows", "columns"])
def test_an_entry_of_a_silent_row_and_a_silent_column_comes_back_with_the_later_of_them(first):
    """A weight that makes one group and reads another."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    weight = model[0].weight
    weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    both = (0, 1)
    rows, columns = (
        ChannelGroup(
            name, 2, (GroupMember("0", "Linear", role, both, both, (TensorAxis("0.weight", axis, both, both),)),)
        )
        for name, role, axis in (("rows", Role.PRODUCER, 0), ("columns", Role.CONSUMER, 1))
    )
    masks = Masks(model, [rows, columns])
    one, none = torch.tensor([True, False]), torch.tensor([True, True])
    masks.choose({"rows": one})
    assert weight.tolist() == [[1, 2], [0, 0]]
    masks.choose({"columns": one})
    assert weight.tolist() == [[1, 0], [0, 0]]
    masks.choose({first: none})
    assert weight.tolist() == ([[1, 0], [3, 0]] if first == "rows" else [[1, 2], [0, 0]])
    masks.choose({"rows": none, "columns": none})
    assert weight.tolist() == [[1, 2], [3, 4]]


def test_they_are_seen_as_they_were_without_what_they_no_longer_read(nets):
    model, groups = nets.build("normed")
    before = state_of(model)
    masks = Masks(model, groups)
    masks.choose({"stem": torch.tensor([True, True, True, True, True, False]), "conv1": torch.arange(5) > 0})
    found = state_of(model)
    model.train()
    model.bn.eval()
    random = torch.get_rng_state()
    with pytest.raises(KeyError), masks.as_they_were() as seen:
        assert not any(module.training for module in seen.modules())
        torch.rand(1)
        assert torch.equal(model.stem.weight, before["stem.weight"])
        assert torch.equal(model.bn1.weight, before["bn1.weight"])
        # conv1 makes channel 0 of its group again, from the channels of the stream that are left.
        assert torch.equal(model.conv1.weight[:, :5], before["conv1.weight"][:, :5])
        assert (model.conv1.weight[:, 5] == 0).all()
        assert (model.head.weight[:, 5] == 0).all()
        raise KeyError
    assert model.training and not model.bn.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, found[name]) for name, tensor in model.state_dict().items())


def test_the_state_goes_over_to_another_model(nets):
    model, groups = nets.build("residual")
    masks = Masks(model, groups)
    before = state_of(model)
    masks.choose(drawn(groups, 0))
    other, _ = nets.build("residual", seed=1)
    again = Masks(other, groups)
    again.choose(drawn(groups, 1))
    other.load_state_dict(model.state_dict())
    again.restore({name: tensor.clone() for name, tensor in masks.state().items()})
    again.choose({group.name: torch.ones(group.n_channels, dtype=torch.bool) for group in groups})
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_the_model_may_be_moved(nets):
    """Which gives it other buffers, and its parameters other storage."""
    model, groups = nets.build("normed")
    masks = Masks(model, groups)
    masks.choose(drawn(groups, 0))
    model.double()
    masks.silence()
    with masks.as_they_were():
        pass
    masks.choose(drawn(groups, 1))
    masked.assert_masked_is_cut(model, groups, masks.live, networks.images(4).double())


def test_shared_weights_are_masked_once_under_either_name(nets):
    model, groups = nets.build("tied")
    before = model.fc2.weight.clone()
    masks = Masks(model, groups)
    masks.choose({groups[0].name: torch.arange(8) > 0})
    assert model.fc3.weight is model.fc2.weight and (model.fc2.weight[0] == 0).all()
    assert (model.fc2.weight[:, 0] == 0).all() and torch.equal(model.fc2.weight[1:, 1:], before[1:, 1:])
    masks.choose({groups[0].name: torch.ones(8, dtype=torch.bool)})
    assert torch.equal(model.fc2.weight, before)


def test_groups_of_which_zeros_would_count_are_left_alone():
    model = networks.seeded(networks.Tokens)
    groups = cover(model, ExampleInputs.of(torch.randint(11, (2, 5)), model)).groups
    found, left_alone = maskable(groups, mixed=False)
    assert [group.name for group in found] == ["fc1"] and left_alone.keys() == {"embedding"}
    assert left_alone["embedding"].startswith("aten.native_layer_norm reads its channels together")
    found, left_alone = maskable(groups, mixed=True)
    assert [group.name for group in found] == ["embedding", "fc1"] and not left_alone


def test_zeros_count_in_a_layer_norm():
    """Else there were no reason to leave such groups alone."""
    model = networks.seeded(networks.Tokens)
    ids = torch.randint(11, (2, 5))
    groups = cover(model, ExampleInputs.of(ids, model)).groups
    live = {"embedding": torch.arange(8) > 2, "fc1": torch.ones(12, dtype=torch.bool)}
    Masks(model, groups).choose(live)
    with torch.no_grad():
        assert (masked.cut(model, groups, live)(ids) - model(ids)).abs().max() > 0.01


def test_modes_come_back_after_an_error(nets):
    model, _ = nets.build("normed")
    model.bn2.train()
    with pytest.raises(KeyError), evaluating(model):
        assert not model.bn2.training
        raise KeyError
    assert model.bn2.training and not model.bn1.training
