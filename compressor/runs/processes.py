"""Which of several processes we are, under `accelerate launch` or `torchrun`, and who goes first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def is_main_process() -> bool:
    """Whether this process writes files and talks; alone, it is."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def main_process_first(device: str) -> Iterator[None]:
    """The main process goes through the block before the others do; alone, it just goes.

    Args:
        device: where training will run ("cpu" or "cuda"); the processes join for it here, for the first time.
    """
    if _is_alone():
        yield
        return
    from accelerate import PartialState

    with PartialState(cpu=device == "cpu").main_process_first():
        yield


def same_for_all(value: T, device: str) -> T:
    """The main process's value in every process, so that all decide alike; each must call this. Alone, just the value.

    Args:
        device: as in `main_process_first`.
    """
    if _is_alone():
        return value
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=device == "cpu")
    values = [value]
    broadcast_object_list(values)
    return values[0]


def part() -> None:
    """The processes part ways: what follows, the main one does alone; without this the others may abort as they end."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _is_alone() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) == 1
