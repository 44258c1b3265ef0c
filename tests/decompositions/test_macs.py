import pytest
import torch
from torch import nn

from compressor.decompositions.kinds import KINDS, decomposition_of
from compressor.decompositions.macs import product_macs, skeleton_macs
from compressor.graph.cost import measure_cost
from exporters.signature import ExampleInputs
from tests.decompositions.cases import seeded


@pytest.mark.parametrize("kind", KINDS)
def test_counted_as_the_graph_counts_them(kind):
    if kind == "linear":
        layer, images = seeded(nn.Linear, 8, 6), torch.ones(1, 3, 8)
    else:
        layer = seeded(nn.Conv2d, 8, 6, 3, stride=2, padding=1, groups=2, padding_mode="reflect")
        images = torch.ones(1, 8, 9, 7)
    ranks = (2,) * len(decomposition_of(kind).factor(layer).spectra)
    module = decomposition_of(kind).factor(layer).replacement(ranks).module
    skeleton = decomposition_of(kind).skeleton(layer, ranks)
    whole = measure_cost(module, ExampleInputs.of(images, module)).macs
    assert skeleton_macs(skeleton, [tuple(images.shape)]) == whole
    assert skeleton_macs(skeleton, [tuple(images.shape)] * 2) == 2 * whole
    assert product_macs(layer, layer(images)) == measure_cost(layer, ExampleInputs.of(images, layer)).macs
