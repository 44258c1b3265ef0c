"""Reductions and norms: over the channels that stay; what depends on every position keeps all."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.graph.operators.cases import Images, Tokens, cut_and_silenced, make, named, why_blocked

ALL = {"stem": 8, "read": 7}


def scaled(reduced):
    """Every channel times something that is computed from all of them."""
    return lambda m, x: x * reduced(x)


# Over the channels: what is left out must not count.
REDUCED = [
    ("mean", scaled(lambda x: x.mean(-1, keepdim=True))),
    ("mean", scaled(lambda x: x.mean((1, 2))[:, None, None])),
    ("sum", scaled(lambda x: x.sum(2).unsqueeze(2))),
    ("sum", scaled(lambda x: x.sum())),
    ("amax", scaled(lambda x: x.amax(-1, keepdim=True))),
    ("amin", scaled(lambda x: x.amin(2, keepdim=True))),
    ("max", scaled(lambda x: x.max(2, keepdim=True)[0])),
    ("max", scaled(lambda x: x.max())),
    ("min", scaled(lambda x: x.min(2).values[..., None])),
    ("median", scaled(lambda x: x.median(2, keepdim=True)[0])),
    ("var", scaled(lambda x: x.var(2, keepdim=True, correction=0))),
    ("var_mean", lambda m, x: (x - torch.var_mean(x, 2, keepdim=True)[1]) * torch.var_mean(x, 2, keepdim=True)[0]),
    ("std", scaled(lambda x: x.std(2, keepdim=True, correction=0))),
    ("prod", scaled(lambda x: 1 + (x + 1).prod(2, keepdim=True))),
    ("norm", lambda m, x: m.normed_conv(x.mT).mT),
    ("linalg_vector_norm", lambda m, x: functional.normalize(x, dim=-1)),
    ("logsumexp", scaled(lambda x: x.logsumexp(2, keepdim=True))),
    ("any", scaled(lambda x: 1.0 + (x > 1).any(2, keepdim=True))),
    ("all", scaled(lambda x: 1.0 + (x > -0.5).all(2, keepdim=True))),
    ("aminmax", scaled(lambda x: sum(x.aminmax(dim=2, keepdim=True)))),
    ("native_layer_norm", lambda m, x: functional.layer_norm(x, x.shape[2:])),
    ("native_layer_norm", lambda m, x: functional.layer_norm(x, x.shape[1:])),
    ("native_layer_norm", lambda m, x: m.layer_norm(x)),
    ("native_group_norm", lambda m, x: functional.group_norm(x.mT, 1).mT),
    ("rsqrt", lambda m, x: m.rms_norm(x)),
    ("_weight_norm_interface", lambda m, x: m.weight_normed(x)),
]
# Along other axes: the channels pass.
PASSED = [
    ("mean", lambda m, x: x.mean(1)),
    ("max", lambda m, x: x.max(1)[0]),
    ("_softmax", lambda m, x: x.softmax(1)),
    ("_log_softmax", lambda m, x: x.log_softmax(1)),
    ("cumsum", lambda m, x: x.cumsum(1)),
    ("argmax", lambda m, x: x * x.argmax(1, keepdim=True)),
    ("argmin", lambda m, x: x * x.argmin(1)[:, None]),
    ("topk", lambda m, x: x.topk(2, 1)[0]),
    ("sort", lambda m, x: x.sort(1, descending=True)[0]),
    ("_fft_r2c", lambda m, x: torch.fft.rfft(x, dim=1).abs()),
    ("native_batch_norm", lambda m, x: m.batch_norm(x.mT).mT),
    ("native_batch_norm", lambda m, x: functional.batch_norm(x.mT, None, None, training=True).mT),
    ("native_batch_norm", lambda m, x: m.instance_norm(x.mT).mT),
    ("max_pool2d_with_indices", lambda m, x: functional.max_pool1d(x.mT, 2).mT),
    ("avg_pool2d", lambda m, x: functional.avg_pool1d(x.mT, 2).mT),
    ("reflection_pad1d", lambda m, x: functional.pad(x.mT, (1, 1), "reflect").mT),
    ("upsample_linear1d", lambda m, x: functional.interpolate(x.mT, 7, mode="linear").mT),
]
LAYERS = {
    "layer_norm": lambda: nn.LayerNorm(8),
    "rms_norm": lambda: nn.RMSNorm(8),
    "weight_normed": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)),
    "normed_conv": lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(8, 8, 3, padding=1), dim=1),
    "batch_norm": lambda: nn.BatchNorm1d(8),
    "instance_norm": lambda: nn.InstanceNorm1d(8, affine=True, track_running_stats=True),
}


@pytest.mark.parametrize(("operator", "between"), REDUCED + PASSED, ids=named(REDUCED + PASSED))
def test_removed_channels_do_not_count(operator, between):
    layers = {name: LAYERS[name] for name in LAYERS if name in between.__code__.co_names}
    model = make(Tokens, between, **layers)
    made = {name: 8 for name in layers if name in ("weight_normed", "normed_conv")}
    assert cut_and_silenced(model, f"aten.{operator}") == {**ALL, **made}


def sampled(x, grid):
    return functional.grid_sample(x, grid, align_corners=False)


IMAGES = [
    ("avg_pool2d", lambda m, x: functional.avg_pool2d(x, 2), 8),
    ("_adaptive_avg_pool2d", lambda m, x: functional.adaptive_avg_pool2d(x, 2), 8),
    ("adaptive_max_pool2d", lambda m, x: functional.adaptive_max_pool2d(x, 2), 8),
    ("upsample_nearest2d", lambda m, x: functional.interpolate(x, scale_factor=2), 8),
    ("upsample_bilinear2d", lambda m, x: functional.interpolate(x, (6, 6), mode="bilinear"), 8),
    ("replication_pad2d", lambda m, x: functional.pad(x, (1, 1, 0, 0), "replicate"), 8),
    ("avg_pool3d", lambda m, x: functional.avg_pool3d(x[:, :, None], 1)[:, :, 0], 8),
    ("grid_sampler_2d", lambda m, x: sampled(x, x.new_zeros(2, 3, 3, 2)), 8),
    ("native_group_norm", lambda m, x: m.few(x), 4),
    ("native_group_norm", lambda m, x: m.many(x), 4),
    ("native_group_norm", lambda m, x: m.all(x), 8),
]


@pytest.mark.parametrize(("operator", "between", "n_channels"), IMAGES, ids=named(IMAGES))
def test_images(operator, between, n_channels):
    norms = {"few": lambda: nn.GroupNorm(2, 8), "many": lambda: nn.GroupNorm(4, 8), "all": lambda: nn.GroupNorm(8, 8)}
    model = make(Images, between, **{name: norms[name] for name in norms if name in between.__code__.co_names})
    assert cut_and_silenced(model, f"aten.{operator}") == {"stem": n_channels, "read": 7}


DEPENDS = "each of its channels depends on all others"
IMAGE = "it is used as rows or columns of an image"
FROZEN = [
    ("_softmax", lambda m, x: x.softmax(-1), DEPENDS),
    ("_log_softmax", lambda m, x: x.log_softmax(2), DEPENDS),
    ("cumsum", lambda m, x: x.cumsum(2), DEPENDS),
    ("argmax", lambda m, x: x * x.argmax(2, keepdim=True), "its positions are counted"),
    ("argmin", lambda m, x: x * x.argmin(), "its positions are counted"),
    ("max", lambda m, x: x * x.max(2, keepdim=True)[1], "its positions are counted"),
    ("min", lambda m, x: x * sum(x.min(2, keepdim=True)), "its positions are counted"),
    ("topk", lambda m, x: x.topk(8, 2)[0], "it is sorted"),
    ("sort", lambda m, x: x.sort()[0], "it is sorted"),
    ("kthvalue", lambda m, x: x * x.kthvalue(3, 2, keepdim=True)[0], "it is sorted"),
    ("_fft_r2c", lambda m, x: torch.fft.rfft(x, n=14, dim=2).abs(), "its positions become frequencies"),
    ("native_group_norm", lambda m, x: functional.group_norm(x, 1), IMAGE),
    ("avg_pool2d", lambda m, x: functional.avg_pool1d(x, 3, 1, 1), IMAGE),
    ("reflection_pad1d", lambda m, x: functional.pad(x, (1, -1), "reflect"), IMAGE),
    ("grid_sampler_2d", lambda m, x: sampled(x[:, None], x.new_zeros(2, 5, 8, 2))[:, 0], IMAGE),
    ("grid_sampler_2d", lambda m, x: sampled(x.new_ones(2, 1, 4, 4), x[..., None].expand(-1, -1, -1, 2))[:, 0], IMAGE),
]


@pytest.mark.parametrize(("operator", "between", "what"), FROZEN, ids=named(FROZEN))
def test_what_stays_says_why(operator, between, what):
    reason = why_blocked(make(Tokens, between))
    assert what in reason and f"(aten.{operator} at operators/test_statistics.py:" in reason


def test_positions_that_reach_an_output():
    """A detector's classes: which one is largest is a number, so all of them stay, though no output is as wide."""

    class Classes(nn.Sequential):
        inputs = (2, 6)

        def forward(self, x):
            return super().forward(x).max(1)

    model = Classes(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))
    assert why_blocked(model, "2").startswith("its positions are counted (aten.max at operators/test_statistics.py:")
