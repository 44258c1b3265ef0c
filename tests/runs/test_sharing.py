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
    options = RunOptions(model=f"{folder}/net.pt", data=folder, arch=f"{folder}/m.py:make", output="out")
    here = str(Path("out").absolute())
    value = Shared(
        f"compress --data {folder} {folder}/net.pt",
        (f"written to {here}", "kept"),
        {"arch": f"{folder}/m.py:make", "seed": 3, "input": ["1x3x8x8"]},
    )
    found = without_folders(value, options)
    assert found == Shared(
        "compress --data secret net.pt",
        ("written to out", "kept"),
        {"arch": "m.py:make", "seed": 3, "input": ["1x3x8x8"]},
    )


def test_relative_paths_stay():
    options = RunOptions(model="models/net.pt")
    assert without_folders("compress models/net.pt", options) == "compress models/net.pt"
