"""Frozen dataclasses to JSON and back, checked on the way in, and their JSON schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from compressor.core.errors import CompressionError, ModelFileError
from compressor.core.files import write_atomically

T = TypeVar("T")


def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_json(value: Any, kind: Any = None) -> str:
    """Indented JSON of a dataclass, or of `kind` (list[Measurement]); floats keep all their digits."""
    return _adapter(kind or type(value)).dump_json(value, indent=1).decode() + "\n"


def to_plain(value: Any) -> Any:
    """The same as Python lists, dicts and numbers."""
    return _adapter(type(value)).dump_python(value, mode="json")


def from_json(kind: type[T], text: str | bytes, owner: str) -> T:
    """Parses and validates; `owner` (a path) opens the sentence of the error.

    Raises:
        ModelFileError: not JSON, or not of this shape.
    """
    try:
        value: T = _adapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole text"
        raise ModelFileError(f"{owner}: not a valid {kind.__name__} ({where}: {first['msg']}).") from error
    except CompressionError as error:  # a value of the right shape that its class refuses
        raise ModelFileError(f"{owner}: not a valid {kind.__name__} ({error}).") from error
    return value


def save_json(value: Any, path: Path, kind: Any = None) -> None:
    """Writes it, whole or not at all."""
    write_atomically(path, to_json(value, kind))


def load_json(kind: type[T], path: Path) -> T:
    """Reads and validates; see `from_json`."""
    return from_json(kind, path.read_bytes(), str(path))


def json_schema(kind: type[Any]) -> str:
    """The published schema of a saved file."""
    return json.dumps(_adapter(kind).json_schema(), indent=1, sort_keys=True) + "\n"
