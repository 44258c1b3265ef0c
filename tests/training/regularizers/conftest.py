"""Networks with their groups, and a plain training loop that can be stopped and continued."""

from functools import cache
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from compressor.runs.coverage import cover
from compressor.training.hooks import Moment
from exporters.signature import ExampleInputs
from tests import networks

N_PER_EPOCH = 4


class Normed(nn.Module):
    """A residual stream, each of whose producers has a norm of its own, and two inner widths."""

    def __init__(self, stream=6, inner=5):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, stream, 3, padding=1, bias=False), nn.BatchNorm2d(stream)
        self.conv1, self.bn1 = nn.Conv2d(stream, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, stream, 3, padding=1, bias=False), nn.BatchNorm2d(stream)
        self.conv3, self.bn3 = nn.Conv2d(stream, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv4, self.bn4 = nn.Conv2d(inner, stream, 1, bias=False), nn.BatchNorm2d(stream)
        self.head = nn.Linear(stream, 5)

    def forward(self, x):
        x = torch.relu(self.bn(self.stem(x)))
        x = torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        x = torch.relu(x + self.bn4(self.conv4(torch.relu(self.bn3(self.conv3(x))))))
        return self.head(x.mean((2, 3)))


def depthwise():
    between = nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8)
    return networks.Chain(*between)


MAKERS = {
    "normed": Normed,
    "residual": networks.Residual,
    "concat": networks.Concat,
    "depthwise": depthwise,
    "shared": networks.Shared,
    "flattened": networks.Flattened,
    "tied": networks.Tied,
}


@cache
def groups_of(name):
    model = networks.seeded(MAKERS[name])
    inputs = torch.randn(2, 6) if name == "tied" else networks.images()
    return cover(model, ExampleInputs.of(inputs, model)).groups


def build(name, seed=0):
    """The network in evaluation mode, and its groups."""
    return networks.seeded(MAKERS[name], seed), groups_of(name)


def named(groups, name):
    return next(group for group in groups if group.name == name)


def moment(step=0, lr=0.1, n_per_epoch=N_PER_EPOCH):
    return Moment(step=step, n_steps=100, n_per_epoch=n_per_epoch, lr=lr)


def optimizer_of(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def train(model, hook, optimizer, steps):
    """`steps` (a range) of SGD with momentum on images and labels that each step draws from its own seed."""
    model.train()
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(8, 3, 8, 8, generator=generator)
        labels = torch.randint(5, (8,), generator=generator)
        now = moment(step, lr=0.05 / (1 + step // N_PER_EPOCH))
        loss = nn.functional.cross_entropy(model(images), labels)
        penalty = hook.penalty(now)
        optimizer.zero_grad()
        (loss if penalty is None else loss + penalty).backward()
        hook.before_step(now)
        for group in optimizer.param_groups:
            group["lr"] = now.lr
        optimizer.step()
        hook.after_step(now)
        if (step + 1) % N_PER_EPOCH == 0:
            hook.end_epoch(now)


@pytest.fixture(scope="session")
def nets():
    return SimpleNamespace(
        build=build, named=named, moment=moment, optimizer_of=optimizer_of, train=train, names=sorted(MAKERS)
    )
