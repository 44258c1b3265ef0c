"""Opens a torch.export program without running code from it.

`torch.export.load` unpickles some members of the archive, evaluates size expressions and compiles guards that are
stored as source text, and falls back to unrestricted pickle where the restricted one refuses. A .pt2 file may come
from anywhere, so members and expressions that could carry code are refused before it is opened, and the fallback is
shut.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from exporters.errors import UnreadableProgram
from exporters.quiet import quietly

_CODE_MEMBER = re.compile(r"(^|/)(custom_obj|opaque_obj)_|/aotinductor/")
# Arithmetic over symbols, and calls of sympy's functions, whose names begin with a capital letter. No other strings.
_SYMBOL = re.compile(r"Symbol\('\w+'")
_HARMLESS = re.compile(r"(?!.*(__|\.\s*[A-Za-z_]|\b[a-z_]\w*\s*\())[\w\s+\-*/%(),.<>=!~&|]*", re.ASCII)


def open_program(path: Path, extra_files: dict[str, Any] | None = None) -> ExportedProgram:
    """The exported program in a .pt2 file; `extra_files` as in `torch.export.load`.

    Raises:
        UnreadableProgram: not a .pt2 file, damaged, or it holds parts that could run code.
    """
    _refuse_code(path)
    try:
        with _only_weights(), quietly():
            return torch.export.load(path, extra_files=extra_files)
    except Exception as error:  # pickle, zip, JSON and schema errors have no common root
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UnreadableProgram:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UnreadableProgram(f"{path}: torch.export cannot load it ({reason}). Export the model again.")


def _refuse_code(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            programs = [archive.read(name) for name in names if name.endswith(".json")]
        expressions = [text for program in programs for text in _expressions(program)]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    code = next((name for name in names if _CODE_MEMBER.search(name)), None)
    if code is None:
        code = next((text for text in expressions if not _HARMLESS.fullmatch(_SYMBOL.sub("Symbol(", text))), None)
    if code is not None:
        raise UnreadableProgram(
            f"{path}: holds '{code[:80]}', which could run code and was not opened. Export the model again."
        )


def _expressions(program: bytes) -> list[str]:
    """Every size expression in a serialised program, wherever it stands."""
    found: list[str] = []
    json.loads(program, object_hook=lambda node: found.append(str(node.get("expr_str", ""))))
    return found


@contextmanager
def _only_weights() -> Iterator[None]:
    """Makes every `torch.load` underneath refuse pickles that ask for more than tensors."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before
