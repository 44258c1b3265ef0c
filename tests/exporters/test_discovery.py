from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from exporters.discovery import available_formats, format_class, format_names

ROOT = Path(__file__).parents[2]


def test_the_formats_are_the_files() -> None:
    files = {path.stem for path in (ROOT / "exporters" / "formats").glob("[!_]*.py")}
    assert set(format_names()) == files == {info.name for info in available_formats()}


@pytest.mark.parametrize("name", format_names())
def test_every_format_keeps_the_contract(name: str) -> None:
    plugin = format_class(name)
    assert plugin.name == name
    assert plugin.suffix.startswith(".")
    assert plugin.summary and "\n" not in plugin.summary
    assert plugin.made_from is None or plugin.made_from in format_names()
    assert plugin.requires
    assert plugin() == plugin()  # options have defaults and compare by value


def test_listing_formats_and_starting_a_worker_import_no_torch_and_no_runtime() -> None:
    heavy = "{'torch', 'onnx', 'onnxruntime', 'openvino'}"
    code = (
        "import sys, exporters.worker\nfrom exporters.discovery import available_formats\n"
        f"assert available_formats()\nsys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_openvino_reports_nothing_to_its_maker() -> None:
    code = (
        "import sys\nfrom exporters import runtimes\nruntimes.openvino()\n"
        "sys.exit('telemetry' if sys.modules.get('openvino_telemetry') else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
