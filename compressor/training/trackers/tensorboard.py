"""TensorBoard: a folder of event files a curve, which `tensorboard --logdir` shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """One folder of event files for each training, under its title."""

    summary: ClassVar[str] = "event files that TensorBoard shows"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    @property
    def hint(self) -> str:
        """How people look at it."""
        return f"tensorboard --logdir {self._folder}"

    def log(self, title: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step, from 1. Where a killed training goes on, what it had told from there on is replaced."""
        if title not in self._writers:
            self._writers[title] = SummaryWriter(str(self._folder / title), purge_step=step)
        for name, value in values.items():
            self._writers[title].add_scalar(name, value, step)

    def close(self, finished: bool) -> None:
        """Writes what is not written yet."""
        for writer in self._writers.values():
            writer.close()


PLUGIN = TensorBoard
