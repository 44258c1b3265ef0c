from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from compressor.core.errors import CompressionError
from compressor.doctor._layers import layer_of
from compressor.profiling.lab import Arm, Lab, ratio_of
from compressor.profiling.probes import Layer, write_layer
from compressor.profiling.speeds import measure_speeds
from compressor.profiling.work import work_of
from compressor.targets import factory_of

SUFFIXES = {"onnxruntime:cpu": ".onnx", "openvino:cpu": ".onnx", "torch:cpu": ".pt2"}
LAYERS = [
    Layer(8, 12, kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1), sizes=(15, 15)),
    Layer(9, 9, groups=9, kernel=(3, 3), stride=(1, 1), pads=(1, 1, 1, 1), sizes=(7, 7), batch=2),
    Layer(10, 6, sizes=(5,), batch=3),
]


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator = random.Random(0)
    held = 0
    for _ in range(400):
        first = [2.0 * generator.lognormvariate(0, 0.3) for _ in range(9)]
        second = [generator.lognormvariate(0, 0.3) for _ in range(9)]
        found = ratio_of(first, second)
        assert found.low <= found.value <= found.high
        held += found.low <= 2.0 <= found.high
    assert held >= 0.93 * 400


def test_one_interrupted_burst_on_either_side_changes_nothing() -> None:
    quiet = ratio_of([2.0] * 9, [1.0] * 9)
    assert quiet.interval == pytest.approx((2.0, 2.0))
    loud = ratio_of([2.0] * 8 + [50.0], [30.0] + [1.0] * 8)
    assert loud.interval == pytest.approx((2.0, 2.0))


@pytest.mark.parametrize("target", SUFFIXES)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_is_built_and_recognised_again(target: str, layer: Layer, tmp_path: Path) -> None:
    path = write_layer(layer, tmp_path / f"layer{SUFFIXES[target]}")
    with Lab(target, factory_of(target)) as lab:
        profile = lab.nodes(Arm(path, 1), 2, fixed_batch=layer.batch)
    found = [layer_of(node) for node in profile.nodes if layer_of(node) is not None]
    assert len(found) == 1 and found[0] is not None
    assert (found[0].inputs, found[0].outputs, found[0].groups) == (layer.inputs, layer.outputs, layer.groups)
    assert (found[0].kernel, found[0].stride) == (layer.kernel, layer.stride)
    assert np.prod(found[0].input_shape) == np.prod(layer.input_shape)
    outputs = [node.outputs[0] for node in profile.nodes if layer_of(node) is not None]
    assert sum(work_of(node).macs for node in profile.nodes) == np.prod(outputs[0]) * np.prod(layer.weight_shape[1:])


@pytest.mark.parametrize("target", SUFFIXES)
def test_a_race_and_the_machines_speeds(target: str, tmp_path: Path) -> None:
    path = write_layer(LAYERS[0], tmp_path / f"layer{SUFFIXES[target]}", times=1)
    with Lab(target, factory_of(target)) as lab:
        found = lab.race(Arm(path, 1), Arm(path, 1, {"flush_denormals": True}), fixed_batch=1)
        speeds = measure_speeds(lab, 1, SUFFIXES[target], tmp_path)
    assert 0 < found.low <= found.value <= found.high
    assert found.first_s > 0 and found.second_s > 0
    assert speeds.macs_per_s > 0 and speeds.bytes_per_s > 0 and 0 < speeds.operator_s < 0.1


def test_what_the_target_refuses_is_a_sentence(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.onnx"
    rubbish.write_bytes(b"rubbish")
    with Lab("onnxruntime:cpu", factory_of("onnxruntime:cpu")) as lab, pytest.raises(CompressionError, match="rubbish"):
        lab.race(Arm(rubbish, 1), Arm(rubbish, 1))
