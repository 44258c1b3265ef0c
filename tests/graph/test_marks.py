"""Integers in attributes are followed to the calls that they arrive at."""

from collections import namedtuple
from functools import lru_cache
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional

from compressor.graph.engine import follow
from compressor.graph.marks import Attribute, Marked, marked
from compressor.graph.tracing import trace
from compressor.surgery.check import Reference
from compressor.surgery.fitting import fit
from exporters.signature import ExampleInputs

TOKENS = torch.randn(2, 16, 6)


def inputs(x=TOKENS):
    return ExampleInputs(("x",), (x,))


def sizes(model, x=TOKENS):
    """{group: the attributes of the outermost module that shrink with it}"""
    found = follow(model.eval(), inputs(x)).groups
    return {g.name: sorted((s.attribute, s.entry) for s in g.sizes if not s.layer) for g in found}


class Told(nn.Module):
    """A layer of 12 channels, what a call makes of them by one size in an attribute, and a layer that reads it."""

    def __init__(self, forward, read, **attributes):
        super().__init__()
        self.made, self.read, self.of = nn.Linear(6, 12), nn.Linear(read, 3), forward
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.read(self.of(self, self.made(x)))


CALLS = [
    (lambda m, x: x.view(2, 16, m.n), 12, {"n": 12}),
    (lambda m, x: x.reshape((-1, m.n)), 12, {"n": 12}),
    (lambda m, x: x.reshape(*m.shape), 12, {"shape": [2, 16, 12]}),
    (lambda m, x: x + torch.zeros(16, m.n), 12, {"n": 12}),
    (lambda m, x: x * x.new_ones((m.n,)), 12, {"n": 12}),
    (lambda m, x: x + torch.zeros(1, 1, 1).expand(2, -1, m.n), 12, {"n": 12}),
    (lambda m, x: functional.layer_norm(x, (m.n,)), 12, {"n": 12}),
    (lambda m, x: torch.cat(x.split((m.n, 4), -1), -1), 12, {"n": 8}),
    (lambda m, x: x[..., : m.n], 8, {"n": 8}),
    (lambda m, x: x[..., m.n :], 4, {"n": 8}),
    (lambda m, x: x[..., -m.n :], 8, {"n": 8}),
    (lambda m, x: x.narrow(-1, 0, m.n), 8, {"n": 8}),
    (lambda m, x: torch.cat(torch.split(tensor=x, split_size_or_sections=[m.n, 4], dim=-1), -1), 12, {"n": 8}),
]


@pytest.mark.parametrize(("forward", "read", "attributes"), CALLS)
def test_what_a_call_is_given_shrinks_with_the_axis(forward, read, attributes):
    (name,) = attributes
    found = sizes(Told(forward, read, **attributes))
    assert [name] == sorted({attribute for group in found.values() for attribute, _ in group})
    model = Told(forward, read, **attributes).eval()
    reference = Reference(model, inputs())
    groups, _ = fit(reference)
    counted = [g for g in groups.groups if any(s.attribute == name for s in g.sizes)]
    keep = {g.name: [*range(1, g.n_channels)] for g in counted}
    assert counted and reference.compare(counted, keep).equal


class Windows(nn.Module):
    """Four heads, windows of four tokens, shifted by two; two heads of keys would be counted by it, too."""

    def __init__(self):
        super().__init__()
        self.window, self.heads, self.head_dim, self.layers = 4, 4, 3, 3
        self.qkv, self.out, self.head = nn.Linear(6, 36), nn.Linear(12, 6), nn.Linear(6, 2)

    def forward(self, x):
        for _ in range(self.layers):
            x = self.once(x)
        return self.head(x)

    def once(self, x):
        n, length, _ = x.shape
        x = x.roll(-self.window, 1).view(n * length // self.window, self.window, -1)
        qkv = self.qkv(x).view(-1, self.window, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(*qkv.unbind(), scale=0.5).transpose(1, 2).flatten(2)
        return self.out(y).view(n, length, -1) + x.view(n, length, -1)


def test_a_window_of_four_is_not_four_heads():
    found = sizes(Windows())
    assert [("heads", None)] in found.values() and [("head_dim", None)] in found.values()
    reference = Reference(Windows().eval(), inputs())
    graph, _ = fit(reference)
    keep = {group.name: [0, 2] for group in graph.groups if group.n_channels > 2}
    assert keep and reference.compare(list(graph.groups), keep).equal


def test_one_attribute_for_two_axes_makes_them_one():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head, self.dim = nn.Linear(6, 12), nn.Linear(6, 12), nn.Linear(8, 2), 3

        def forward(self, x):
            a = self.a(x).unflatten(-1, (4, self.dim)).sum(-1)
            return self.head(torch.cat((a, self.b(x).unflatten(-1, (4, self.dim)).mean(-1)), -1))

    found = sizes(Both())
    assert [group for group, counted in found.items() if ("dim", None) in counted] == ["a:2"]


def test_what_the_forward_pass_sets_is_left_to_it():
    class Sets(nn.Module):
        def __init__(self):
            super().__init__()
            self.made, self.read, self.n = nn.Linear(6, 12), nn.Linear(12, 3), 16

        def forward(self, x):
            x = self.made(x)
            self.n = min(self.n, x.shape[-1])
            return self.read(x.view(2, 16, self.n))

    model = Sets()
    assert not any(sizes(model).values())
    assert type(model.n) is int


@lru_cache
def remembered(number):
    return number


def test_numbers_that_a_library_remembers_from_elsewhere_are_not_taken():
    def forward(m, x):
        return x.view(2, 16, remembered(m.n))

    remembered.cache_clear()
    for _ in range(2):  # the second model is given the first one's number
        model = Told(forward, 12, n=12)
        traced = trace(model.eval(), inputs())
    assert Attribute("", "n", None) not in traced.counted


Pair = namedtuple("Pair", "a b")


def test_attributes_are_as_they_were():
    model = Told(lambda m, x: x.view(2, 16, m.pair.b), 12, n=12, pair=Pair(16, 12), sizes=(2, 3), many=[4, 5])
    trace(model.eval(), inputs())
    broken = Told(lambda m, x: x.view(2, m.n), 12, n=7)
    with pytest.raises(RuntimeError):
        trace(broken.eval(), inputs())
    assert type(model.n) is type(broken.n) is type(model.pair.b) is type(model.sizes[0]) is type(model.many[1]) is int
    assert (type(model.pair), type(model.sizes), type(model.many)) == (Pair, tuple, list)
    assert sizes(model) == {"made": [("pair", 1)]}


def test_arithmetic_forgets_and_a_sign_does_not():
    number = marked(6, Attribute("a", "n", None), None)
    assert type(-number) is Marked and (-number) == -6 and (-number).attribute.name == "n"
    assert type(number // 2) is type(number * 2) is type(number + 0) is int


class Checking(nn.Module):
    """As the patch embeddings of Hugging Face's PVT and FocalNet: anything but the size of the day is refused."""

    def __init__(self, channels, stride=12):
        super().__init__()
        self.num_channels, self.stride, self.kernel = channels, stride, 12
        self.project = nn.Conv2d(channels, 12, 3)

    def forward(self, x):
        _, channels, _, _ = x.shape
        if channels != self.num_channels or self.stride == 13:
            raise ValueError("make sure that the channels match")
        return self.project(x)


def test_a_size_that_is_checked_shrinks_with_what_is_checked():
    model, x = nn.Sequential(Checking(3), Checking(12), nn.Flatten(), nn.LazyLinear(3)), torch.randn(1, 3, 8, 8)
    model(x)
    fitted, blocked = fit(Reference(model.eval(), inputs(x)))
    assert not blocked and [group.name for group in fitted.groups] == ["0.project", "1.project"]
    assert [(size.layer, size.attribute) for size in fitted.groups[0].sizes if size.layer in "01"] == [
        ("1", "num_channels")
    ]


class Halves(nn.Conv2d):
    """As octave convolutions: one weight, of which pieces are used by sizes that the subclass keeps."""

    __constants__: ClassVar = ["first"]

    def __init__(self):
        super().__init__(6, 12, 1)
        self.first = 8

    def forward(self, x):
        one = nn.functional.conv2d(x, self.weight[: self.first], self.bias[: self.first])
        other = nn.functional.conv2d(x, self.weight[self.first :], self.bias[self.first :])
        return one.relu(), other.sigmoid()


class Pieces(nn.Module):
    def __init__(self):
        super().__init__()
        self.halves, self.norm, self.read = Halves(), nn.BatchNorm2d(8), nn.Linear(12, 3)

    def forward(self, x):
        one, other = self.halves(x)
        return self.read(torch.cat((self.norm(one), other), 1).mean((2, 3)))


def test_a_layer_of_the_users_class_keeps_sizes_of_its_own():
    reference = Reference(Pieces().eval(), inputs(torch.randn(1, 6, 4, 4)))
    fitted, blocked = fit(reference)
    assert not blocked and sorted(group.n_channels for group in fitted.groups) == [4, 8]
    counted = {g.n_channels: {s.attribute for s in g.sizes if s.layer == "halves"} for g in fitted.groups}
    assert counted == {8: {"out_channels", "first"}, 4: {"out_channels"}}
    assert reference.compare(fitted.groups, {g.name: [0, 2] for g in fitted.groups}).equal


def test_a_tensor_may_be_compared_with_a_size():
    class Ignoring(nn.Module):
        def __init__(self):
            super().__init__()
            self.num_classes, self.make, self.read = 3, nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x):
            labels = x.argmax(-1)
            return (
                self.read(self.make(x))
                * (self.num_classes == labels)[..., None]
                * (labels != self.num_classes)[..., None]
            )

    model = Ignoring()
    assert sorted(sizes(model)) == ["make"] and model(TOKENS).shape == (2, 16, 2)


class KernelBank(nn.Module):
    """As timm's conditional convolutions: no layer of PyTorch's, although it lists its constants as those do."""

    __constants__: ClassVar = ["out_channels"]

    def __init__(self):
        super().__init__()
        self.out_channels, self.weight = 12, nn.Parameter(torch.randn(2, 12 * 6))

    def forward(self, x):
        return x @ self.weight.sum(0).view(self.out_channels, 6).T


def test_constants_of_the_users_class_are_sizes():
    model = nn.Sequential(KernelBank(), nn.ReLU(), nn.Linear(12, 3)).eval()
    fitted, blocked = fit(Reference(model, inputs()))
    assert not blocked and sorted(group.n_channels for group in fitted.groups) == [
        2,
        12,
    ]  # kernels of the bank, and channels
    assert ("0", "out_channels") in {(size.layer, size.attribute) for g in fitted.groups for size in g.sizes}
