"""Blocks of random networks that read and return tokens (B, length, n), in the words that people write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """As every language model writes it."""

    sees_zeros = True

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(n) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class BatchNormTokens(nn.BatchNorm1d):
    """Of tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class GroupNormTokens(nn.GroupNorm):
    """Of tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


TOKEN_NORMS = {
    "none": lambda n: nn.Identity(),
    "layer": nn.LayerNorm,
    "rms": RMSNorm,
    "batch": BatchNormTokens,
    "group": lambda n: GroupNormTokens(2, n),
}


class Mlp(nn.Module):
    """Two linear layers, with a layer scale."""

    def __init__(self, n: int, inner: int, norm: str) -> None:
        super().__init__()
        self.norm, self.fc1, self.fc2 = TOKEN_NORMS[norm](n), nn.Linear(n, inner), nn.Linear(inner, n)
        self.gamma = nn.Parameter(torch.rand(n))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gamma * self.fc2(functional.gelu(self.fc1(self.norm(x))))


class GatedMlp(nn.Module):
    """SwiGLU: gate and value from two layers, or from one."""

    def __init__(self, n: int, inner: int, fused: bool) -> None:
        super().__init__()
        self.fused, self.inner = fused, inner
        self.up, self.gate = nn.Linear(n, inner * (2 if fused else 1)), nn.Identity() if fused else nn.Linear(n, inner)
        self.down = nn.Linear(inner, n, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            gate, up = self.up(x).chunk(2, dim=-1)
        else:
            gate, up = self.gate(x), self.up(x)
        return x + self.down(functional.silu(gate) * up)


class MixTokens(nn.Module):
    """MLP-Mixer: a layer over positions."""

    def __init__(self, length: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(length, inner), nn.Linear(inner, length)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(functional.gelu(self.fc1(x.transpose(1, 2)))).transpose(1, 2)


class Convolved(nn.Module):
    """A convolution along the tokens."""

    def __init__(self, n: int, out: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n, out, 3, padding=1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(self.conv(x.mT).mT)


class Positions(nn.Module):
    """Position embedding: a bare parameter, or a table."""

    def __init__(self, n: int, length: int, table: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(length, n) if table else nn.Parameter(torch.randn(1, length, n))
        self.register_buffer("ids", torch.arange(length), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.embedding(self.ids) if isinstance(self.embedding, nn.Embedding) else self.embedding)


class ClassToken(nn.Module):
    """A learned token goes in front; later only the others go on."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.token, self.fc = nn.Parameter(torch.randn(1, 1, n)), nn.Linear(n, n)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1)
        x = torch.tanh(self.fc(x))
        return x[:, 1:] + x[:, :1]


class Fused(nn.Module):
    """Attention with queries, keys and values from one layer; `how` says how they are taken apart."""

    def __init__(self, n: int, heads: int, dim: int, how: str) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.how = heads, dim, how
        self.scale = dim**-0.5
        self.qkv, self.proj = nn.Linear(n, 3 * heads * dim), nn.Linear(heads * dim, n)

    def forward(self, x: Tensor) -> Tensor:
        b, length, _ = x.shape
        qkv = self.qkv(x)
        if self.how == "view":
            q, k, v = qkv.view(b, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        elif self.how == "interleaved":
            q, k, v = qkv.view(b, length, self.num_heads, 3, self.head_dim).permute(3, 0, 2, 1, 4)
        else:
            q, k, v = (part.reshape(b, length, self.num_heads, -1).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        weights = (q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1)
        mixed = (weights @ v).transpose(1, 2).reshape(b, length, -1)
        return x + self.proj(mixed)


class Attention(nn.Module):
    """Queries, keys and values from three layers, a table of relative positions; scaled dot product by PyTorch."""

    def __init__(self, n: int, heads: int, dim: int, length: int, biased: bool) -> None:
        super().__init__()
        self.heads, self.dim, self.scale = heads, dim, 0.4
        self.q, self.k, self.v = (nn.Linear(n, heads * dim) for _ in range(3))
        self.out = nn.Linear(heads * dim, n)
        self.table = nn.Parameter(torch.randn(length, heads)) if biased else None
        self.register_buffer("index", (torch.arange(length)[:, None] - torch.arange(length)) % length)

    def forward(self, x: Tensor) -> Tensor:
        b, length, _ = x.shape
        q, k, v = (f(x).view(b, length, self.heads, self.dim).transpose(1, 2) for f in (self.q, self.k, self.v))
        bias = None
        if self.table is not None:
            bias = self.table[self.index.view(-1)].view(length, length, -1).permute(2, 0, 1).unsqueeze(0)
        x = x + self.out(
            functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)
            .transpose(1, 2)
            .reshape(b, length, self.heads * self.dim)
        )
        return x


class GroupedQueries(nn.Module):
    """Several query heads read one head of keys and values; half of each head is turned by position."""

    def __init__(self, n: int, kv_heads: int, shared: int, dim: int, length: int, rotary: bool) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim, self.n_rep = kv_heads * shared, kv_heads, dim, shared
        self.wq, self.wk = nn.Linear(n, kv_heads * shared * dim), nn.Linear(n, kv_heads * dim)
        self.wv, self.wo = nn.Linear(n, kv_heads * dim), nn.Linear(kv_heads * shared * dim, n)
        self.rotary = rotary
        angles = torch.outer(torch.arange(length), torch.rand(dim // 2)).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def turned(self, x: Tensor) -> Tensor:
        first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
        return x * self.cos + torch.cat((-second, first), dim=-1) * self.sin

    def forward(self, x: Tensor) -> Tensor:
        b, length, _ = x.shape
        q = self.wq(x).view(b, length, self.n_heads, self.head_dim).transpose(1, 2)
        k = self.wk(x).view(b, length, self.n_kv_heads, self.head_dim).transpose(1, 2)
        v = self.wv(x).view(b, length, self.n_kv_heads, self.head_dim).transpose(1, 2)
        if self.rotary:
            q, k = self.turned(q), self.turned(k)
        k, v = (each.repeat_interleave(self.n_rep, dim=1) for each in (k, v))
        weights = torch.softmax(q @ k.transpose(2, 3) * 0.3, dim=-1)
        return x + self.wo((weights @ v).transpose(1, 2).flatten(2))


class CosineAttention(nn.Module):
    """Swin v2: unit queries and keys, one learned scale a head."""

    sees_zeros = True  # 0 / 0

    def __init__(self, n: int, heads: int, dim: int) -> None:
        super().__init__()
        self.heads, self.dim = heads, dim
        self.qkv, self.proj = nn.Linear(n, 3 * heads * dim, bias=False), nn.Linear(heads * dim, n)
        self.logit_scale = nn.Parameter(torch.rand(heads, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, length, _ = x.shape
        qkv = self.qkv(x).reshape(b, length, 3, self.heads, self.dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).transpose(-2, -1)
        weights = (weights * self.logit_scale.exp()).softmax(-1)
        return x + self.proj((weights @ v).transpose(1, 2).reshape(b, length, self.heads * self.dim))


class ChannelAttention(nn.Module):
    """XCiT: channels of a head read one another."""

    sees_zeros = True  # a softmax over channels

    def __init__(self, n: int, heads: int, dim: int) -> None:
        super().__init__()
        self.heads, self.dim = heads, dim
        self.qkv, self.proj = nn.Linear(n, 3 * heads * dim), nn.Linear(heads * dim, n)

    def forward(self, x: Tensor) -> Tensor:
        b, length, _ = x.shape
        q, k, v = self.qkv(x).view(b, length, 3, self.heads, self.dim).permute(2, 0, 3, 4, 1).unbind(0)
        weights = (q @ k.transpose(-2, -1) * 0.2).softmax(-1)
        return x + self.proj((weights @ v).permute(0, 3, 1, 2).reshape(b, length, -1))


class Divided(nn.Module):
    """Timm's attention: the head size is the input's width divided by the number of heads."""

    def __init__(self, n: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv, self.proj = nn.Linear(n, 3 * n), nn.Linear(n, n)

    def forward(self, x: Tensor) -> Tensor:
        b, length, c = x.shape
        qkv = self.qkv(x).reshape(b, length, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q @ k.transpose(-2, -1) * 0.5).softmax(dim=-1)
        return x + self.proj((weights @ v).transpose(1, 2).reshape(b, length, c))


class TiedLayers(nn.Module):
    """Two layers have one weight, read from either side."""

    def __init__(self, n: int, out: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(n, out), nn.Parameter(torch.zeros(n))
        self.back = nn.Linear(n, n)
        self.again = nn.Linear(n, n)
        self.again.weight = self.back.weight

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.down(x)) @ self.down.weight + self.up
        return x + self.again(torch.relu(self.back(y)))
