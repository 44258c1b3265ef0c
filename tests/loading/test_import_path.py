from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compressor.loading.import_path import working_folder_importable


def test_the_folder_is_there_only_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    with working_folder_importable():
        assert sys.path[0] == str(tmp_path.resolve())
    with pytest.raises(KeyError), working_folder_importable(folder=tmp_path / "x"):
        raise KeyError
    with working_folder_importable(False):
        assert sys.path == before
    assert sys.path == before
