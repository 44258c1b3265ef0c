"""What a format plug-in is. Imports neither torch nor a runtime, so that worker processes start fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from exporters.source import Source
    from exporters.types import ExportedFile


@dataclass(frozen=True)
class Written:
    """What a plug-in says of the file that it has just written."""

    dynamic_batch: bool
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadedFile:
    """A file as its runtime sees it, ready to run in this process."""

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    run: Callable[[Sequence[Any]], list[Any]]  # NumPy arrays in the order of `input_names` -> arrays in file order


class Format(Protocol):
    """A file format. A plug-in is a frozen dataclass; its fields are its options.

    `opset: int | None` and `simplify: bool` are filled in from `export`'s options where a plug-in declares them.
    """

    name: ClassVar[str]  # the plug-in's file name
    suffix: ClassVar[str]  # of the file that the runtime opens, with the dot
    summary: ClassVar[str]  # one line for `compress formats`
    made_from: ClassVar[str | None]  # another format whose file is converted; None: straight from the module
    requires: ClassVar[tuple[str, ...]]  # packages that must be importable to write and to run

    def write(self, source: Source, path: Path, parent: ExportedFile | None) -> Written:
        """Writes `path`; every other file that it leaves in `path`'s (empty) folder belongs to it.

        `parent` is the file in the format `made_from`.

        Raises:
            UnsupportedOperator: the model cannot be expressed.
        """

    def load(self, path: Path) -> LoadedFile:
        """Opens `path` with the format's own runtime, on the CPU, in full precision."""
