"""What argparse has no type for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence


def some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Names with commas between them, all of which are known.

    >>> some_of(["a", "b"])("b,a")
    ['b', 'a']
    """

    def parse(text: str) -> list[str]:
        names = text.split(",")
        wrong = [name for name in names if name not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"must be some of {', '.join(known)}, but got {wrong[0]}")
        return names

    return parse


def names(text: str) -> list[str]:
    """Any names with commas between them."""
    return text.split(",")


def shares(text: str) -> list[float]:
    """Percents with commas between them, as shares.

    >>> shares("50%,30")
    [0.5, 0.3]
    """
    found = [float(part.removesuffix("%")) / 100 for part in names(text)]
    if not all(0 < share < 1 for share in found):
        raise argparse.ArgumentTypeError(f"must be percents between 0 and 100, but got {text}")
    return found


def seeds(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [int(part) for part in names(text)]
