import torch
from torch import nn

from compressor.core.protocols import MethodContext
from compressor.methods.bn_scale import NormScale


def block():
    model = nn.ModuleDict({"conv": nn.Conv2d(1, 3, 1), "a": nn.BatchNorm2d(3), "b": nn.GroupNorm(3, 3)})
    model["a"].weight.data = torch.tensor([-2.0, 0.25, 1.0])
    model["b"].weight.data = torch.tensor([1.0, 0.75, 5.0])
    return model


def test_the_size_of_gamma(hand):
    model = block()
    group = hand.group(hand.producer(model, "conv"), hand.channelwise(model, "a"))
    assert NormScale().scores([group], MethodContext(model))["conv"].tolist() == [2, 0.25, 1]


def test_several_norms_are_averaged_without_scaling(hand):
    model = block()
    group = hand.group(hand.producer(model, "conv"), hand.channelwise(model, "a"), hand.channelwise(model, "b"))
    assert NormScale().scores([group], MethodContext(model))["conv"].tolist() == [1.5, 0.5, 3]


def test_groups_that_no_norm_sees_wholly_are_absent(hand):
    model = block()
    bare = hand.group(hand.producer(model, "conv"))
    partly = hand.group(hand.producer(model, "conv"), hand.channelwise(model, "a", positions=(0, 1)))
    assert NormScale().scores([bare], MethodContext(model)) == {}
    assert NormScale().scores([partly], MethodContext(model)) == {}


def test_a_norm_without_scale_is_no_norm(hand):
    model = nn.ModuleDict({"conv": nn.Conv2d(1, 3, 1), "a": nn.BatchNorm2d(3, affine=False)})
    group = hand.group(hand.producer(model, "conv"))
    assert NormScale().scores([group], MethodContext(model)) == {}
