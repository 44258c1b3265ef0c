"""The list of models: one line each, in the words of the command line (`--arch`, `--arch-args`, `--input`)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from compressor.core.errors import InvalidOption
from compressor.loading.architecture import build, parse_arch_args

MODELS = Path(__file__).with_name("models.csv")
COLUMNS = ("family", "arch", "args", "inputs", "params")


@dataclass(frozen=True)
class Entry:
    """One model.

    Attributes:
        family: the heading that it stands under in the table.
        arch: as `--arch` takes it. FILE.py:FUNCTION is sought beside the list.
        args: as `--arch-args` takes them; may be empty.
        inputs: as `--input` takes them, one or more.
        params: how many parameters it has; 0 where nobody counted.
    """

    family: str
    arch: str
    args: str
    inputs: tuple[str, ...]
    params: int = 0

    @property
    def name(self) -> str:
        """What people call it: timm:resnet10t, huggingface:bert."""
        return self.arch.replace(".py:", ":")

    def build(self, folder: Path) -> nn.Module:
        """The module with random weights; `folder` is the list's.

        Raises:
            InvalidOption, MissingDependency: it cannot be built; the sentence says why.
        """
        own = ".py:" in self.arch
        return build(str(folder / self.arch) if own else self.arch, parse_arch_args([self.args] if self.args else []))


def read_entries(path: Path) -> list[Entry]:
    """All models of a list.

    Raises:
        InvalidOption: the file is missing, or has other columns, or names a model twice.
    """
    if not path.is_file():
        raise InvalidOption("zoo", "--models", "a CSV file that exists", str(path))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or tuple(rows[0]) != COLUMNS or any(None in row.values() for row in rows):
        raise InvalidOption("zoo", "--models", f"a CSV file with the columns {', '.join(COLUMNS)}", str(path))
    entries = [
        Entry(row["family"], row["arch"], row["args"], tuple(row["inputs"].split()), int(row["params"] or 0))
        for row in rows
    ]
    names = [entry.name for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InvalidOption("zoo", "--models", "a list that names each model once", twice)
    return entries


def write_entries(entries: Iterable[Entry], path: Path) -> None:
    """Writes the list that `read_entries` reads."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([e.family, e.arch, e.args, " ".join(e.inputs), e.params] for e in entries)


def families(entries: Sequence[Entry]) -> list[str]:
    """Families in the order of the list."""
    return list(dict.fromkeys(entry.family for entry in entries))
