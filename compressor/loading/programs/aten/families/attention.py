"""Attention: the operator, and the fused ones that torch uses in evaluation, written out so that they have layers."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs import layers, sizes
from compressor.loading.programs.aten.registry import Arguments, Handler, first_of
from compressor.loading.programs.builder import Builder
from compressor.loading.programs.values import Value


def _attention(build: Builder, a: Arguments) -> Value:
    return build.call(
        functional.scaled_dot_product_attention,
        a["query"],
        a["key"],
        a["value"],
        attn_mask=a.get("attn_mask", a.get("attn_bias")),
        is_causal=a["is_causal"],
        scale=a.get("scale"),
        **({"enable_gqa": True} if a.get("enable_gqa") else {}),
    )


def _first_attention(build: Builder, a: Arguments) -> Any:
    return first_of(_attention(build, a))


def _self_attention(build: Builder, x: Value, a: Arguments) -> Value:
    """Projections, heads, attention, projection: (N, L, embed_dim) -> (N, L, embed_dim)."""
    heads, embed = a.get("num_head") or a["num_heads"], a["embed_dim"]
    batch, length, _ = build.shape(x)
    qkv = layers.linear(build, x, a["qkv_weight"], a["qkv_bias"])
    qkv = sizes.reshape(build, qkv, [batch, length, 3, heads, embed // heads])
    qkv = build.call(torch.permute, qkv, [2, 0, 3, 1, 4])  # (3, N, heads, L, dim)
    query, key, value = (build.call(torch.select, qkv, 0, index) for index in range(3))
    mask = _mask(build, a)
    out = build.call(functional.scaled_dot_product_attention, query, key, value, attn_mask=mask)
    out = sizes.reshape(build, build.call(torch.transpose, out, 1, 2), [batch, length, embed])
    return layers.linear(build, out, a["proj_weight"], a["proj_bias"])


def _mask(build: Builder, a: Arguments) -> Value | None:
    """The fused operators say True where attention must not look; the plain one where it may."""
    mask, kind = a.get("mask"), a.get("mask_type")
    if mask is None:
        return None
    if mask.dtype != torch.bool:
        raise UnsupportedModel("its mask holds numbers; masks of true and false are covered")
    allowed = build.call(torch.logical_not, mask)
    if kind == 1:  # padding of keys, (N, L)
        return build.call(torch.unsqueeze, build.call(torch.unsqueeze, allowed, 1), 1)
    return allowed


def _multi_head(build: Builder, a: Arguments) -> Any:
    query, key, value = a["query"], a["key"], a["value"]
    if any(other is not query and other.node is not query.node for other in (key, value)):
        raise UnsupportedModel("it attends from one sequence to another in one fused operator")
    return first_of(_self_attention(build, query, a))


def _encoder_layer(build: Builder, a: Arguments) -> Value:
    """nn.TransformerEncoderLayer."""
    x, eps = a["src"], a["eps"]
    width = [a["embed_dim"]]

    def norm(value: Value, number: int) -> Value:
        return layers.layer_norm(build, value, width, a[f"norm_weight_{number}"], a[f"norm_bias_{number}"], eps)

    def feed_forward(value: Value) -> Value:
        inner = layers.linear(build, value, a["ffn_weight_1"], a["ffn_bias_1"])
        inner = build.call(functional.gelu if a["use_gelu"] else torch.relu, inner)
        return layers.linear(build, inner, a["ffn_weight_2"], a["ffn_bias_2"])

    if a["norm_first"]:
        x = build.call(torch.add, x, _self_attention(build, norm(x, 1), a))
        return build.call(torch.add, x, feed_forward(norm(x, 2)))
    x = norm(build.call(torch.add, x, _self_attention(build, x, a)), 1)
    return norm(build.call(torch.add, x, feed_forward(x)), 2)


HANDLERS: dict[str, Handler] = {
    "aten::scaled_dot_product_attention": _attention,
    "aten::_scaled_dot_product_flash_attention_for_cpu": _first_attention,
    "aten::_scaled_dot_product_flash_attention": _first_attention,
    "aten::_scaled_dot_product_efficient_attention": _first_attention,
    "aten::_scaled_dot_product_attention_math": _first_attention,
    "aten::_native_multi_head_attention": _multi_head,
    "aten::_transformer_encoder_layer_fwd": _encoder_layer,
}
