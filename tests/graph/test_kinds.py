"""Kinds of dimensions follow from products and layers, not from names."""

import torch
from torch import nn
from torch.nn import functional

from compressor.graph.engine import follow
from exporters.signature import ExampleInputs
from tests import networks
from tests.networks import images, seeded

TOKENS = torch.randn(2, 5, 12)


def kinds(model, x):
    return {group.name: group.kind for group in follow(model, ExampleInputs(("x",), (x,))).groups}


class Block(nn.Module):
    """A pre-norm block with a gated MLP on a stream that a layer embeds."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm1, self.norm2 = nn.Linear(12, 16), nn.LayerNorm(16), nn.RMSNorm(16)
        self.n_heads, self.head_dim = 2, 6
        self.q, self.k, self.v, self.out = nn.Linear(16, 12), nn.Linear(16, 12), nn.Linear(16, 12), nn.Linear(12, 16)
        self.gate, self.up, self.down, self.head = (
            *(nn.Linear(16, 20) for _ in "gu"),
            nn.Linear(20, 16),
            nn.Linear(16, 3),
        )

    def forward(self, x):
        x = self.embed(x)
        h = self.norm1(x)
        q, k, v = (f(h).unflatten(-1, (self.n_heads, self.head_dim)).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v, scale=0.4).transpose(1, 2).flatten(2))
        h = self.norm2(x)
        x = x + self.down(functional.silu(self.gate(h)) * self.up(h))
        return self.head(x.mean(1))


def test_a_block_of_a_transformer():
    assert kinds(seeded(Block), TOKENS) == {
        "embed": "embed", "q:1": "heads", "q:2": "head_dim", "gate": "mlp",
    }  # fmt: skip


def test_attention_written_out():
    assert kinds(seeded(networks.Fused), TOKENS) == {"qkv:1": "heads", "qkv:2": "head_dim", "proj": "mlp"}


def test_convolutions_and_what_joins_them_with_linear_layers():
    assert set(kinds(seeded(networks.Residual), images()).values()) == {"conv"}
    patches = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), nn.Linear(4, 4), nn.Flatten(), nn.Linear(32, 3))
    assert kinds(patches, images()) == {"0": "conv", "2": "mlp"}
