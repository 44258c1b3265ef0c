"""For each cause that the doctor knows, a model in which it was planted, and the same model without it.

The effects were measured before they were chosen: on an x86 processor with AVX2 the planted model is slower by a factor
that no other program on the machine can hide.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

TARGET = "onnxruntime:cpu"


@dataclass(frozen=True)
class Patient:
    """A file and how it runs."""

    file: Path
    threads: int = 1
    batch_size: int = 1
    before: Path | None = None  # what it was made from, for causes that compare


@dataclass(frozen=True)
class Planted:
    """One cause: where it is, and where it is not."""

    cause: str
    sick: Patient
    healthy: Patient


class Network:
    """Writes an ONNX file layer by layer."""

    def __init__(self, shape: Sequence[int | str], dtype: Any = np.float32) -> None:
        self._shape, self._dtype = list(shape), np.dtype(dtype)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)
        self.last = "x"

    def add(self, operator: str, *inputs: str, module: str = "", **attributes: Any) -> str:
        """One node; without inputs it reads the last one's result."""
        number = len(self._nodes)
        self.last, given = f"v{number}", inputs or (self.last,)
        name = f"/{module or f'part{number}'}/{operator}"
        self._nodes.append(helper.make_node(operator, list(given), [self.last], name=name, **attributes))
        return self.last

    def constant(self, values: np.ndarray) -> str:
        """A weight."""
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values.astype(self._dtype), name))
        return name

    def indices(self, values: Sequence[int]) -> str:
        """A constant of integers."""
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def convolution(self, inputs: int, outputs: int, kernel: int = 3, groups: int = 1, module: str = "") -> str:
        """With padding that keeps the size."""
        shape = (outputs, inputs // groups, kernel, kernel)
        weight = self._random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        pads, reading = [kernel // 2] * 4, self.last
        return self.add("Conv", reading, self.constant(weight), module=module, group=groups, pads=pads)

    def save(self, path: Path, metadata: dict[str, str] | None = None) -> Path:
        """As a file with one input and one output."""
        kind = helper.np_dtype_to_tensor_dtype(self._dtype)
        given = helper.make_tensor_value_info("x", kind, self._shape)
        result = helper.make_tensor_value_info(self.last, kind, None)
        graph = helper.make_graph(self._nodes, "planted", [given], [result], self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        if metadata:
            helper.set_model_props(model, metadata)
        onnx.save(model, path)
        return path


def misaligned_widths(folder: Path) -> Planted:
    """Depthwise convolutions of 129 channels, which ONNX Runtime's blocked kernels cannot take; and of 136."""

    def write(width: int) -> Path:
        network = Network((1, 16, 28, 28))
        network.convolution(16, width, 1, module="stem")
        for i in range(6):
            network.convolution(width, width, 3, groups=width, module=f"block{i}.depthwise")
            network.add("Relu", module=f"block{i}.relu")
        network.convolution(width, 16, 1, module="head")
        return network.save(folder / f"depthwise{width}.onnx")

    return Planted("misaligned_widths", Patient(write(129)), Patient(write(136)))


def denormals(folder: Path) -> Planted:
    """A scale of 1e-41 in front of a logarithm, which takes the processor's slow way; and a scale of 1."""

    def write(scale: float) -> Path:
        network = Network((1, 16, 96, 96))
        network.convolution(16, 16, module="stem")
        for i in range(4):
            network.add("Abs", module=f"block{i}.abs")
            weight = network.constant(np.full((1, 16, 1, 1), scale))
            network.add("Mul", network.last, weight, module=f"block{i}.scale")
            network.add("Log", module=f"block{i}.log")
            bounds = [network.constant(np.array(bound)) for bound in (-100.0, 100.0)]  # the logarithm of zero
            network.add("Clip", network.last, *bounds, module=f"block{i}.clip")
        return network.save(folder / f"scale{scale:g}.onnx")

    return Planted("denormals", Patient(write(1e-41)), Patient(write(1.0)))


def overhead(folder: Path) -> Planted:
    """A hundred convolutions of 8 channels on one pixel; and the same ones on 256 x 256."""

    def write(size: int) -> Path:
        network = Network((1, 8, size, size))
        for i in range(100):
            network.convolution(8, 8, 1, module=f"layer{i}")
        return network.save(folder / f"pixels{size}.onnx")

    return Planted("overhead", Patient(write(1)), Patient(write(256)))


def memory_bound(folder: Path) -> Planted:
    """Three matrices of 64 MiB, each read for one vector; and for a batch of 64."""
    network = Network(("batch", 4096))
    for i in range(3):
        weight = network.constant(np.random.default_rng(i).standard_normal((4096, 4096)) / 64)
        network.add("MatMul", network.last, weight, module=f"layer{i}")
    file = network.save(folder / "matrices.onnx")
    return Planted("memory_bound", Patient(file), Patient(file, batch_size=64))


def lost_fusion(folder: Path) -> Planted:
    """Residual blocks whose convolutions end in a gather that puts removed channels back; and without the gather."""

    def write(width: int, *, expand: bool) -> Path:
        network = Network((1, 32, 28, 28))
        network.convolution(32, 32, module="stem")
        network.add("Relu", module="stem.relu")
        for i in range(4):
            start = network.last
            network.convolution(32, width, module=f"block{i}.conv1")
            network.add("Relu", module=f"block{i}.relu1")
            network.convolution(width, 24 if expand else 32, module=f"block{i}.conv2")
            if expand:
                indices = network.indices([min(c, 23) for c in range(32)])
                network.add("Gather", network.last, indices, module=f"block{i}.expand", axis=1)
            network.add("Add", network.last, start, module=f"block{i}")
            network.add("Relu", module=f"block{i}.relu2")
        return network.save(folder / f"residual{width}{'-gather' if expand else ''}.onnx")

    before = write(32, expand=False)
    return Planted(
        "lost_fusion",
        Patient(write(24, expand=True), before=before),
        Patient(write(24, expand=False), before=before),
    )


def fallback(folder: Path) -> Planted:
    """A multilayer perceptron in double precision; and in single precision."""

    def write(dtype: Any) -> Path:
        network = Network((1, 16, 256), dtype)
        for i in range(4):
            weight = network.constant(np.random.default_rng(i).standard_normal((256, 256)) / 16)
            network.add("MatMul", network.last, weight, module=f"block{i}.linear")
            network.add("Relu", module=f"block{i}.relu")
        return network.save(folder / f"{np.dtype(dtype).name}.onnx")

    return Planted("fallback", Patient(write(np.float64)), Patient(write(np.float32)))


def too_many_threads(folder: Path) -> Planted:
    """Small convolutions with 32 threads on each core; and with one in all."""
    file = _small(folder / "small.onnx", size=16)
    return Planted("too_many_threads", Patient(file, threads=32 * (os.cpu_count() or 1)), Patient(file))


def throughput_mode(folder: Path) -> Planted:
    """A chain of small convolutions whose file asks for parallel execution; and one that asks for nothing."""
    wish = {"ort_config": json.dumps({"session_options": {"execution_mode": 1}})}
    asking, silent = _small(folder / "asking.onnx", wish), _small(folder / "silent.onnx")
    return Planted("throughput_mode", Patient(asking, threads=2), Patient(silent, threads=2))


def _small(path: Path, metadata: dict[str, str] | None = None, size: int = 8) -> Path:
    network = Network((1, 16, size, size))
    for i in range(60):
        network.convolution(16, 16, module=f"layer{i}.conv")
        network.add("Sigmoid", module=f"layer{i}.act")
    return network.save(path, metadata)


PLANTED: tuple[Callable[[Path], Planted], ...] = (
    denormals,
    fallback,
    lost_fusion,
    memory_bound,
    misaligned_widths,
    overhead,
    throughput_mode,
    too_many_threads,
)
