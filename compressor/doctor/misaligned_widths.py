"""A layer that a wider one beats: its runtime computes blocks of channels, and the last block is half empty, or worse.

Experiment: the layer alone, at its width and at the next multiple of the block, in turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressor.core.findings import Finding
from compressor.core.node_times import NodeTime
from compressor.doctor._case import Case, percent, place
from compressor.doctor._layers import layer_of
from compressor.profiling.lab import Arm, Ratio
from compressor.profiling.probes import Layer, write_layer

_BLOCK = 8  # float32 numbers in an AVX2 register; runtimes for wider ones fill blocks of 16 with two
_FEW = 4  # input channels: an image's, which nobody can widen
_MOST = 8  # layers that are tried
_SMALLEST_SHARE = 0.01  # of the time, for a layer to be tried
_FREE = 0.97  # the narrow layer's time over the wide one's, from where on the wide one is free
_REPEATS = 4  # so that changes of layout at either end count for less


@dataclass(frozen=True)
class MisalignedWidths:
    """Layers for which the next aligned width is free, or faster."""

    summary: ClassVar[str] = "a channel count just off the runtime's blocks: a wider layer is not slower"

    def examine(self, case: Case) -> list[Finding]:
        """Tries the costliest distinct layers whose widths are no multiples of 8."""
        found: list[Finding] = []
        tried: dict[Layer, Ratio] = {}
        for node in case.costliest():
            layer = layer_of(node)
            share = case.share([node])
            if layer is None or share < _SMALLEST_SHARE:
                continue
            wide = _aligned(layer)
            if wide == layer or (layer not in tried and len(tried) == _MOST):
                continue
            if layer not in tried:
                tried[layer] = _race(case, layer, wide)
            if tried[layer].low >= _FREE:
                found.append(_finding(node, layer, wide, tried[layer], share))
        return found


def _aligned(layer: Layer) -> Layer:
    inputs = layer.inputs if layer.inputs <= _FEW else _up(layer.inputs)
    depthwise = layer.groups == layer.inputs
    if layer.groups > 1 and not depthwise:
        return layer
    outputs = inputs * (layer.outputs // layer.inputs) if depthwise and layer.groups > 1 else _up(layer.outputs)
    return layer.widened(inputs, outputs)


def _up(width: int) -> int:
    return -(-width // _BLOCK) * _BLOCK


def _race(case: Case, narrow: Layer, wide: Layer) -> Ratio:
    suffix = ".pt2" if case.file.suffix == ".pt2" else ".onnx"
    times = _REPEATS if narrow.repeatable and wide.repeatable else 1
    number = len(list(case.folder.glob("narrow*")))
    arms = [
        Arm(write_layer(layer, case.folder / f"{name}{number}{suffix}", times), case.threads)
        for name, layer in (("narrow", narrow), ("wide", wide))
    ]
    return case.lab.race(*arms, line=_FREE, fixed_batch=narrow.batch)


def _finding(node: NodeTime, narrow: Layer, wide: Layer, ratio: Ratio, share: float) -> Finding:
    words = f"{narrow.inputs} to {narrow.outputs} channels take {ratio.value:.2f} times as long as"
    words += f" {wide.inputs} to {wide.outputs}"
    if ratio.value < 1:
        words += ", so the last channels that were cut gained next to nothing"
    return Finding(
        cause="misaligned_widths",
        layer=place(node),
        evidence=f"Timed alone, {words}; the layer is {percent(share)} of the time.",
        advice=f"Keep a multiple of {_BLOCK} channels here: --round-to {_BLOCK}.",
        ratio=ratio.value,
        interval=ratio.interval,
        share=share,
    )


PLUGIN = MisalignedWidths
