"""Convolutions, matrix products and attention: made by one axis of a weight, read by another."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from compressor.graph.axis import Axis
from compressor.graph.engine import follow
from compressor.graph.operators import Call, rule_for
from exporters.signature import ExampleInputs
from tests.graph.operators.cases import Images, Tokens, cut_and_silenced, make, named, reasons, why_blocked


def conv(kind, *args, **options):
    """A convolution along the tokens, or over an image of 2 x 2 x 5 pixels made of them."""
    dims = int(kind.__name__[-2])

    def between(m, x):
        x = x.transpose(1, 2).reshape(2, -1, *(1,) * (dims - 1), 5)
        return m.other(x).flatten(2).transpose(1, 2)

    return between, lambda: kind(*args, **options)


CONVOLUTIONS = {
    "1d": (conv(nn.Conv1d, 8, 6, 3), 6, {"stem": 8, "other": 6}),
    "2d": (conv(nn.Conv2d, 8, 6, 1), 6, {"stem": 8, "other": 6}),
    "3d": (conv(nn.Conv3d, 8, 6, 1, bias=False), 6, {"stem": 8, "other": 6}),
    "transposed": (conv(nn.ConvTranspose1d, 8, 6, 3), 6, {"stem": 8, "other": 6}),
    "depthwise": (conv(nn.Conv1d, 8, 8, 3, groups=8), 8, {"stem": 8}),
    "depthwise multiplied": (conv(nn.Conv1d, 8, 16, 3, groups=8), 16, {"stem": 8}),
    "grouped": (conv(nn.Conv1d, 8, 12, 3, groups=2), 12, {"stem": 4, "other": 6}),
    "grouped transposed": (conv(nn.ConvTranspose1d, 8, 12, 3, groups=2), 12, {"stem:1": 2, "stem:2": 4, "other": 6}),
    "many small groups": (conv(nn.Conv1d, 8, 12, 3, groups=4), 12, {"stem:1": 2, "stem:2": 4}),
    "from single channels": (conv(nn.Conv1d, 8, 24, 1, groups=8, bias=False), 24, {"stem": 8}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name):
    (between, other), out, groups = CONVOLUTIONS[name]
    model = make(Tokens, between, out=out, other=other)
    assert cut_and_silenced(model, "aten.convolution") == {**groups, "read": 7}


def test_a_convolution_without_a_batch():
    model = make(Tokens, lambda m, x: m.other(x[0].T).T, out=6, other=lambda: nn.Conv1d(8, 6, 3))
    assert cut_and_silenced(model, "aten.convolution") == {"stem": 8, "other": 6, "read": 7}


def test_a_kernel_that_the_network_computes():
    """Correlation of an image with a part of itself: (n, 4, 6) with kernels (n, 1, 2, 2), channel by channel."""

    def between(m, x):
        return functional.conv2d(x, x[0, :, :2, :2].unsqueeze(1), groups=x.shape[1])

    assert cut_and_silenced(make(Images, between), "aten.convolution") == {"stem": 8, "read": 7}


def blockwise(x, blocks):
    """x (2, 5, blocks * n), blocks (blocks, n, made)"""
    return torch.einsum("blgc,gcd->blgd", x.unflatten(2, (blocks.shape[0], -1)), blocks).flatten(2)


def twice(matrix):
    return matrix.expand(2, -1, -1)


PRODUCTS = [
    ("addmm", lambda m, x: m.other(x), {"stem": 8, "other": 6}),
    ("mm", lambda m, x: functional.linear(x, m.other.weight), {"stem": 8, "other": 6}),
    ("mm", lambda m, x: ((x[0].T @ x[0]) @ m.other.weight.T).mean(0, keepdim=True), {"stem": 8, "other": 6}),
    ("bmm", lambda m, x: x @ x.mT @ m.other(x), {"stem": 8, "other": 6}),
    ("bmm", lambda m, x: torch.einsum("bln,kn->blk", x, m.other.weight), {"stem": 8, "other": 6}),
    ("bmm", lambda m, x: blockwise(x, m.blocks), {"stem:1": 2, "stem:2": 4, "blocks": 3}),
    ("mv", lambda m, x: m.other(x) * (x[0] @ m.vector)[:, None], {"stem": 8, "other": 6}),
    ("dot", lambda m, x: m.other(x) * x[0, 0].dot(m.vector), {"stem": 8, "other": 6}),
    ("baddbmm", lambda m, x: torch.baddbmm(m.other.bias, x, twice(m.other.weight.T)), {"stem": 8, "other": 6}),
    ("addbmm", lambda m, x: torch.addbmm(m.other.bias, x, twice(m.other.weight.T)), {"stem": 8, "other": 6}),
    ("addmv", lambda m, x: m.other(x) + torch.addmv(m.other.bias, m.other.weight, x[0, 0]), {"stem": 8, "other": 6}),
]


@pytest.mark.parametrize(("operator", "between", "groups"), PRODUCTS, ids=named(PRODUCTS))
def test_products(operator, between, groups):
    layers = {
        "other": lambda: nn.Linear(8, 6),
        "vector": lambda: nn.Parameter(torch.randn(8)),
        "blocks": lambda: nn.Parameter(torch.randn(2, 4, 3)),
    }
    used = [name for name in layers if name in between.__code__.co_names]
    model = make(Tokens, between, out=6, **{name: layers[name] for name in used})
    assert cut_and_silenced(model, f"aten.{operator}") == {**groups, "read": 7}


def test_a_sum_over_the_batch_of_products():
    """(n, 5, 6) times (n, 6, 4), summed over n: every channel is read."""

    def between(m, x):
        x = x.permute(2, 0, 1)  # (n, 2, 5)
        return torch.addbmm(x.new_zeros(5, 5), x.mT, x).unsqueeze(0)

    assert cut_and_silenced(make(Tokens, between, out=5), "aten.addbmm") == {"stem": 8, "read": 7}


class Attention(nn.Module):
    """Heads that may share keys and values; weights are (heads, size of a head, n), so that no size is written down."""

    def __init__(self, heads, kv_heads, scale=0.5, bias=False):
        super().__init__()
        self.scale, self.bias = scale, nn.Parameter(torch.randn(2, heads, 5, 5)) if bias else None
        self.q, self.k, self.v = (nn.Parameter(torch.randn(n, 4, 8)) for n in (heads, kv_heads, kv_heads))
        self.out = nn.Parameter(torch.randn(8, heads, 4))

    def forward(self, x):
        q, k, v = (torch.einsum("bln,hdn->bhld", x, weight).contiguous() for weight in (self.q, self.k, self.v))
        mask = None if self.bias is None else self.bias.detach()
        shared = {"enable_gqa": True} if k.shape[1] < q.shape[1] else {}
        x = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale, **shared)
        return torch.einsum("bhld,nhd->bln", x, self.out)


FUSED = "aten._scaled_dot_product_flash_attention_for_cpu"


def attending(*args, **options):
    return make(Tokens, lambda m, x: m.other(x), other=lambda: Attention(*args, **options))


@pytest.mark.parametrize("bias", [False, True])
def test_heads_and_head_sizes(bias):
    groups = cut_and_silenced(attending(3, 3, bias=bias), FUSED)
    assert sorted(groups.values()) == [3, 4, 4, 7, 8, 8]  # heads, head sizes twice, read, stem, out


def test_grouped_queries():
    """Six query heads read two heads of keys and values; the two leave, with the three that read each."""
    groups = cut_and_silenced(attending(6, 2), FUSED)
    assert sorted(groups.values()) == [2, 3, 4, 4, 7, 8, 8]
    groups = cut_and_silenced(attending(6, 1), FUSED)  # all read one head
    assert sorted(groups.values()) == [4, 4, 6, 7, 8, 8]


def test_what_attention_keeps():
    scaled = "the attention's scale follows from the head dimension"
    place = "(aten.scaled_dot_product_attention at operators/test_"
    assert reasons(attending(3, 3, scale=None), "other.q", 1)[0].startswith(f"{scaled} {place}")
    assert reasons(attending(3, 3, scale=None), "other.q", 0) == reasons(attending(3, 3), "other.q", 1) == [""]

    def tokens_of_channels(m, x):
        x = x.mT[:, None].contiguous()
        return functional.scaled_dot_product_attention(x, x, x, scale=1.0)[:, 0].mT

    assert why_blocked(make(Tokens, tokens_of_channels)).startswith(f"it is summed over by a softmax ({FUSED} at ")


def test_the_scale_keeps_the_head_dimension_where_attention_is_taken_apart():
    """On shapes alone PyTorch makes products of it, whose scale is a number from nowhere."""

    def n_groups(scale):
        shapes = ExampleInputs(("x",), (torch.randn(2, 5, 6, device="meta"),))
        return len(follow(attending(3, 3, scale=scale).to("meta"), shapes).groups)

    assert n_groups(None) == n_groups(1.0) - 1


def test_a_position_of_fixed_size_in_a_product():
    reason = why_blocked(make(Tokens, lambda m, x: x @ torch.eye(8)))
    assert reason.startswith("it meets an axis of fixed size (aten.mm at operators/test_products.py:")


def test_rows_of_images_that_are_convolved():
    model = make(Tokens, lambda m, x: m.other(x[:, None]).flatten(1, 2), out=6, other=lambda: nn.Conv2d(1, 4, 3))
    assert why_blocked(model).startswith("it is used as rows or columns of an image (aten.convolution at ")


def test_linear_layers_where_they_are_one_operator():
    """On devices that have a kernel for them (MPS); here PyTorch makes them of others."""
    x, weight, bias = torch.ones(2, 5, 8), torch.ones(6, 8), torch.ones(6)
    channels, read, made, shift = Axis(8), Axis(8), Axis(6), Axis(6)
    dims = {id(x): [None, None, channels], id(weight): [made, read], id(bias): [shift]}
    arguments = {"input": x, "weight": weight, "bias": bias}
    result = functional.linear(x, weight, bias)
    call = Call(
        torch.ops.aten.linear.default, arguments, result, lambda t: dims[id(t)], lambda t: "weight", [], "here.py:1"
    )
    assert rule_for(call.operator)(call) == [[None, None, made]]
    assert channels.resolve() is read.resolve() and made.resolve() is shift.resolve()
    assert [axis.resolve() for axis in call.pooled] == [read.resolve()]
