from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from compressor.core.errors import InvalidOption, ModelFileError, RefusedPickle, WeightsMismatch
from compressor.loading.model_file import load_model


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )


FACTORY = (
    "from torch import nn\n"
    "def make(n_classes=5):\n"
    "    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
    " nn.Linear(4, n_classes))\n"
    "class Net(nn.Sequential):\n    pass\n"
)


@pytest.fixture
def arch(tmp_path: Path) -> str:
    (tmp_path / "file_nets.py").write_text(FACTORY)
    return f"{tmp_path / 'file_nets.py'}:make"


def test_a_whole_module(save: Callable[..., Path]) -> None:
    module = net().train()
    path = save(module)
    loaded = load_model(path)
    assert not loaded.module.training
    assert loaded.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.inputs.tensors[0].shape == (1, 3, 32, 32)
    assert loaded.description == "a whole module (Sequential)" and loaded.rebuild == ""
    x = loaded.inputs.tensors[0]
    assert torch.equal(loaded.module(x), module.eval()(x))
    assert "first layer" in str(loaded)


@pytest.mark.parametrize("form", ["pt", "safetensors", "nested", "parallel", "legacy"])
def test_a_state_dict_with_its_architecture(form: str, save: Callable[..., Path], tmp_path: Path, arch: str) -> None:
    module = net().eval()
    tensors = module.state_dict()
    if form == "safetensors":
        path = tmp_path / "model.safetensors"
        safetensors.torch.save_file(tensors, path)
    elif form == "nested":
        path = save({"state_dict": tensors, "epoch": 2})
    elif form == "parallel":
        path = save({"module." + name: tensor for name, tensor in tensors.items()})
    else:
        path = save(tensors, _use_new_zipfile_serialization=form != "legacy")
    loaded = load_model(path, arch=arch, arch_args=["n_classes=5"], inputs=["2x3x16x16"])
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(loaded.module(x), module(x))
    assert loaded.rebuild == f"--arch {arch} --arch-args n_classes=5" and loaded.inputs_from == "--input"


def test_without_an_architecture_the_file_is_described(save: Callable[..., Path]) -> None:
    models = pytest.importorskip("torchvision").models
    with pytest.raises(InvalidOption) as caught:
        load_model(save(models.resnet18(num_classes=10).state_dict()))
    said = str(caught.value)
    assert "122 tensors" in said and "3 input channels, 10 outputs" in said and "--arch torchvision:resnet18" in said
    assert caught.value.exit_code == 2


def test_the_wrong_architecture(save: Callable[..., Path], arch: str) -> None:
    with pytest.raises(WeightsMismatch, match=r"4\.weight is \(5, 4\) in the file, \(7, 4\) in the model"):
        load_model(save(net().state_dict()), arch=arch, arch_args={"n_classes": 7})


def test_arguments_without_an_architecture(save: Callable[..., Path]) -> None:
    with pytest.raises(InvalidOption, match="together with --arch"):
        load_model(save(net()), arch_args=["n_classes=5"])


def test_half_precision_is_converted_and_said(save: Callable[..., Path]) -> None:
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        notes: list[str] = []
        loaded = load_model(save(net().to(kind)), note=notes.append)
        assert {p.dtype for p in loaded.module.parameters()} == {torch.float32}
        assert len(notes) == 1 and str(kind).removeprefix("torch.") in notes[0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_numbers(value: float, save: Callable[..., Path]) -> None:
    module = net()
    module[4].weight.data[1, 2] = value
    with pytest.raises(ModelFileError, match=r"1 of the 20 values of '4\.weight'"):
        load_model(save(module))


def test_infinite_masks_are_fine_and_statistics_are_not(save: Callable[..., Path]) -> None:
    module = net()
    module.register_buffer("mask", torch.full((2,), -math.inf))
    load_model(save(module))
    module[1].running_var[0] = math.inf
    with pytest.raises(ModelFileError, match=r"1\.running_var"):
        load_model(save(module))


def test_wrappers_are_taken_off(save: Callable[..., Path]) -> None:
    assert type(load_model(save(nn.DataParallel(net()))).module) is nn.Sequential


def test_a_module_without_weights(save: Callable[..., Path]) -> None:
    with pytest.raises(ModelFileError, match="meta"):
        load_model(save(net().to("meta")))


def test_an_unneeded_architecture_and_a_key_are_said(save: Callable[..., Path]) -> None:
    notes: list[str] = []
    load_model(save({"model": net()}), arch="torchvision:resnet18", note=notes.append)
    assert len(notes) == 2 and "not needed" in notes[0] and "'model'" in notes[1]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_files(suffix: str, share: float, save: Callable[..., Path], tmp_path: Path) -> None:
    path = save(net())
    if suffix == ".safetensors":
        path = tmp_path / "model.safetensors"
        safetensors.torch.save_file(net().state_dict(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelFileError, match=r"cut short|damaged"):
        load_model(path)


def test_a_truncated_old_file(save: Callable[..., Path], arch: str) -> None:
    path = save(net().state_dict(), _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    for share in (0.2, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ModelFileError):
            load_model(path, arch=arch)


def test_users_own_classes(save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved by one process, read by this one, which knows the class only by `--allow`."""
    (tmp_path / "mine_nets.py").write_text(FACTORY)
    script = "import torch, mine_nets; torch.save(mine_nets.Net(*mine_nets.make()), 'model.pt')"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    with pytest.raises(RefusedPickle, match=r"mine_nets\.Net .*--allow mine_nets\."):
        load_model("model.pt")
    assert "mine_nets" not in sys.modules
    assert type(load_model("model.pt", allow=["mine_nets."]).module).__name__ == "Net"
    assert type(load_model("model.pt", trust=True).module).__name__ == "Net"
    assert sys.path == path


def test_trust_is_needed_to_run_anything(
    save: Callable[..., Path], reduced: Callable[..., Any], sentinel: Path
) -> None:
    path = save({"model": net(), "extra": reduced(os.system, f"touch {sentinel}")})
    with pytest.raises(RefusedPickle):
        load_model(path)
    assert not sentinel.exists()
    load_model(path, trust=True)
    assert sentinel.exists()
