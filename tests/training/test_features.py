import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.training.features import recording, stage_layers

INPUTS = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """A bottleneck: its first convolution still works on the large map, its norm layer is called twice."""

    def __init__(self, n_in, n_inner, n_out, stride):
        super().__init__()
        self.reduce = nn.Conv2d(n_in, n_inner, 1)
        self.spatial = nn.Conv2d(n_inner, n_inner, 3, stride, padding=1)
        self.expand = nn.Conv2d(n_inner, n_out, 1)
        self.shortcut = nn.Conv2d(n_in, n_out, 1, stride)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(n_out, n_out, 1), nn.Sigmoid())
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.expand(self.relu(self.spatial(self.relu(self.reduce(x)))))
        return self.relu(y * self.squeeze(y) + self.shortcut(x))


class Residual(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(Block(width, 2, width, 1), Block(width, 2, width, 1))
        self.layer2 = nn.Sequential(Block(width, 2, 8, 2), Block(8, 2, 8, 1))
        self.layer3 = nn.Sequential(Block(8, 2, 8, 2))
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.pool(self.layer3(self.layer2(self.layer1(self.bn(self.stem(x)))))).flatten(1))


def n_hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def tokens():
    """Four axes, but no convolution: (N, 1, tokens, features)."""
    return nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Flatten(3), nn.Linear(256, 4), nn.Flatten(), nn.Linear(12, 2))


class TestStages:
    def test_the_last_layer_of_each_size_and_nothing_of_a_block_that_leads_to_the_next(self):
        assert stage_layers([Residual()], INPUTS) == ("layer1", "layer2", "layer3")

    def test_a_plain_chain_ends_a_stage_before_the_pooling(self):
        chain = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        )
        model = nn.Sequential(chain, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 2))
        assert stage_layers([model], INPUTS) == ("0.1", "0")

    def test_a_layer_that_is_called_again_counts_where_it_was_called_last(self):
        shared = nn.ReLU()
        chain = [nn.Conv2d(3, 4, 1), shared, nn.Conv2d(4, 4, 1), shared, nn.Flatten()]
        assert stage_layers([nn.Sequential(*chain)], INPUTS) == ("1",)

    def test_names_that_the_other_model_lacks_are_left_out(self):
        student, teacher = Residual(2), Residual(4)
        assert stage_layers([student, teacher], INPUTS) == ("layer1", "layer2", "layer3")
        teacher.layer2 = nn.Sequential(*teacher.layer2, nn.Flatten(), nn.Unflatten(1, (8, 64)))
        teacher.layer3 = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (8, 8, 8)), *teacher.layer3)
        assert stage_layers([student, teacher], INPUTS) == ("layer1", "layer3")

    def test_maps_without_convolutions_are_no_stages(self):
        with pytest.raises(UnsupportedModel, match=r"features: .*but none does\. Compare the scores"):
            stage_layers([tokens()], INPUTS)

    @pytest.mark.parametrize("training", [True, False])
    def test_the_models_are_left_as_they_were(self, training):
        model = Residual().train(training)
        model.bn.train(not training)
        before = copy.deepcopy(model.state_dict())
        modes = [module.training for module in model.modules()]
        stage_layers([model, Residual()], INPUTS)
        assert modes == [module.training for module in model.modules()] and n_hooks(model) == 0
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())

    def test_also_when_the_model_refuses_the_inputs(self):
        model = Residual().train()
        with pytest.raises(RuntimeError):
            stage_layers([model], INPUTS[:, :2])
        assert model.training and n_hooks(model) == 0


class TestRecording:
    def test_maps_in_the_order_of_the_names_with_gradient(self):
        model = Residual()
        with recording(model, ["layer2", "stem"]) as seen:
            model(INPUTS)
            second, first = seen.take()
        assert second.shape == (2, 8, 8, 8) and torch.equal(first, model.stem(INPUTS))
        second.sum().backward()
        assert model.stem.weight.grad.abs().sum() > 0

    def test_of_several_calls_the_last(self):
        layer = nn.Conv2d(1, 1, 1, bias=False)
        layer.weight.data.fill_(2.0)
        model = nn.Sequential(layer, nn.ReLU(), layer)
        with recording(model, ["0"]) as seen:
            model(torch.ones(1, 1, 1, 1))
            assert seen.take()[0].item() == 4.0
            model(torch.ones(1, 1, 1, 1))
            model(3 * torch.ones(1, 1, 1, 1))
            assert seen.take()[0].item() == 12.0

    def test_hooks_are_gone_afterwards_whatever_happens(self):
        model = Residual()
        with pytest.raises(KeyError), recording(model, ["stem", "layer1"]):
            assert n_hooks(model) == 2
            raise KeyError
        assert n_hooks(model) == 0
        with pytest.raises(InvalidOption), recording(model, ["stem", "nothing"]):
            pass
        assert n_hooks(model) == 0

    def test_nothing_keeps_a_map_alive(self):
        model = Residual()
        with recording(model, ["stem"]) as seen:
            model(INPUTS)
            map_alive = weakref.ref(seen.take()[0])
            gc.collect()
            assert map_alive() is None
            model(INPUTS)
        with pytest.raises(UnsupportedModel, match="was not called"):  # what was not taken is forgotten
            seen.take()

    def test_bad_layers(self):
        model = Residual()
        with pytest.raises(InvalidOption, match=r"`layers` .*got 'layer9'\. Did you mean 'layer"):
            recording(model, ["layer9"]).__enter__()
        with recording(model, ["layer1"]) as seen, pytest.raises(UnsupportedModel, match=r"'layer1'.*was not called"):
            seen.take()
        with recording(model, ["head"]) as seen, pytest.raises(UnsupportedModel, match=r"'head'.*shape \(2, 5\)"):
            model(INPUTS)
            seen.take()
