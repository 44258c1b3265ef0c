"""Which line of the user's code is being executed, in words that hold on any machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

import exporters

_NOT_USERS = tuple(str(Path(file).parent) + os.sep for file in (str(Path(__file__).parent), torch.__file__))
_CALLER = str(Path(exporters.__file__).parent) + os.sep  # calls the model


def source_line() -> str:
    """The nearest line that is neither PyTorch's nor ours; empty if there is none."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_CALLER):
            return ""
        if not file.startswith(_NOT_USERS) and not file.startswith("<"):
            return f"{short(file)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def short(file: str) -> str:
    """A file's name without the part that says where packages are installed."""
    parts = Path(file).parts
    if "site-packages" in parts:
        return "/".join(parts[parts.index("site-packages") + 1 :])
    return "/".join(parts[-2:])
