"""No absolute path of the user's machine stands in what is shared."""

from dataclasses import dataclass
from pathlib import Path

from compressor.core.options import RunOptions
from compressor.runs.sharing import without_folders


@dataclass(frozen=True)
class Shared:
    command: str
    notes: tuple[str, ...]
    options: dict


def test_absolute_paths_are_cut_to_names_everywhere():
    folder = "/home/ada/secret"
    files = {"model": f"{folder}/net.pt", "arch": f"{folder}/m.py:make", "control": f"{folder}/small.xml"}
    options = RunOptions(**files, control_arch=f"{folder}/c.py:make", data=folder, output="out")
    here = str(Path("out").absolute())
    value = Shared(
        f"compress --data {folder} {folder}/net.pt",
        (f"written to {here}", f"The control {folder}/small.xml, {folder}/c.py:make"),
        {"arch": f"{folder}/m.py:make", "seed": 3, "input": ["1x3x8x8"]},
    )
    found = without_folders(value, options)
    assert found == Shared(
        "compress --data secret net.pt",
        ("written to out", "The control small.xml, c.py:make"),
        {"arch": "m.py:make", "seed": 3, "input": ["1x3x8x8"]},
    )


def test_relative_paths_stay():
    options = RunOptions(model="models/net.pt")
    assert without_folders("compress models/net.pt", options) == "compress models/net.pt"
