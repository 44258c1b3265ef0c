from __future__ import annotations

import functools
from pathlib import Path

import pytest
from torch import nn

from compressor.core.errors import InvalidOption, ModelFileError, RefusedPickle
from compressor.loading.allow_list import AllowList
from compressor.loading.pickle_audit import PickleUse


def resolve(*names: str, allow: tuple[str, ...] = (), **uses: set[str]) -> dict[str, object]:
    use = PickleUse(names=set(names), **uses)
    return {path: value for value, path in AllowList(allow).resolve(use, "model.pt")}  # type: ignore[misc]


def test_layers_functions_and_helpers_are_found() -> None:
    names = ("torch.nn.modules.linear.Linear", "torch.nn.functional.relu", "torch._C._nn.gelu", "functools.partial")
    found = resolve(*names)
    assert found["torch.nn.modules.linear.Linear"] is nn.Linear
    assert found["functools.partial"] is functools.partial


def test_torchs_own_names_need_no_entry() -> None:
    assert resolve("torch._utils._rebuild_tensor_v2", "torch.FloatStorage", "collections.OrderedDict") == {}


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "posix.system",
        "builtins.eval",
        "builtins.getattr",
        "builtins.__import__",
        "torch.load",
        "torch.serialization.load",
        "torch.hub.load",
        "torch.nn.modules.module.os.system",
        "torch.nn.modules.module.torch.load",
        "torch.nn.functional.importlib.import_module",
        "torch.nn.functional.boolean_dispatch",  # imported there, defined elsewhere
        "torch.nn.modules.module.register_module_forward_hook",  # a function that is no layer
        "torch.nn.parallel.data_parallel.data_parallel",
        "torchvision.io.image.read_image",
        "torchvision.datasets.folder.ImageFolder",
        "torchvision.models._api.get_model",
        "torchvision.models.feature_extraction.DualGraphModule",  # compiles source text that it carries
        "timm.models._factory.create_model",
        "transformers.pipelines.pipeline",
        "transformers_modules.evil.Net",
        "torchvisionx.Net",
        "timm.__main__.Net",
        "numpy.core.multiarray.scalar",
    ],
)
def test_everything_else_is_refused(name: str) -> None:
    with pytest.raises(RefusedPickle) as caught:
        resolve(name)
    assert name in str(caught.value)
    assert "--allow" in str(caught.value) and "--trust" in str(caught.value) and "--arch" in str(caught.value)


def test_constructors_are_not_called() -> None:
    name = "torch.nn.modules.linear.Linear"
    with pytest.raises(RefusedPickle, match="called while loading"):
        resolve(name, called={name})


def test_functions_are_not_called() -> None:
    name = "torch.nn.functional.relu"
    with pytest.raises(RefusedPickle, match="called while loading"):
        resolve(name, called={name})


def test_partial_of_a_layer_but_not_of_torchs_reader_functions() -> None:
    name = "torch.nn.modules.normalization.LayerNorm"
    assert resolve(name, wrapped={name})
    with pytest.raises(RefusedPickle, match="wrapped"):
        resolve("torch._tensor._rebuild_from_type_v2", wrapped={"torch._tensor._rebuild_from_type_v2"})


def test_partial_of_transformers_constructors_is_refused() -> None:
    pytest.importorskip("transformers")
    name = "transformers.models.bert.modeling_bert.BertModel"
    with pytest.raises(RefusedPickle, match="wrapped"):
        resolve(name, wrapped={name})


def test_hidden_calls_are_refused() -> None:
    with pytest.raises(RefusedPickle, match="hides"):
        resolve(hidden={"a value that is not a name"})


@pytest.fixture
def my_pkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "allow_pkg").mkdir()
    (tmp_path / "allow_pkg" / "__init__.py").write_text("")
    (tmp_path / "allow_pkg" / "nets.py").write_text(
        "import os\nfrom torch import nn\nclass Net(nn.Module):\n    pass\ndef make():\n    return Net()\n"
    )
    (tmp_path / "allow_pkg" / "broken.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    return "allow_pkg."


def test_a_named_package_is_allowed(my_pkg: str) -> None:
    assert resolve("allow_pkg.nets.Net", "allow_pkg.nets.make", allow=(my_pkg,), called={"allow_pkg.nets.make"})


def test_a_named_package_does_not_lend_what_it_imports(my_pkg: str) -> None:
    for name in ("allow_pkg.nets.os.system", "allow_pkg.nets.nn"):
        with pytest.raises(RefusedPickle):
            resolve(name, allow=(my_pkg,))


def test_the_scripts_class_is_found_in_a_named_module(my_pkg: str) -> None:
    assert resolve("__main__.Net", allow=("allow_pkg.nets",))["__main__.Net"].__name__ == "Net"  # type: ignore[attr-defined]
    with pytest.raises(RefusedPickle, match="script that saved"):
        resolve("__main__.Net")


def test_a_named_package_that_fails_to_import(my_pkg: str) -> None:
    with pytest.raises(ModelFileError, match="ZeroDivisionError"):
        resolve("allow_pkg.broken.Net", allow=(my_pkg,))


@pytest.mark.parametrize("prefix", ["", "os", "builtins.", "subprocess", "torch", "my-pkg", "a..b", "*"])
def test_bad_prefixes(prefix: str) -> None:
    with pytest.raises(InvalidOption, match="--allow"):
        AllowList((prefix,))
