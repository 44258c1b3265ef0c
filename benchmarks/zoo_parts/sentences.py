"""Any error as one line without the paths of the machine that it happened on."""

from __future__ import annotations

import re
import sysconfig
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 400  # characters


class Failed(Exception):
    """What the zoo itself finds wrong with a result; the text is the sentence."""


def in_one_line(text: str) -> str:
    """`text` without line breaks, folders of this machine and terminal colours, at most `LONGEST` characters."""
    line = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), str(ROOT), tempfile.gettempdir()]
    for folder in sorted(folders, key=len, reverse=True):
        line = line.replace(f"{folder}/", "")
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def with_place(error: BaseException) -> str:
    """`Class: message (file:line in function)`, the place being the innermost one."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({last[0].filename}:{last[0].lineno} in {last[0].name})" if last else ""
    message = next((line for line in str(error).splitlines() if line.strip()), "no message")
    return in_one_line(f"{type(error).__name__}: {message.rstrip('.')}{place}")
