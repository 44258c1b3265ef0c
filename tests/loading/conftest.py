"""Files on disk for the tests of loading, and pickles that would leave a trace if they ran."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


class Reduced:
    """Pickles to a call of `function`; what an attacker would write."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


@pytest.fixture
def reduced() -> type[Reduced]:
    return Reduced


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes an object with torch.save and gives the path."""

    def write(value: Any, name: str = "model.pt", **options: Any) -> Path:
        path = tmp_path / name
        torch.save(value, path, **options)
        return path

    return write


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    """A file that must not appear."""
    return tmp_path / "it_ran"
