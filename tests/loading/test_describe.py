from __future__ import annotations

import pytest
from torch import nn

from compressor.loading.describe import describe_tensors, guess_architecture


def test_a_description_has_counts_and_both_ends() -> None:
    tensors = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 10)).state_dict()
    text = describe_tensors(tensors)
    assert text.startswith("9 tensors with 330 parameters")  # 8*3*9 + 8 + 8 + 8 + 80 + 10
    assert "first layer 0.weight (8, 3, 3, 3), last layer 3.weight (10, 8)" in text
    assert "3 input channels, 10 outputs" in text


def test_a_description_without_layers() -> None:
    assert describe_tensors({"scale": nn.Parameter()}) == "1 tensors with 0 parameters"


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torchvisions_families_are_recognised(name: str, prefix: str) -> None:
    models = pytest.importorskip("torchvision").models
    tensors = models.get_model(name, weights=None, num_classes=10).state_dict()
    assert guess_architecture({prefix + key: tensor for key, tensor in tensors.items()}) == f"torchvision:{name}"


def test_timms_families_are_recognised() -> None:
    timm = pytest.importorskip("timm")
    assert guess_architecture(timm.create_model("convnext_atto").state_dict()) == "timm:convnext_atto"


def test_strangers_are_not_guessed() -> None:
    assert guess_architecture(nn.Sequential(nn.Linear(3, 3)).state_dict()) == ""
