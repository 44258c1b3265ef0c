"""A model file is pruned as the live module is: the same groups, the same plan, the same small model."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import compressor
from compressor.loading.model_file import load_model
from tests.loading.programs.conftest import shapes_of
from tests.loading.programs.networks import network, randomised

CIFAR = Path(__file__).parents[3] / "benchmarks" / "cifar_resnet.py"
KEPT = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}


def cifar_resnet() -> nn.Module:
    spec = importlib.util.spec_from_file_location("cifar_resnet", CIFAR)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    return randomised(module.CifarResNet(1))


def pruned(module: nn.Module, inputs: object) -> compressor.CompressedModel:
    return compressor.compress(module, inputs, method="l1", macs=0.6)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["pt2", "trace", "onnx"])
def test_a_residual_network_with_padded_shortcuts(form: str, write: Callable[..., Path]) -> None:
    module, inputs = cifar_resnet(), (torch.randn(2, 3, 32, 32),)
    path = write(form, module, inputs, **(KEPT if form == "onnx" else {}))
    loaded = load_model(path, inputs=shapes_of(inputs) if form in ("trace", "script") else ())
    expected, found = pruned(module, inputs), pruned(loaded.module, loaded.inputs)
    assert found.plan.groups == expected.plan.groups
    assert {cut.tensor: cut.keep for cut in found.plan.cuts} == {cut.tensor: cut.keep for cut in expected.plan.cuts}
    with torch.no_grad():
        torch.testing.assert_close(found.module(inputs[0]), expected.module(inputs[0]), rtol=1e-4, atol=1e-5)


def test_folded_batch_norms_leave_the_groups_as_they_are(write: Callable[..., Path]) -> None:
    """Their scales are in the convolutions' weights then, so a criterion on weights may choose other channels."""
    module, inputs = cifar_resnet(), (torch.randn(2, 3, 32, 32),)
    loaded = load_model(write("onnx", module, inputs))
    expected, found = pruned(module, inputs), pruned(loaded.module, loaded.inputs)
    assert found.plan.groups.keys() == expected.plan.groups.keys()


@pytest.mark.parametrize("form", ["pt2", "trace", "onnx"])
def test_reshapes_that_hold_numbers_of_channels(form: str, write: Callable[..., Path]) -> None:
    module, inputs = network("shuffle")[0], (torch.randn(2, 3, 20, 24),)
    loaded = load_model(write(form, module, inputs), inputs=shapes_of(inputs) if form == "trace" else ())
    expected, found = pruned(module, inputs), pruned(loaded.module, loaded.inputs)
    assert found.plan.groups == expected.plan.groups
    assert found.plan.macs == expected.plan.macs
    with torch.no_grad():
        torch.testing.assert_close(found.module(inputs[0]), expected.module(inputs[0]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["pt2", "trace", "onnx"])
def test_reasons_name_layers_and_no_code_in_memory(form: str, write: Callable[..., Path]) -> None:
    """A file has no source lines: what blocks is said by the layer that executes it."""

    class Picked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 1), nn.Linear(3, 5)
            self.other = nn.Conv2d(3, 8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            picked = torch.flip(self.conv(x), [1]).mean((2, 3))[:, :3]
            return self.head(picked) + self.other(x).mean((1, 2, 3))[:, None]

    inputs = (torch.randn(2, 3, 20, 24),)
    loaded = load_model(write(form, Picked(), inputs), inputs=shapes_of(inputs) if form == "trace" else ())
    found = compressor.inspect(loaded.module, loaded.inputs)
    reasons = {group.name: group.reason for group in found.blocked}
    assert "its positions are" in reasons["conv"] or "by number" in reasons["conv"]
    assert ".py" not in reasons["conv"] and "<" not in reasons["conv"]
    assert "at layer " in reasons["conv"] or "at the model's own code" in reasons["conv"]
