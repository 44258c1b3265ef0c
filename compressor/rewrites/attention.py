"""Softmax attention written by hand: `C // heads` and `reshape(B, N, C)` take its inner width for that of the stream.

    softmax(scale * q k^T) v     (Vaswani et al. 2017, arXiv:1706.03762, equation 1), several heads side by side

Then heads can leave only together with the stream, and in all blocks at once. The block here has the same layers under
the same names, and its sizes stand for themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product

from torch import Tensor, nn
from torch.nn import functional

from compressor.core.errors import WeightsMismatch

Options = dict[str, float | int | str]
# What one fused layer's outputs are, outermost first.
FUSED = ("qkv,heads,dim", "heads,qkv,dim", "heads,dim,qkv")
# What comes back: the result, or a tuple of it and, where anybody asks for it, the softmax's matrix.
RETURNS = ("result", "result,none", "result,weights")
_NORMS = (nn.LayerNorm, nn.RMSNorm)
_SILENT = (nn.Identity, nn.Softmax)  # layers without weights that attention is made of


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        block: what is replaced; its layers move here under their names.
        options: "heads", "scale", "out" (the last layer), and either "fused" with "layout" (one of FUSED) or "query",
            "key" and "value"; "norm" where there is one before, "residual" where the input is added to the result;
            "returns" (one of RETURNS).
            Two dropouts are of the attention and of the result, in this order.

    Raises:
        WeightsMismatch: the block is not made of these layers.
    """

    def __init__(self, block: nn.Module, options: Options) -> None:
        super().__init__()
        for name, layer in block.named_children():
            self.add_module(name, layer)
        self.num_heads, self.scale = int(options["heads"]), float(options["scale"])
        self._layout = str(options.get("layout", ""))
        self._in = [str(options[name]) for name in ("fused", "query", "key", "value") if name in options]
        self._out, self._norm = str(options["out"]), str(options.get("norm", ""))
        self._residual, self._returns = bool(options.get("residual", False)), str(options.get("returns", RETURNS[0]))
        missing = [name for name in (*self._in, self._out) if not isinstance(getattr(self, name, None), nn.Linear)]
        if self._norm and not isinstance(getattr(self, self._norm, None), _NORMS):
            missing.append(self._norm)
        if missing or len(self._in) not in (1, 3) or self._returns not in RETURNS:
            raise WeightsMismatch(f"no attention block: it has no such layer as {', '.join(missing) or 'its inputs'}")
        self._dropouts = [layer.p for layer in block.children() if isinstance(layer, nn.Dropout)] or [0.0]
        width = getattr(self, self._in[0]).out_features // (3 if len(self._in) == 1 else 1)
        of_one = width // self.num_heads
        self.widths = (width,) * 3 if self._layout != FUSED[1] else (of_one,) * 3
        self.head_dim = of_one
        self.training = block.training

    def forward(self, *given: object, **named: object) -> Tensor | tuple[Tensor, Tensor | None]:
        """(..., N, C) -> (..., N, C), and the weights (..., heads, N, N) where they are returned."""
        x, *others = (each for each in (*given, *named.values()) if each is not None)
        if others or not isinstance(x, Tensor):
            raise ValueError("this attention was rewritten for one input, but got others")
        normed = self.get_submodule(self._norm)(x) if self._norm else x
        y, weights = self._attend(*(part.transpose(-3, -2) for part in self._parts(normed)))
        y = self.get_submodule(self._out)(y.transpose(-3, -2).flatten(-2))
        y = functional.dropout(y, self._dropouts[-1], self.training)
        y = x + y if self._residual else y
        return y if self._returns == RETURNS[0] else (y, weights)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of (..., heads, N, dim) each; the weights are computed apart only where they are returned."""
        dropout = self._dropouts[0] if self.training and len(self._dropouts) > 1 else 0.0
        if self._returns != RETURNS[2]:
            return functional.scaled_dot_product_attention(query, key, value, scale=self.scale, dropout_p=dropout), None
        weights = functional.dropout((query @ key.mT * self.scale).softmax(-1), dropout)
        return weights @ value, weights

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, each (..., N, heads, dim)."""
        made = [self.get_submodule(name)(x) for name in self._in]
        if not self._layout:
            return tuple(part.unflatten(-1, (self.num_heads, -1)) for part in made)
        if self._layout == FUSED[0]:
            return tuple(part.unflatten(-1, (self.num_heads, -1)) for part in made[0].split(self.widths, -1))
        whole = made[0].unflatten(-1, (self.num_heads, -1))
        if self._layout == FUSED[1]:
            return tuple(whole.split(self.widths, -1))
        return tuple(whole.unflatten(-1, (self.head_dim, 3)).unbind(-1))


def candidates(block: nn.Module) -> Iterator[Options]:
    """What the block may be, judged by its layers; numbers have to decide."""
    if any(True for _ in block.parameters(recurse=False)) or any(True for _ in block.buffers(recurse=False)):
        return
    if block._forward_hooks or block._forward_pre_hooks:  # somebody watches this very module
        return
    layers = dict(block.named_children())
    linear = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear)}
    dropouts = [layer for layer in layers.values() if isinstance(layer, nn.Dropout)]
    norms = [name for name, layer in layers.items() if isinstance(layer, _NORMS)]
    known = (nn.Linear, nn.Dropout, *_NORMS, *_SILENT)
    if not all(isinstance(layer, known) for layer in layers.values()) or len(dropouts) > 2 or len(norms) > 1:
        return
    if len(dropouts) == 1 and dropouts[0].p:  # of the attention, or of what comes out?
        return
    for parts, width in _projections(linear):
        around: Options = {"norm": norms[0]} if norms else {}
        for (heads, scale), residual in product(_numbers(block, width), (False, True)):
            yield {**parts, **around, "heads": heads, "scale": scale, "residual": residual}


def _projections(linear: dict[str, nn.Linear]) -> Iterator[tuple[Options, int]]:
    """(the layers' parts, the inner width)."""
    names = list(linear)
    if len(names) == 2:
        for fused, out in permutations(names):
            width = linear[out].in_features
            if linear[fused].out_features == 3 * width and linear[fused].in_features == linear[out].out_features:
                for layout in FUSED:
                    yield {"fused": fused, "out": out, "layout": layout}, width
    if len(names) == 4 and len({(layer.in_features, layer.out_features) for layer in linear.values()}) == 1:
        for query, key, value, out in permutations(names):  # in the order of their making first
            yield {"query": query, "key": key, "value": value, "out": out}, linear[out].in_features


def _numbers(block: nn.Module, width: int) -> Iterator[tuple[int, float]]:
    """(heads, scale) that the block's attributes allow."""
    own = [value for value in vars(block).values() if isinstance(value, (int, float)) and not isinstance(value, bool)]
    heads = dict.fromkeys(value for value in own if isinstance(value, int) and value > 0 and width % value == 0)
    for n in heads:
        known = [value for value in own if isinstance(value, float) and value > 0]
        scales = [(width // n) ** -0.5, width**-0.5, *known, *(1 / value for value in known), 1.0]
        yield from product([n], dict.fromkeys(scales))
