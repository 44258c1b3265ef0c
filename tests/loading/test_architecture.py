from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

from compressor.core.errors import InvalidOption, MissingDependency
from compressor.loading.architecture import build, parse_arch_args, rebuild_note


def test_arguments_are_literals_or_strings() -> None:
    assert parse_arch_args(["num_classes=10", "act=relu,widths=(1, 2)", "name=a-b/c"]) == {
        "num_classes": 10,
        "act": "relu",
        "widths": (1, 2),
        "name": "a-b/c",
    }
    assert parse_arch_args(["pretrained=None", "p=0.5", "path=C:\\x y"]) == {
        "pretrained": None,
        "p": 0.5,
        "path": "C:\\x y",
    }


@pytest.mark.parametrize("text", ["", "10", "=10", "a b=1", "**x"])
def test_bad_arguments(text: str) -> None:
    with pytest.raises(InvalidOption, match="NAME=VALUE"):
        parse_arch_args([text])


def test_an_argument_twice() -> None:
    with pytest.raises(InvalidOption, match="once"):
        parse_arch_args(["a=1", "a=2"])


def test_torchvision_and_timm() -> None:
    pytest.importorskip("torchvision")
    pytest.importorskip("timm")
    assert build("torchvision:resnet18", {"num_classes": 10}).fc.out_features == 10  # type: ignore[union-attr]
    assert build("timm:resnet10t", {"num_classes": 4}).get_classifier().out_features == 4  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arch", "near"), [("torchvision:resnet81", "torchvision:resnet18"), ("timm:convnext_ato", "timm:convnext_atto")]
)
def test_unknown_names_get_a_suggestion(arch: str, near: str) -> None:
    pytest.importorskip(near.split(":")[0])
    with pytest.raises(InvalidOption, match=near):
        build(arch, {})


@pytest.mark.parametrize("arch", ["resnet18", "torchvision:", ":x", "timm:hf-hub:someone/model", "torchvision:../x"])
def test_what_is_no_architecture(arch: str) -> None:
    with pytest.raises(InvalidOption, match="--arch"):
        build(arch, {})


@pytest.mark.parametrize(
    ("package", "extra"), [("torchvision", "vision"), ("timm", "vision"), ("transformers", "transformers")]
)
def test_a_missing_package_names_the_extra(
    package: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=rf"compressor\[{extra}\]"):
        build(f"{package}:{tmp_path if package == 'transformers' else 'resnet18'}", {})


def test_a_transformers_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(image_size=32, patch_size=8, architectures=["ViTForImageClassification"], **small)
    config.save_pretrained(tmp_path)
    assert type(build(f"transformers:{tmp_path}", {})).__name__ == "ViTForImageClassification"
    with pytest.raises(InvalidOption, match=r"config\.json"):
        build(f"transformers:{tmp_path / 'nowhere'}", {})


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "arch_helper.py").write_text("WIDTH = 5\n")
    (tmp_path / "arch_nets.py").write_text(
        "import arch_helper\nfrom torch import nn\n"
        "def make_model(n=2):\n    return nn.Linear(n, arch_helper.WIDTH)\n"
        "def number():\n    return 3\n"
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        raise ValueError('no width')\n"
    )
    (tmp_path / "arch_broken.py").write_text("import nothing_of_the_kind\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("arch", ["arch_nets.py:make_model", "arch_nets:make_model"])
def test_own_code(arch: str, own: Path) -> None:
    path = list(sys.path)
    module = build(arch, {"n": 4})
    assert isinstance(module, nn.Linear) and module.weight.shape == (5, 4)
    assert sys.path == path


def test_own_code_by_a_path_elsewhere(
    own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert isinstance(build(f"{own / 'arch_nets.py'}:make_model", {}), nn.Linear)


@pytest.mark.parametrize(
    ("arch", "options", "said"),
    [
        ("arch_nets.py:make_modle", {}, "make_model"),
        ("arch_nets.py:zzz", {}, "It defines: make_model"),
        ("arch_nets.py:number", {}, "It gave a int"),
        ("arch_nets.py:Net", {}, "ValueError: no width"),
        ("arch_nets.py:make_model", {"depth": 3}, "depth=3"),
        ("arch_broken.py:Net", {}, "nothing_of_the_kind"),
        ("nowhere.py:Net", {}, "file that exists"),
        ("nowhere_at_all:Net", {}, "nowhere_at_all"),
    ],
)
def test_mistakes_in_own_code(own: Path, arch: str, options: dict[str, object], said: str) -> None:
    path = list(sys.path)
    with pytest.raises(InvalidOption, match=said):
        build(arch, options)
    assert sys.path == path


def test_the_note_is_what_to_type() -> None:
    assert rebuild_note("timm:x", {"num_classes": 10}) == "--arch timm:x --arch-args num_classes=10"
    assert rebuild_note("my net.py:f", {"w": (1, 2)}) == "--arch 'my net.py:f' --arch-args 'w=(1, 2)'"
