"""Options of a plug-in from what was typed: NAME=VALUE, checked against the fields of its dataclass."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from compressor.core.errors import InvalidOption


def plugin_options(kind: type, owner: str, flag: str, texts: Sequence[str]) -> dict[str, Any]:
    """{field: value} of `kind`, each of the field's type.

    Args:
        owner, flag: what the error's sentence begins with, and how the option is spelled.

    Raises:
        InvalidOption: the plug-in has no such option, or its value is of another type.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known:
            raise InvalidOption(owner, flag, f"one of {', '.join(sorted(known)) or 'none (it has no options)'}", name)
        values[name] = _typed(types[name], value, InvalidOption(owner, name, f"of type {_spelled(types[name])}", value))
    return values


def _typed(kind: Any, text: str, refusal: InvalidOption) -> Any:
    for value in (_literal(text), text):
        with suppress(ValidationError):
            return TypeAdapter(kind).validate_python(value)
    raise refusal


def _literal(text: str) -> Any:
    """3, 0.5, True and None as in Python; anything else stays a word."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _spelled(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)
