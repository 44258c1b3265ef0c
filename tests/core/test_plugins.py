"""Plug-ins are found by file name; what is wrong with one is said in one sentence."""

import sys

import pytest

from compressor.core.errors import ContractViolation, MissingDependency, UnknownPlugin
from compressor.core.plugins import PluginFolder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    package = tmp_path / "my_plugins"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "_shared": "raise RuntimeError",
        "good": "class Good: pass\nPLUGIN = Good",
        "empty": "",
        "missing": "import no_such_package.inside",
        "broken": "import compressor.no_such_module",
    }.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield PluginFolder("my_plugins", "test plug-in")
    for name in [name for name in sys.modules if name.startswith("my_plugins")]:
        del sys.modules[name]


def test_names_without_importing(folder):
    assert folder.names() == ["broken", "empty", "good", "missing"]
    assert "my_plugins.good" not in sys.modules


def test_the_class(folder):
    assert folder.load("good").__name__ == "Good"


def test_what_is_wrong(folder):
    with pytest.raises(UnknownPlugin, match=r"No test plug-in is named 'goood'\. Did you mean 'good'"):
        folder.load("goood")
    with pytest.raises(UnknownPlugin):
        folder.require("_shared")
    with pytest.raises(MissingDependency, match=r"'missing' needs the package 'no_such_package'.*no-such-package"):
        folder.load("missing")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):  # ours: a bug, not a missing extra
        folder.load("broken")
    with pytest.raises(ContractViolation, match="must end with `PLUGIN"):
        folder.load("empty")
    with pytest.raises(ContractViolation, match="must be a package"):
        PluginFolder("json.decoder", "test plug-in").names()
