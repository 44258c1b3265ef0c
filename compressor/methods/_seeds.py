"""Random numbers that depend on the run's seed and the group's name, and on nothing else."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def group_generator(seed: int, group: str) -> np.random.Generator:
    """A generator of its own for each group, so that the order of the groups and their number do not matter.

    >>> bool(group_generator(0, "conv1").random() == group_generator(0, "conv1").random())
    True
    """
    digest = hashlib.blake2b(f"{seed}:{group}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


@contextmanager
def random_as_found() -> Iterator[None]:
    """Puts Python's random state back: libraries that are imported late draw from it while they are loaded."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
