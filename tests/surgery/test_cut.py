"""The cut and its replay; a plan that does not fit changes nothing."""

import copy

import pytest
import torch
from torch import nn

from compressor.core import serial
from compressor.core.copies import own_tensors, share_tensors
from compressor.core.errors import WeightsMismatch
from compressor.core.plan import AttributeChange, TensorCut
from compressor.graph.engine import find_groups
from compressor.surgery.cut import cut, cut_copy
from compressor.surgery.expand import expand
from exporters.signature import ExampleInputs
from tests import networks
from tests.networks import images, seeded

MAKERS = {
    "residual": (networks.Residual, images()),
    "concat": (networks.Concat, images()),
    "scaled": (networks.Scaled, images()),
    "shared": (networks.Shared, images()),
    "tokens": (networks.Tokens, torch.tensor([[1, 2, 3], [4, 5, 10]])),
}


@pytest.fixture(params=MAKERS)
def case(request):
    """(maker, inputs, cuts, attributes) that keep every second channel."""
    make, tensor = MAKERS[request.param]
    model = seeded(make)
    groups, _ = find_groups(model, ExampleInputs.of(tensor, model))
    keep = {group.name: range(0, group.n_channels, 2) for group in groups}
    return make, tensor, *expand(groups, keep, model)


def test_a_copy_is_cut_and_the_model_stays(case):
    make, tensor, cuts, attributes = case
    model = seeded(make)
    before = copy.deepcopy(model.state_dict())
    small = cut_copy(model, cuts, attributes)
    assert small(tensor).shape == model(tensor).shape
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    assert all(torch.equal(after, before[name]) for name, after in model.state_dict().items())
    storages = {t.untyped_storage().data_ptr() for t in model.state_dict().values() if t.numel()}
    assert not storages & {t.untyped_storage().data_ptr() for t in small.state_dict().values() if t.numel()}
    assert all(isinstance(parameter, nn.Parameter) and parameter.requires_grad for parameter in small.parameters())
    assert all(tensor.is_contiguous() for tensor in small.state_dict().values())


def test_attributes_agree_with_the_tensors(case):
    make, _, cuts, attributes = case
    for module in cut_copy(seeded(make), cuts, attributes).modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
        if isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)
        if isinstance(module, nn.LayerNorm):
            assert module.weight.shape == module.normalized_shape
        if isinstance(module, nn.BatchNorm2d):
            assert len(module.running_mean) == len(module.weight) == module.num_features


def test_replay_is_bit_for_bit(case):
    make, tensor, cuts, attributes = case
    small = cut_copy(seeded(make), cuts, attributes)
    saved = serial.to_json([*cuts], list[TensorCut]), serial.to_json([*attributes], list[AttributeChange])
    fresh = seeded(make, seed=1)  # other weights
    cut(
        fresh,
        serial.from_json(list[TensorCut], saved[0], "cuts"),
        serial.from_json(list[AttributeChange], saved[1], "a"),
    )
    fresh.load_state_dict(small.state_dict(), strict=True)
    assert torch.equal(fresh(tensor), small(tensor))


def test_what_is_frozen_stays_frozen_and_what_is_shared_stays_shared():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[1].weight
    model[0].weight.requires_grad_(False)
    small = cut_copy(model, [TensorCut("0.weight", 1, 4, (0, 1))], [AttributeChange("0", "in_features", 4, 2)])
    assert small[0].weight.shape == (4, 2) and not small[0].weight.requires_grad
    assert small[2].weight is small[1].weight is not model[1].weight


def test_buffers_and_integer_buffers():
    model = nn.BatchNorm2d(4).double()
    names = ("weight", "bias", "running_mean", "running_var")
    small = cut_copy(model, [TensorCut(n, 0, 4, (1, 3)) for n in names], [AttributeChange("", "num_features", 4, 2)])
    assert small.running_mean.dtype is torch.float64 and small.num_batches_tracked.dtype is torch.int64
    assert small.running_mean is dict(small.named_buffers())["running_mean"] and small.num_features == 2


class TestAPlanThatDoesNotFit:
    CUTS = (
        TensorCut("fc1.weight", 0, 8, (0, 3)),
        TensorCut("fc1.bias", 0, 8, (0, 3)),
        TensorCut("fc2.weight", 1, 8, (0, 3)),
    )
    CHANGES = (AttributeChange("fc1", "out_features", 8, 2), AttributeChange("fc2", "in_features", 8, 2))

    @staticmethod
    def network():
        torch.manual_seed(0)
        return nn.ModuleDict({"fc1": nn.Linear(4, 8), "fc2": nn.Linear(8, 3)})

    def refused(self, cuts, changes, message, model=None):
        model = model or self.network()
        before = copy.deepcopy(model)
        with pytest.raises(WeightsMismatch, match=message):
            cut(model, cuts, changes)
        for (name, tensor), other in zip(model.state_dict().items(), before.state_dict().values(), strict=True):
            assert torch.equal(tensor, other), name
        for module, other in zip(model.modules(), before.modules(), strict=True):
            assert {k: v for k, v in vars(module).items() if isinstance(v, int | tuple)} == {
                k: v for k, v in vars(other).items() if isinstance(v, int | tuple)
            }

    def test_it_fits_its_own(self):
        model = self.network()
        cut(model, self.CUTS, self.CHANGES)
        assert model["fc1"].weight.shape == (2, 4) and model["fc2"].in_features == 2

    def test_another_class(self):
        other = nn.ModuleDict({"conv": nn.Conv2d(3, 8, 3)})
        self.refused(self.CUTS, self.CHANGES, "cuts fc1.weight, which this model does not have", other)

    def test_other_widths(self):
        other = nn.ModuleDict({"fc1": nn.Linear(4, 9), "fc2": nn.Linear(9, 3)})
        self.refused(
            self.CUTS, self.CHANGES, r"expects 8 positions on axis 0 of fc1.weight.*\(9, 4\).*fresh, uncut", other
        )

    def test_a_model_that_is_cut_already(self):
        model = self.network()
        cut(model, self.CUTS, self.CHANGES)
        self.refused(self.CUTS, self.CHANGES, "fresh, uncut instance", model)

    @pytest.mark.parametrize(
        ("piece", "message"),
        [
            (TensorCut("fc2.weight", 1, 8, ()), "not ascending"),
            (TensorCut("fc2.weight", 1, 8, (3, 0)), "not ascending"),
            (TensorCut("fc2.weight", 1, 8, (3, 3)), "not ascending"),
            (TensorCut("fc2.weight", 1, 8, (3, 8)), "below 8"),
            (TensorCut("fc2.weight", 1, 8, (-1, 3)), "not ascending numbers"),
            (TensorCut("fc2.weight", 2, 8, (0, 3)), "axis 2"),
            (TensorCut("fc2.weight", -1, 8, (0, 3)), "axis -1"),
            (TensorCut("fc1.weight", 0, 8, (0, 3)), "an axis twice"),
            (TensorCut("fc1.__class__", 0, 8, (0, 3)), "does not have"),
        ],
    )
    def test_a_damaged_cut(self, piece, message):
        self.refused((*self.CUTS[:2], piece), self.CHANGES, message)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (AttributeChange("fc1", "out_features", 7, 2), "expects fc1.out_features to be 7, but this model has 8"),
            (AttributeChange("fc9", "out_features", 8, 2), "fc9.out_features"),
            (AttributeChange("fc1", "out_features", 8, 9), "no smaller size"),
            (AttributeChange("fc1", "out_features", 8, 0), "no smaller size"),
            (AttributeChange("fc1", "out_features", 8, (8,)), "no smaller size"),
            (AttributeChange("fc1", "training", 1, 1), "expects fc1.training to be 1"),
            (AttributeChange("fc1", "forward", 8, 2), "expects fc1.forward to be 8"),
            (AttributeChange("fc1", "_version", 8, 2), "no smaller size"),
        ],
    )
    def test_a_damaged_attribute(self, change, message):
        self.refused(self.CUTS, (change, self.CHANGES[1]), message)


def test_copies_of_modules_that_keep_activations():
    model = nn.Sequential(nn.Linear(4, 4))
    model.last, model.history = model(torch.ones(1, 4)), [model(torch.ones(1, 4))]
    for copied in (share_tensors(model), own_tensors(model)):
        assert copied.last.grad_fn is None and torch.equal(copied.last, model.last)
        assert copied.history[0].grad_fn is None
    assert share_tensors(model)[0].weight is model[0].weight
    assert own_tensors(model)[0].weight is not model[0].weight
    assert model.last.grad_fn is not None


class SplitByList(nn.Module):
    """Sizes of pieces in a list, as timm's mixed convolutions keep them."""

    def __init__(self):
        super().__init__()
        self.stem, self.splits = nn.Conv2d(3, 9, 1), [5, 4]
        self.left, self.right = nn.Conv2d(5, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        left, right = torch.split(self.stem(x), self.splits, 1)
        return self.left(left) + self.right(right)


def test_a_list_of_sizes_stays_a_list():
    model = seeded(SplitByList)
    groups, _ = find_groups(model, ExampleInputs(("x",), (images(),)))
    assert {group.name: group.n_channels for group in groups} == {"stem:1": 5, "stem:2": 4}
    small = cut_copy(model, *expand(groups, {"stem:1": [0, 3, 4], "stem:2": [1]}, model))
    assert small.splits == [3, 1]
    assert model.splits == [5, 4]
    assert small(images()).shape == model(images()).shape
