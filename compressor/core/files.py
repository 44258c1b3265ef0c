"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compressor.core.errors import OutputError
from exporters.files import sha256_of

__all__ = ["FILE_MODE", "output_errors", "sha256_of", "write_atomically"]

_REFUSALS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOENT,  # deleted meanwhile, or a place where nothing can be made
    errno.ENAMETOOLONG,
    errno.EIO,
    errno.EFBIG,  # FAT32 ends at 4 GiB
}
FILE_MODE = 0o644  # as ordinary files: temporary ones begin as their owner's alone


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals into one sentence about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(f"{path}: the disk is full. Free some space or choose another folder with -o.") from error
        if error.errno in _REFUSALS:
            reason = os.strerror(error.errno).lower()
            raise OutputError(f"{path}: cannot be written ({reason}). Choose another folder with -o.") from error
        raise


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes beside `path` and renames, so that a reader never sees half a file.

    Raises:
        OutputError: the folder cannot be written, or the disk is full; what was there before is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    with output_errors(path):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(temporary).chmod(FILE_MODE)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
