import pytest
import torch
from torch import nn

from compressor.recovery._bias import add_to_outputs, norms_behind
from exporters.signature import ExampleInputs


class Several(nn.Module):
    """One layer with a bias, one before a batch norm, one before an addition and a batch norm, one before nothing."""

    def __init__(self):
        super().__init__()
        self.biased = nn.Conv2d(3, 4, 3)
        self.normed, self.norm = nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.added, self.other = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 4, 1, bias=False)

    def forward(self, x):
        x = self.norm(self.normed(self.biased(x)))
        return self.last(self.other(self.added(x) + 1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Several().double().eval()
    for norm in (model.norm, model.other):
        norm.running_var.uniform_(0.5, 2)
        norm.weight.data.uniform_(0.5, 2)
    return model


INPUTS = ExampleInputs(("x",), (torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double(),))


def test_only_what_a_norm_is_given_as_it_is(model):
    assert norms_behind(model, INPUTS) == {"normed": "norm"}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("layer", ["biased", "normed"])
def test_as_if_the_layer_returned_more(model, layer):
    constant = torch.tensor([1.0, -2.0, 0.5, 3.0]).double()
    handle = getattr(model, layer).register_forward_hook(lambda _m, _a, out: out + constant[:, None, None])
    expected = INPUTS.call(model)
    handle.remove()
    assert add_to_outputs(model, layer, constant, norms_behind(model, INPUTS))
    torch.testing.assert_close(INPUTS.call(model), expected)


@pytest.mark.parametrize("layer", ["added", "last"])
def test_no_place_for_it(model, layer):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not add_to_outputs(model, layer, torch.ones(4), norms_behind(model, INPUTS))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
