import pytest
import torch
from torch import nn

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.decompositions.depthwise import BranchSum
from compressor.decompositions.replace import replace_layers
from exporters.export import export
from exporters.verify import verify_all
from tests.decompositions.cases import seeded


class Net(nn.Module):
    """A grouped convolution and a convolution that is called twice, under two names."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.Conv2d(8, 8, 3, padding=1)
        self.again = self.conv
        self.grouped, self.norm = nn.Conv2d(8, 12, 3, groups=2, bias=False), nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = torch.relu(self.again(torch.relu(self.conv(torch.relu(self.stem(x))))))
        return self.head(torch.relu(self.norm(self.grouped(x))).mean((2, 3)))


class Tied(nn.Module):
    """An embedding and a linear layer with one weight."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(self.embedding(ids))


IMAGES = torch.randn(2, 3, 10, 10, generator=torch.Generator().manual_seed(1))
ALL = {"conv": 100, "grouped": 100}


def network():
    return seeded(Net).eval()


@pytest.mark.parametrize("kind", ["channel", "spatial", "depthwise", "tucker2"])
def test_full_ranks_change_nothing_and_the_original_stays(kind):
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rank = (100, 100) if kind == "tucker2" else 100
    smaller = replace_layers(model, kind, dict.fromkeys(ALL, rank))
    torch.testing.assert_close(smaller(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)
    assert type(model.conv) is nn.Conv2d and not smaller.training
    assert type(smaller.conv) in (nn.Sequential, BranchSum)
    with torch.no_grad():
        for parameter in smaller.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["conv", "again"])
def test_a_shared_layer_is_replaced_once_and_everywhere(name):
    smaller = replace_layers(network(), "channel", {name: 2})
    assert smaller.conv is smaller.again and smaller.conv[0].out_channels == 2
    assert len([part for part in smaller.modules() if isinstance(part, nn.Sequential)]) == 1


def test_a_grouped_layer_stays_grouped():
    first, second = replace_layers(network(), "channel", {"grouped": 2}).grouped
    assert (first.groups, first.out_channels, second.groups, second.out_channels) == (2, 4, 2, 12)


def test_the_model_itself_may_be_the_layer():
    layer = seeded(nn.Linear, 8, 8)
    assert [part.out_features for part in replace_layers(layer, "linear", {"": 2})] == [2, 8]


def test_a_copy_learns():
    smaller = replace_layers(network(), "spatial", {"conv": 3}).train()
    smaller(IMAGES).square().sum().backward()
    assert all(float(part.weight.grad.abs().sum()) > 0 for part in smaller.conv)


def test_files_compute_what_the_replaced_model_computes(tmp_path):
    model = smaller = network()
    for kind, ranks in (
        ("spatial", {"stem": 3}),
        ("depthwise", {"conv": 2}),
        ("tucker2", {"grouped": (3, 2)}),
        ("linear", {"head": 2}),
    ):
        smaller = replace_layers(smaller, kind, ranks)
    smaller = replace_layers(smaller, "channel", {"grouped.1": 1})
    assert (smaller(IMAGES) - model(IMAGES)).abs().max() > 1e-3
    files = export(smaller, IMAGES, ["onnx"], tmp_path, "low-rank")
    (outcome,) = verify_all(files, smaller, IMAGES)
    assert outcome.passed, outcome


def test_unknown_layers_and_ranks():
    with pytest.raises(InvalidOption, match=r"names in the model, but got 'convv'\. Did you mean 'conv'"):
        replace_layers(network(), "channel", {"convv": 2})
    for kind, wrong in (("channel", 0), ("channel", (2, 2)), ("tucker2", 2), ("tucker2", (2, 0)), ("channel", ())):
        with pytest.raises(InvalidOption, match="conv: `ranks`"):
            replace_layers(network(), kind, {"conv": wrong})


def test_layers_that_cannot_be_split():
    with pytest.raises(UnsupportedModel, match="head: A layer to split must be a plain Conv1d or Conv2d or Conv3d"):
        replace_layers(network(), "channel", {"head": 2})
    with pytest.raises(UnsupportedModel, match=r"head: .* embedding.weight holds this one too"):
        replace_layers(Tied(), "linear", {"head": 2})
    model = network()
    nn.utils.parametrizations.weight_norm(model.conv)
    with pytest.raises(UnsupportedModel, match=r"conv: .*parametrization"):
        replace_layers(model, "channel", {"conv": 2})
