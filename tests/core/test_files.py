import errno
import stat
from pathlib import Path

import pytest

from compressor.core.errors import OutputError
from compressor.core.files import output_errors, sha256_of, write_atomically


def test_written_whole_with_ordinary_permissions(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "grün")
    assert path.read_bytes() == "grün".encode() and stat.S_IMODE(path.stat().st_mode) == 0o644
    write_atomically(path, b"\x00")
    assert path.read_bytes() == b"\x00" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "before")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"file: the disk is full\. Free some space"):
        write_atomically(path, "after")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "chmod", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", "text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.EIO])
def test_refusals_become_one_sentence(number):
    with (
        pytest.raises(OutputError, match=r"out: cannot be written \(.+\)\. Choose another folder with -o"),
        output_errors(Path("out")),
    ):
        raise OSError(number, "as the system says")


def test_other_errors_pass():
    with pytest.raises(OSError, match="loop"), output_errors(Path("out")):
        raise OSError(errno.ELOOP, "loop")
    with pytest.raises(ZeroDivisionError), output_errors(Path("out")):
        _ = 1 / 0


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomically(tmp_path / "no" / "file", "text")


def test_hashes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(tmp_path / "file").startswith("ba7816bf8f01cfea")
