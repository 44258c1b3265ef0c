"""Layers that cannot be replaced by others that compute the same from the weight alone."""

import re

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm

from compressor.decompositions.layers import CONVOLUTIONS, refusal


class Standardized(nn.Conv2d):
    """Computes something else than its base class."""


def changed(change):
    layer = nn.Conv2d(2, 3, 3)
    return change(layer) or layer


def with_nan(layer):
    layer.weight.data[0, 0, 0, 0] = float("nan")


def own_forward(layer):
    layer.forward = lambda x: x


REFUSED = {
    "parametrization": (changed(parametrizations.weight_norm), "remove_parametrizations"),
    "old spectral norm": (changed(spectral_norm), "before each call"),
    "pruning mask": (changed(lambda layer: prune.l1_unstructured(layer, "weight", 2)), "before each call"),
    "subclass": (Standardized(2, 3, 3), "got Standardized, a class of its own"),
    "lazy": (nn.LazyConv2d(3, 3), "got LazyConv2d, a class of its own"),
    "transposed": (nn.ConvTranspose2d(2, 3, 3), r"but got ConvTranspose2d\. Leave it out"),
    "hook": (changed(lambda layer: layer.register_forward_hook(lambda *_: None) and None), "forward hook"),
    "pre-hook": (changed(lambda layer: layer.register_forward_pre_hook(lambda *_: None) and None), "forward hook"),
    "own forward": (changed(own_forward), "forward of its own"),
    "complex": (nn.Conv2d(2, 3, 3, dtype=torch.complex64), "real numbers, but this one is torch.complex64"),
    "meta": (nn.Conv2d(2, 3, 3, device="meta"), "on meta"),
    "nan": (changed(with_nan), "finite"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_what_and_what_to_do(case):
    layer, sentence = REFUSED[case]
    reason = refusal(layer, CONVOLUTIONS)
    assert re.search(sentence, reason), reason
    assert reason[0].isupper() and reason[-1] in ".?"


def test_plain_layers_are_fine():
    assert refusal(nn.Conv2d(2, 3, 3), CONVOLUTIONS) == ""
    assert refusal(prune.remove(prune.l1_unstructured(nn.Conv2d(2, 3, 3), "weight", 2), "weight"), CONVOLUTIONS) == ""
