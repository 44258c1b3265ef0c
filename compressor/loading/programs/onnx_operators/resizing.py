"""Images made larger or smaller."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs.builder import check_size
from compressor.loading.programs.onnx_node import OnnxNode
from compressor.loading.programs.onnx_operators._helpers import Handler, normal_axes
from compressor.loading.programs.values import Dim, Size, Value, calculate, in_run

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
_CORNERS = "align_corners"
_CENTRES = ("half_pixel", "pytorch_half_pixel")


def _upsample(node: OnnxNode) -> Value:
    scales = node.attribute("scales") or node.constants(1)
    return _resized(node, list(scales), None, "asymmetric", "floor")


def _resize(node: OnnxNode) -> Value:
    if node.opset < 11:
        return _resized(node, node.constants(1), None, "asymmetric", "floor")
    x = node.value(0)
    axes = normal_axes(node.attribute("axes", range(x.ndim)), x.ndim)
    scales: list[Any] | None = None
    target: list[Size] | None = None
    if node.has(2) and node.numbers(2).array.size:
        scales = [1.0] * x.ndim
        for axis, scale in zip(axes, node.sizes(2), strict=True):
            scales[axis] = scale
    else:
        if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise UnsupportedModel("it keeps the aspect ratio, which is not covered")
        target = node.build.shape(x)
        for axis, size in zip(axes, node.sizes(3), strict=True):
            target[axis] = size
    how = node.attribute("coordinate_transformation_mode", "half_pixel")
    return _resized(node, scales, target, how, node.attribute("nearest_mode", "round_prefer_floor"))


def _resized(
    node: OnnxNode, scales: list[Any] | None, target: list[Size] | None, coordinates: str, rounding: str
) -> Value:
    build, x, mode = node.build, node.value(0), node.attribute("mode", "nearest")
    lengths = build.shape(x)
    if scales is not None and any(isinstance(scale, Dim) for scale in scales):
        target = [_times(length, scale) for length, scale in zip(lengths, scales, strict=True)]
        scales = None
    if scales is not None and any(scale != 1 for scale in scales[:2]):
        raise UnsupportedModel("it resizes the batch or the channels")
    if mode == "nearest" and not _is_torchs(lengths, scales, target, coordinates, rounding):
        return _nearest(node, scales, target, coordinates, rounding)
    options: dict[str, Any] = {"mode": _mode(node, mode, x.ndim - 2)}
    if mode != "nearest":
        if coordinates != _CORNERS and coordinates not in _CENTRES:
            raise UnsupportedModel(f"it interpolates between pixels placed by the rule '{coordinates}'")
        options[_CORNERS] = coordinates == _CORNERS
        if node.attribute("antialias", 0):
            options["antialias"] = True
    factors = scales or [1.0] * x.ndim
    wanted = target or [length * factor for length, factor in zip(x.tensor.shape, factors, strict=True)]
    check_size([int(in_run(size, 0)) for size in wanted])
    if scales is not None:
        return build.call(functional.interpolate, x, scale_factor=[float(scale) for scale in scales[2:]], **options)
    assert target is not None
    return build.call(functional.interpolate, x, size=target[2:], **options)


def _times(length: Size, scale: Any) -> Any:
    return length if not isinstance(scale, Dim) and scale == 1 else calculate(torch.sym_int, length * scale)


def _mode(node: OnnxNode, mode: str, n_spatial: int) -> str:
    if mode == "nearest":
        return "nearest"
    if mode == "linear" and n_spatial in _LINEAR:
        return _LINEAR[n_spatial]
    if mode == "cubic" and n_spatial == 2 and math.isclose(node.attribute("cubic_coeff_a", -0.75), -0.75):
        return "bicubic"
    raise UnsupportedModel(f"it resizes {n_spatial} axes in the mode '{mode}', which torch cannot")


def _is_torchs(
    lengths: list[Size], scales: list[Any] | None, target: list[Size] | None, coordinates: str, rounding: str
) -> bool:
    """Whether torch's nearest neighbour, floor(position / scale), is the one that the file means."""
    if coordinates == "asymmetric" and rounding == "floor":
        return True
    if coordinates not in _CENTRES and not (coordinates == "asymmetric" and rounding == "round_prefer_floor"):
        return False
    factors = scales
    if factors is None:
        assert target is not None
        if any(isinstance(size, Dim) for size in (*target[2:], *lengths[2:])):
            return False
        factors = [size / length for size, length in zip(target, lengths, strict=True)]
    largest = math.inf if coordinates in _CENTRES else 2  # where all rules agree
    return all(float(factor).is_integer() and factor <= largest for factor in factors[2:])


def _nearest(
    node: OnnxNode, scales: list[Any] | None, target: list[Size] | None, coordinates: str, rounding: str
) -> Value:
    """By the numbers of the pixels, one axis after the other."""
    build, x = node.build, node.value(0)
    for axis in range(2, x.ndim):
        length = build.size(x, axis)
        wanted = target[axis] if target is not None else None
        if isinstance(length, Dim) or isinstance(wanted, Dim):
            raise UnsupportedModel(f"it picks pixels by the rule '{coordinates}' from images of varying size")
        n = int(wanted) if wanted is not None else math.floor(length * scales[axis])  # type: ignore[index]
        scale = n / length if scales is None else scales[axis]
        index = _pixels(length, n, scale, coordinates, rounding)
        x = build.call(torch.index_select, x, axis, build.constant(index))
    return x


def _pixels(length: int, n: int, scale: float, coordinates: str, rounding: str) -> torch.Tensor:
    """Which pixel of the input is nearest to each of the `n` of the output."""
    position = torch.arange(n, dtype=torch.float32)  # as runtimes do, or ties fall differently
    if coordinates == "asymmetric":
        place = position / scale
    elif coordinates == _CORNERS:
        place = position * (length - 1) / (n - 1) if n > 1 else position * 0
    elif coordinates in _CENTRES:
        place = (position + 0.5) / scale - 0.5 if n > 1 or coordinates == "half_pixel" else position * 0
    else:
        raise UnsupportedModel(f"it picks pixels by the rule '{coordinates}', which is not covered")
    rounded = {
        "floor": place.floor(),
        "ceil": place.ceil(),
        "round_prefer_floor": (place - 0.5).ceil(),
        "round_prefer_ceil": (place + 0.5).floor(),
    }[rounding]
    return rounded.clamp(0, length - 1).long()


HANDLERS: dict[str, Handler] = {"Resize": _resize, "Upsample": _upsample}
