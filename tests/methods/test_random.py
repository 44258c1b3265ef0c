import torch
from torch import nn

from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods.random import RandomChannels

GROUPS = [ChannelGroup("a", 500, ()), ChannelGroup("b", 500, ())]


def drawn(groups, seed):
    return RandomChannels().scores(groups, MethodContext(nn.Identity(), seed))


def test_seed_and_name_decide_and_nothing_else():
    forward, backward = drawn(GROUPS, 0), drawn(GROUPS[::-1], 0)
    assert torch.equal(forward["a"], backward["a"])
    assert not torch.equal(forward["a"], forward["b"])
    assert not torch.equal(forward["a"], drawn(GROUPS, 1)["a"])
    assert torch.equal(drawn(GROUPS, -3)["a"], drawn(GROUPS, -3)["a"])


def test_uniform_between_0_and_1():
    values = torch.cat(list(drawn(GROUPS, 4).values()))
    assert values.dtype == torch.float32 and values.min() >= 0 and values.max() < 1
    assert abs(values.mean() - 0.5) < 0.05 and abs(values.std() - 12**-0.5) < 0.03
