"""Real layers from the weights that a file holds: they can be cut, and batch norms learn and re-estimate again.

Every function takes the tensors as the file has them, and falls back to a plain torch call where the weight is
calculated by the program and no constant. A layer's path comes from its weight's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs.builder import Builder
from compressor.loading.programs.values import Value

_WEIGHT_ENDING = re.compile(r"[._]?(weight|bias|kernel|running_mean|running_var|gamma|beta)$")
_CONVS: dict[tuple[int, bool], type[nn.Module]] = {
    (1, False): nn.Conv1d,
    (2, False): nn.Conv2d,
    (3, False): nn.Conv3d,
    (1, True): nn.ConvTranspose1d,
    (2, True): nn.ConvTranspose2d,
    (3, True): nn.ConvTranspose3d,
}
_BATCH_NORMS: dict[int, type[nn.Module]] = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_INSTANCE_NORMS: dict[int, type[nn.Module]] = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}


def layer_path(build: Builder, fallback: str, *tensors: Value | None) -> str:
    """The path that the names of the layer's tensors tell, else the operator's scope, else `fallback`.

    `conv1.weight` is a tensor of the layer `conv1`; `attn.in_proj_weight` one of `attn.in_proj`. Names of tensors that
    an exporter may have put together because they are equal count last.
    """
    given = [value for value in tensors if value is not None]
    telling = [path for value in given if build.shared(value) and (path := _path_in(value.name))]
    others = [path for value in given if (path := _path_in(value.name))]
    return next(iter([*telling, *filter(None, [build.scope]), *others]), fallback)


def _path_in(name: str) -> str:
    path = _WEIGHT_ENDING.sub("", name)
    return path if path != name else ""


def is_constant(*tensors: Value | None) -> bool:
    """Whether all of them are constants of the file (or left out)."""
    return all(value is None or value.constant for value in tensors)


def convolution(
    build: Builder,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: int,
    *,
    transposed: bool = False,
    output_padding: Sequence[int] = (0,),
) -> Value:
    """(N, C_in, *spatial) -> (N, C_out, *spatial), 1 to 3 spatial axes; also transposed."""
    n = weight.ndim - 2
    stride, dilation = _full(stride, n), _full(dilation, n)
    padding = padding if isinstance(padding, str) else _full(padding, n)
    output_padding = _full(output_padding, n)
    if (n, transposed) not in _CONVS:
        raise UnsupportedModel(f"a convolution over {n} spatial axes has no layer; there are those over 1, 2 and 3")
    if not is_constant(weight, bias):
        if transposed:
            function: Any = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[
                n - 1
            ]
            return build.call(function, x, weight, bias, stride, padding, output_padding, groups, dilation)
        function = (functional.conv1d, functional.conv2d, functional.conv3d)[n - 1]
        return build.call(function, x, weight, bias, stride, padding, dilation, groups)
    shape = weight.tensor.shape
    n_in, n_out = (shape[0], shape[1] * groups) if transposed else (shape[1] * groups, shape[0])
    more = {"output_padding": output_padding} if transposed else {}
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, **more}

    def make() -> nn.Module:
        layer = _CONVS[n, transposed](n_in, n_out, tuple(shape[2:]), bias=bias is not None, device="meta", **options)
        return _filled(build, layer, weight=weight, bias=bias)

    key = ("conv", weight, bias, transposed, str(options))
    return build.layer(layer_path(build, "conv", weight, bias), key, make, x)


def linear(build: Builder, x: Value, weight: Value, bias: Value | None) -> Value:
    """(..., n_in) -> (..., n_out); `weight` is (n_out, n_in)."""
    if not is_constant(weight, bias) or weight.ndim != 2:
        return build.call(functional.linear, x, weight, bias)
    n_out, n_in = weight.tensor.shape

    def make() -> nn.Module:
        return _filled(build, nn.Linear(n_in, n_out, bias is not None, device="meta"), weight=weight, bias=bias)

    return build.layer(layer_path(build, "linear", weight, bias), ("linear", weight, bias), make, x)


def batch_norm(
    build: Builder,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    var: Value | None,
    momentum: float,
    eps: float,
) -> Value:
    """Normalises axis 1 with the statistics of the file."""
    if mean is None or var is None:
        return build.call(functional.batch_norm, x, None, None, weight, bias, True, momentum, eps)
    if not is_constant(weight, bias, mean, var) or (weight is None) != (bias is None) or x.ndim not in _BATCH_NORMS:
        return build.call(functional.batch_norm, x, mean, var, weight, bias, False, momentum, eps)
    n = mean.tensor.numel()

    def make() -> nn.Module:
        layer = _BATCH_NORMS[x.ndim](n, eps=eps, momentum=momentum, affine=weight is not None, device="meta")
        layer.register_buffer("running_mean", mean.tensor.detach().clone())
        layer.register_buffer("running_var", var.tensor.detach().clone())
        layer.register_buffer("num_batches_tracked", torch.tensor(0))
        return _filled(build, layer, weight=weight, bias=bias)

    key = _norm_key(build, "batch_norm", weight, bias, mean, var, eps, x.ndim)
    return build.layer(layer_path(build, "batch_norm", weight, mean, bias), key, make, x)


def layer_norm(
    build: Builder, x: Value, shape: Sequence[int], weight: Value | None, bias: Value | None, eps: float
) -> Value:
    """Normalises the last axes, whose lengths are `shape`."""
    if not is_constant(weight, bias) or (weight is None and bias is not None):
        return build.call(functional.layer_norm, x, list(shape), weight, bias, eps)

    def make() -> nn.Module:
        affine, with_bias = weight is not None, bias is not None
        layer = nn.LayerNorm(list(shape), eps=eps, elementwise_affine=affine, bias=with_bias, device="meta")
        return _filled(build, layer, weight=weight, bias=bias)

    key = _norm_key(build, "layer_norm", weight, bias, eps, tuple(shape))
    return build.layer(layer_path(build, "layer_norm", weight, bias), key, make, x)


def rms_norm(build: Builder, x: Value, shape: Sequence[int], weight: Value | None, eps: float | None) -> Value:
    """Divides the last axes by their root mean square."""
    if not is_constant(weight):
        return build.call(functional.rms_norm, x, list(shape), weight, eps)

    def make() -> nn.Module:
        layer = nn.RMSNorm(list(shape), eps=eps, elementwise_affine=weight is not None, device="meta")
        return _filled(build, layer, weight=weight)

    key = _norm_key(build, "rms_norm", weight, eps, tuple(shape))
    return build.layer(layer_path(build, "rms_norm", weight), key, make, x)


def group_norm(build: Builder, x: Value, n_groups: int, weight: Value | None, bias: Value | None, eps: float) -> Value:
    """Normalises groups of the channels of axis 1."""
    if not is_constant(weight, bias) or (weight is None) != (bias is None):
        return build.call(functional.group_norm, x, n_groups, weight, bias, eps)
    n = int(x.tensor.shape[1])

    def make() -> nn.Module:
        layer = nn.GroupNorm(n_groups, n, eps=eps, affine=weight is not None, device="meta")
        return _filled(build, layer, weight=weight, bias=bias)

    key = _norm_key(build, "group_norm", weight, bias, eps, n_groups)
    return build.layer(layer_path(build, "group_norm", weight, bias), key, make, x)


def instance_norm(build: Builder, x: Value, weight: Value | None, bias: Value | None, eps: float) -> Value:
    """Normalises every channel of every sample by itself."""
    if not is_constant(weight, bias) or (weight is None) != (bias is None) or x.ndim not in _INSTANCE_NORMS:
        return build.call(functional.instance_norm, x, None, None, weight, bias, True, 0.1, eps)
    n = int(x.tensor.shape[1])

    def make() -> nn.Module:
        layer = _INSTANCE_NORMS[x.ndim](n, eps=eps, affine=weight is not None, device="meta")
        return _filled(build, layer, weight=weight, bias=bias)

    key = _norm_key(build, "instance_norm", weight, bias, eps)
    return build.layer(layer_path(build, "instance_norm", weight, bias), key, make, x)


def embedding(build: Builder, ids: Value, weight: Value, padding_idx: int | None = None) -> Value:
    """(...) of whole numbers -> (..., n_features)."""
    if not is_constant(weight) or weight.ndim != 2 or not weight.dtype.is_floating_point:
        return build.call(functional.embedding, ids, weight, padding_idx)
    rows, columns = weight.tensor.shape

    def make() -> nn.Module:
        return _filled(build, nn.Embedding(rows, columns, padding_idx, device="meta"), weight=weight)

    key = ("embedding", weight, padding_idx)
    return build.layer(layer_path(build, "embedding", weight), key, make, ids)


def prelu(build: Builder, x: Value, weight: Value) -> Value:
    """x where positive, weight * x elsewhere; one weight, or one per channel of axis 1."""
    if not is_constant(weight) or weight.ndim != 1:
        return build.call(functional.prelu, x, weight)

    def make() -> nn.Module:
        return _filled(build, nn.PReLU(weight.tensor.numel(), device="meta"), weight=weight)

    return build.layer(layer_path(build, "prelu", weight), ("prelu", weight), make, x)


def _norm_key(build: Builder, kind: str, *parts: Any) -> Any:
    """What makes two norms one layer: the same tensors, if they have any that tell."""
    tensors = [part for part in parts if isinstance(part, Value)]
    if not tensors or not all(build.shared(value) for value in tensors):
        return None
    return (kind, *parts)


def _filled(build: Builder, layer: nn.Module, **tensors: Value | None) -> nn.Module:
    """Gives the layer, made without memory, the parameters of the file; shared ones stay shared."""
    for name, value in tensors.items():
        if value is not None:
            layer.register_parameter(name, build.parameter(value))
    assert not any(tensor.is_meta for tensor in _tensors(layer))
    return layer


def _tensors(layer: nn.Module) -> list[Tensor]:
    return [*layer.parameters(), *layer.buffers()]


def _full(numbers: Sequence[int], n: int) -> tuple[int, ...]:
    """One number for each of `n` axes."""
    values = tuple(int(number) for number in numbers)
    return values * n if len(values) == 1 else values


def recurrent(
    build: Builder,
    kind: type[nn.RNNBase],
    x: Value,
    states: Sequence[Value],
    weights: Sequence[Value],
    *,
    n_layers: int,
    with_bias: bool,
    bidirectional: bool,
    batch_first: bool,
    **options: Any,
) -> list[Any]:
    """LSTM, GRU or RNN: [outputs, last state, ...]; `weights` are in torch's order, layer by layer.

    `states` are the first ones; zeros where there are none.

    Raises:
        UnsupportedModel: weights are calculated by the program.
    """
    if not is_constant(*weights):
        raise UnsupportedModel("its weights are calculated by the program, which is not covered")
    hidden, features = int(weights[0].tensor.shape[0]), int(weights[0].tensor.shape[1])
    hidden //= {nn.LSTM: 4, nn.GRU: 3}.get(kind, 1)

    def make() -> nn.Module:
        make_layer: Any = kind
        sizes = (features, hidden, n_layers, with_bias, batch_first)
        layer = make_layer(*sizes, bidirectional=bidirectional, device="meta", **options)
        names = [name for group in layer._all_weights for name in group]
        for name, value in zip(names, weights, strict=True):
            setattr(layer, name, build.parameter(value))
        return layer

    path = re.sub(r"[._]?weight_ih_l0$", "", weights[0].name)
    path = path if path != weights[0].name else build.scope or kind.__name__.lower()
    if len(states) != (2 if kind is nn.LSTM else 1):
        states = []  # zeros
    given = [tuple(states) if kind is nn.LSTM else states[0]] if states else []
    outputs, last = build.layer(path, (kind.__name__, *weights), make, x, *given)
    return [outputs, *(last if isinstance(last, list) else [last])]
