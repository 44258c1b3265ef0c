from __future__ import annotations

import os
from pathlib import Path

import pytest

from compressor.core.errors import OutputError
from compressor.runs.profile_folder import check_folder, write_profile
from tests.report.conftest import MACHINE
from tests.report.profiles import grid


def test_a_new_or_an_empty_folder_will_do(tmp_path: Path) -> None:
    check_folder(tmp_path, False)
    check_folder(tmp_path / "a" / "b", False)
    assert list(tmp_path.iterdir()) == []


def test_a_profile_is_replaced_only_with_force(tmp_path: Path) -> None:
    write_profile(grid().profiles, MACHINE, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["profile.html", "profile.json"]
    with pytest.raises(OutputError, match=r"holds a finished profile.*--force"):
        check_folder(tmp_path, False)
    check_folder(tmp_path, True)
    write_profile(grid().profiles[:1], MACHINE, tmp_path)


@pytest.mark.parametrize("force", [False, True])
def test_other_peoples_files_are_left_alone(tmp_path: Path, force: bool) -> None:
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(OutputError, match=r"is not empty and not a profile \(it holds report\.json\)"):
        check_folder(tmp_path, force)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        check_folder(tmp_path / "file", False)
    with pytest.raises(OutputError, match="cannot be made"):
        check_folder(tmp_path / "file" / "below", False)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission denied"):
            check_folder(tmp_path / "new", False)
    finally:
        tmp_path.chmod(0o700)
