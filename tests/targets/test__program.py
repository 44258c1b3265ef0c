from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from compressor.core.errors import ModelFileError
from compressor.targets._program import load_program, make_arguments


def test_arguments_follow_the_program(pt2_file: Path) -> None:
    args, kwargs = make_arguments(load_program(pt2_file), 3, {}, "t")
    assert [tuple(value.shape) for value in args] == [(3, 4)]
    assert kwargs["mask"].tolist() == [[1], [1], [1]]


def test_members_that_could_run_code_are_refused(pt2_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "evil.pt2"
    shutil.copy(pt2_file, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("tiny/data/constants/custom_obj_0", b"")
    with pytest.raises(ModelFileError, match="'tiny/data/constants/custom_obj_0', which could run code"):
        load_program(path)


@pytest.mark.parametrize(
    "expression", ["__import__('os')", "exec(chr(49))", "().__class__", "s0.func", "Symbol('s0')+open('x')"]
)
def test_expressions_that_could_run_code_are_refused(tmp_path: Path, expression: str) -> None:
    path = tmp_path / "evil.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/models/model.json", json.dumps({"a": [{"expr_str": expression}]}))
    with pytest.raises(ModelFileError, match="which could run code"):
        load_program(path)


def test_a_pickle_that_would_run_code_does_not_run(pt2_file: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    path = tmp_path / "evil.pt2"
    torch.save((Evil(), {}), tmp_path / "inputs.pt")
    with zipfile.ZipFile(pt2_file) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            member = (tmp_path / "inputs.pt").read_bytes() if "sample_inputs" in name else old.read(name)
            new.writestr(name, member)
    with pytest.raises(ModelFileError):
        load_program(path)
    assert not (tmp_path / "ran").exists()
