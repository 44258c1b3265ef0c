"""Makes the user's own code importable, only while it is needed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def working_folder_importable(wanted: bool = True, folder: Path | None = None) -> Iterator[None]:
    """Puts the working folder (or `folder`) first on sys.path inside the block, and takes it away again."""
    if not wanted:
        yield
        return
    entry = str((folder or Path.cwd()).resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
