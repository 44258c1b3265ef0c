"""Real pickles load; hostile ones are refused, and leave no trace."""

from __future__ import annotations

import builtins
import functools
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compressor.core.errors import ModelFileError, RefusedPickle
from compressor.loading.allow_list import AllowList
from compressor.loading.recognise import FileKind, recognise
from compressor.loading.safe_pickle import read_pickle, read_trusted_pickle

NOTHING = AllowList()


def read(path: Path) -> Any:
    return read_pickle(path, recognise(path), NOTHING)


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


def torchvision_models() -> dict[str, Callable[[], nn.Module]]:
    from torchvision import models

    return {
        "resnet18": models.resnet18,
        "mobilenet_v3_small": models.mobilenet_v3_small,
        "densenet121": models.densenet121,
        "convnext_tiny": models.convnext_tiny,
        "swin_t": models.swin_t,
        "vit": lambda: models.VisionTransformer(32, 8, 2, 2, 32, 64),
    }


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121", "convnext_tiny", "swin_t", "vit"])
def test_torchvision_pickles_load(name: str, save: Callable[..., Path]) -> None:
    pytest.importorskip("torchvision")
    module = torchvision_models()[name]()
    loaded = read(save(module))
    assert type(loaded) is type(module)
    for mine, theirs in zip(loaded.state_dict().values(), module.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", ["convnext_atto", "efficientnet_b0", "vit_tiny_patch16_224"])
def test_timm_pickles_load(name: str, save: Callable[..., Path]) -> None:
    timm = pytest.importorskip("timm")
    module = timm.create_model(name)
    assert read(save(module)).state_dict().keys() == module.state_dict().keys()


def test_transformers_pickles_load(save: Callable[..., Path]) -> None:
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    bert = transformers.BertModel(transformers.BertConfig(vocab_size=50, **small))
    vit = transformers.ViTForImageClassification(transformers.ViTConfig(image_size=32, patch_size=8, **small))
    for module in (bert, vit):
        assert read(save(module)).state_dict().keys() == module.state_dict().keys()


def test_torchs_transformer_loads(save: Callable[..., Path]) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
    assert isinstance(read(save(nn.TransformerEncoder(layer, 2))), nn.TransformerEncoder)


def test_buffers_tied_weights_and_attributes_of_parameters(save: Callable[..., Path]) -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[1].weight = module[0].weight
    module[0].weight.tag = "tied"
    module.scale = nn.Buffer(torch.ones(1))
    loaded = read(save(module))
    assert loaded[0].weight is loaded[1].weight and loaded[0].weight.tag == "tied"
    assert [name for name, _ in loaded.named_buffers()] == ["scale"]


def test_the_old_format_loads_tensors_and_refuses_classes(save: Callable[..., Path]) -> None:
    path = save(small_net().state_dict(), _use_new_zipfile_serialization=False)
    assert recognise(path) is FileKind.TORCH_LEGACY
    assert read(path).keys() == small_net().state_dict().keys()
    with pytest.raises(RefusedPickle, match="format before torch"):
        read(save(small_net(), _use_new_zipfile_serialization=False))


def with_attribute(key: str, value: object) -> nn.Module:
    module = small_net()
    module.__dict__[key] = value
    return module


def with_hook(hook: object) -> nn.Module:
    return with_attribute("_forward_hooks", {0: hook})


def hostile(reduced: Callable[..., Any], sentinel: Path) -> dict[str, Any]:
    touch = f"touch {sentinel}"
    return {
        "os.system": reduced(os.system, touch),
        "eval": reduced(builtins.eval, f"open({str(sentinel)!r}, 'w')"),
        "exec": reduced(builtins.exec, f"open({str(sentinel)!r}, 'w')"),
        "open": reduced(builtins.open, str(sentinel), "w"),
        "getattr": reduced(builtins.getattr, nn.Module, "eval"),
        "torch.load": reduced(torch.load, str(sentinel)),
        "torch.save": reduced(torch.save, 1, str(sentinel)),
        "partial": functools.partial(os.system, touch),
        "call of a partial": reduced(functools.partial(os.system, touch)),
        "inside a state dict": {"weight": torch.ones(2), "extra": reduced(os.system, touch)},
        "beside a module": {"model": small_net(), "extra": reduced(os.system, touch)},
        "a hook": with_hook(functools.partial(os.system, touch)),
        "a harmless hook": with_hook(torch.nn.functional.relu),
        "forward replaced": with_attribute("forward", torch.nn.functional.relu),
        "eval replaced": with_attribute("eval", functools.partial(nn.ReLU)),
        "a child that is no layer": with_attribute("_modules", {"0": torch.nn.functional.relu}),
        "a parameter that is no tensor": with_attribute("_parameters", {"weight": "text"}),
        "a constructor": reduced(nn.Linear, 3, 4),
        "a function": reduced(torch.nn.functional.relu, torch.ones(1)),
        "names that are no names": with_attribute("_buffers", {3: torch.ones(1)}),
        "a layer that is incomplete": with_attribute("_buffers", None),
    }


CASES = sorted(hostile(lambda *_: None, Path("x")))


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_hostile_files_do_not_run(
    case: str, old_format: bool, save: Callable[..., Path], reduced: Callable[..., Any], sentinel: Path
) -> None:
    path = save(hostile(reduced, sentinel)[case], _use_new_zipfile_serialization=not old_format)
    with pytest.raises(ModelFileError) as caught:
        read(path)
    assert caught.value.exit_code == 4
    assert str(path) in str(caught.value)
    assert not sentinel.exists()


def test_a_hostile_file_would_have_run(save: Callable[..., Path], reduced: Callable[..., Any], sentinel: Path) -> None:
    """The sentinel works: what `--trust` reads does run."""
    read_trusted_pickle(save(reduced(os.system, f"touch {sentinel}")))
    assert sentinel.exists()


def test_two_records_of_the_same_name(save: Callable[..., Path], reduced: Callable[..., Any], sentinel: Path) -> None:
    path = save(small_net().state_dict())
    bad = save(reduced(os.system, f"touch {sentinel}"), "bad.pt")
    with zipfile.ZipFile(bad) as archive:
        payload = archive.read("bad/data.pkl")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("model/data.pkl", payload)
    # Python's zip reader would take the last record, torch's takes the first; what is audited is what is loaded.
    assert read(path).keys() == small_net().state_dict().keys()
    assert not sentinel.exists()


def test_hooks_on_parameters_are_refused(save: Callable[..., Path], reduced: Callable[..., Any]) -> None:
    weight = reduced(torch._utils._rebuild_parameter, torch.ones(2), True, {0: torch.nn.functional.relu})
    with pytest.raises(RefusedPickle, match="hooks"):
        read(save(with_attribute("_parameters", {"weight": weight})))


def test_the_scripts_class_gets_its_own_sentence(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import __main__

    net = type("Net", (nn.Module,), {"__module__": "__main__"})
    monkeypatch.setattr(__main__, "Net", net, raising=False)
    path = save(net())
    with pytest.raises(RefusedPickle, match=r"script that saved.*--arch.*--allow"):
        read(path)


def test_other_pickle_protocols_are_named(save: Callable[..., Path]) -> None:
    with pytest.raises(ModelFileError, match="opcode"):
        read(save(small_net(), pickle_protocol=4))


def test_damage_in_the_middle_is_a_sentence(save: Callable[..., Path]) -> None:
    path = save(small_net())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("model/data.pkl")
    data = bytearray(path.read_bytes())
    start = info.header_offset + 200
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"Save it again|save it again"):
        read(path)


def test_a_storage_that_is_not_there(save: Callable[..., Path]) -> None:
    path = save(small_net().state_dict(), _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    key = data.index(b"cpuq")  # a storage's key stands before its device; here the key of the first is changed
    path.write_bytes(data[: key - 12] + b"999" + data[key - 9 :])
    with pytest.raises(ModelFileError, match="damaged"):
        read(path)


def test_trust_names_the_missing_code(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import __main__

    net = type("Gone", (nn.Module,), {"__module__": "__main__"})
    monkeypatch.setattr(__main__, "Gone", net, raising=False)
    path = save(net())
    monkeypatch.delattr(__main__, "Gone")
    with pytest.raises(ModelFileError, match="Gone"):
        read_trusted_pickle(path)
