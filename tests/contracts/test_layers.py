"""The architecture, the linters and the names hold: what nobody has to check by eye."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import compressor
from compressor.core.plugins import PluginFolder

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PYTHON_FOLDERS = ["compressor", "exporters", "tests", "benchmarks", "deploy_examples"]
PLUGINS = {
    "compressor.methods": "tests/methods",
    "compressor.recovery": "tests/recovery",
    "compressor.targets": "tests/targets",
    "compressor.training.losses": "tests/training/losses",
    "compressor.training.augmentations": "tests/training/augmentations",
    "compressor.training.penalties": "tests/training/penalties",
    "compressor.training.regularizers": "tests/training/regularizers",
    "compressor.training.trackers": "tests/training/trackers",
    "exporters.formats": "tests/exporters/formats",
}


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)


def tool(name, *arguments):
    if not (BIN / name).exists():
        pytest.skip(f"{name} is not installed. Run: pip install -e '.[test]'")
    return run(str(BIN / name), *arguments)


def passes(done):
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"


def test_imports_point_one_way():
    passes(tool("lint-imports", "--no-cache"))


def test_ruff():
    passes(tool("ruff", "check", "--no-cache", "--output-format", "concise", *PYTHON_FOLDERS))


def test_format():
    passes(tool("ruff", "format", "--no-cache", "--check", *PYTHON_FOLDERS))


def test_types():
    passes(tool("mypy"))


@pytest.mark.parametrize(
    "statement",
    [
        "import compressor, exporters",
        "import compressor.cli.main",
        "import compressor.report.html, compressor.report.terminal, compressor.report.schema",
        "from compressor.cli.main import main; main(['--version'])",
        "from compressor.cli.main import main; main(['--help'])",
        "from compressor.cli.main import main; main(['inspect', '--help'])",
        "from compressor.cli.main import main; main(['no-such-file.pt'])",
    ],
)
def test_no_torch_where_none_is_needed(statement):
    """Importing PyTorch takes seconds; help and refusals must not wait for it."""
    script = f"""
import sys
try:
    {statement}
except SystemExit:
    pass
heavy = sorted({{"torch", "numpy", "onnxruntime", "openvino", "accelerate"}} & set(sys.modules))
print(*heavy)
"""
    done = run(sys.executable, "-c", script)
    passes(done)
    assert done.stdout.splitlines()[-1] == ""


def test_the_changelog_tells_of_this_version():
    top = re.search(r"^## \[?(\d+\.\d+\.\d+\S*?)\]?(\s|$)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert top and top[1] == compressor.__version__


@pytest.mark.parametrize("package", PLUGINS)
def test_every_plugin_has_a_test_of_its_name(package):
    names = PluginFolder(package, "plug-in").names()
    missing = [name for name in names if not (ROOT / PLUGINS[package] / f"test_{name}.py").is_file()]
    assert names and not missing


def test_public_names_exist():
    for name in compressor.__all__:
        assert getattr(compressor, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = compressor.nothing


def test_nothing_of_ours_imports_relatively_or_leaves_work():
    sources = [*(ROOT / "compressor").rglob("*.py"), *(ROOT / "exporters").rglob("*.py")]
    assert len(sources) > 100
    for source in sources:
        text = source.read_text()
        assert not re.search(r"^\s*from \.", text, flags=re.MULTILINE), source
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", text), source
