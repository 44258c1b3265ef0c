"""Numbers as people type them: 50%, 2x, 5ms."""

from __future__ import annotations

import math
import re

from compressor.core.errors import InvalidOption

POINTS_ALLOWED = "points of accuracy from 0 to below 100, such as 1 or 1%"
MEASURED_STEPS = -1  # "auto": widths that the target's latency tables like
SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}


def share(text: str | float, option: str) -> float:
    """A share: 0.5 and 50% are the same.

    >>> share("50%", "--macs"), share("0.5", "--macs"), share(0.25, "--macs")
    (0.5, 0.5, 0.25)
    """
    value = _number(text[:-1]) / 100 if isinstance(text, str) and text.endswith("%") else _number(text)
    if not 0.0 < value < 1.0:
        raise InvalidOption("compress", option, "a share above 0 and below 1, such as 0.5 or 50%", text)
    return value


def points(text: str | float, option: str) -> float:
    """Percentage points of accuracy: 1, "1" and "1%" are all one point.

    >>> points("1%", "--max-drop"), points("0.5", "--max-drop"), points(2, "--max-drop")
    (1.0, 0.5, 2.0)
    """
    value = _number(text.removesuffix("%") if isinstance(text, str) else text)
    if math.isnan(value):
        raise InvalidOption("compress", option, POINTS_ALLOWED, text)
    return value


def whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """Different whole numbers, separated by commas, in the order in which they were typed.

    >>> whole_numbers("1,8", "--batch-size"), whole_numbers("2", "--threads")
    ((1, 8), (2,))
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[+-]?[0-9]{1,9}", part) for part in parts):
        raise InvalidOption("compress", option, "whole numbers separated by commas, such as 1,8", text)
    numbers = tuple(int(part) for part in parts)
    if len(set(numbers)) < len(numbers):
        raise InvalidOption("compress", option, "different numbers", text, "Name each once.")
    return numbers


def accuracy(text: str | float, option: str) -> float:
    """A share from 0 to 1: "93.1%" and 0.931 are the same.

    >>> accuracy("93.1%", "--control-accuracy"), accuracy(0.5, "--control-accuracy")
    (0.931, 0.5)
    """
    value = _number(text[:-1]) / 100 if isinstance(text, str) and text.endswith("%") else _number(text)
    if not 0.0 <= value <= 1.0:
        raise InvalidOption("compress", option, "an accuracy from 0 to 1, such as 93.1% or 0.931", text)
    return round(value, 12)  # 93.1 / 100 is a little less than 0.931


def width_step(text: str | int, option: str) -> int:
    """A step between widths; 0 means by size.

    >>> width_step("8", "--round-to"), width_step("auto", "--round-to"), width_step(0, "--round-to")
    (8, -1, 0)
    """
    if text in ("auto", MEASURED_STEPS):
        return MEASURED_STEPS
    if isinstance(text, bool) or not re.fullmatch(r"[0-9]{1,6}", str(text)):
        raise InvalidOption("compress", option, "at least 0, or auto", text)
    return int(text)


def factor(text: str | float, option: str) -> float:
    """How many times as fast: 2, "2x" and "2" are the same.

    >>> factor("1.5x", "--speedup"), factor(2, "--speedup")
    (1.5, 2.0)
    """
    value = _number(text.removesuffix("x") if isinstance(text, str) else text)
    if not 1.0 < value < math.inf:
        raise InvalidOption("compress", option, "a factor above 1, such as 2x", text)
    return value


def seconds(text: str | float, option: str) -> float:
    """A time: "5ms", "800us", "0.005s" and 0.005 (seconds).

    >>> seconds("5ms", "--latency"), seconds(0.005, "--latency")
    (0.005, 0.005)
    """
    parts = re.fullmatch(r"\s*([0-9.eE+-]+?)\s*(s|ms|us|)\s*", str(text))
    value = _number(parts[1]) * SECONDS[parts[2]] if parts else math.nan
    if not 0.0 < value < math.inf:
        raise InvalidOption("compress", option, "a time above 0, such as 5ms", text)
    return value


def _number(text: str | float) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan
