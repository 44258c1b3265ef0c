"""What `compress` returns: the small module with its plan, report and files, and the way to a run folder."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from torch import nn

from compressor.core import serial
from compressor.core.errors import InvalidOption
from compressor.core.files import output_errors, write_atomically
from compressor.core.options import recipe_of
from compressor.core.plan import PruningPlan
from compressor.report.html import render_html
from compressor.report.schema import Report
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record
from compressor.runs.saved import save_weights
from compressor.runs.summary import summarise


class CompressedModel:
    """The small module, its plan, a record per stage and its files; `save` makes a run folder of it."""

    def __init__(self, module: nn.Module, record: Record, folder: RunFolder) -> None:
        self.module = module.eval()
        self._record, self._folder = record, folder

    @property
    def plan(self) -> PruningPlan:
        """What was kept in every group."""
        if self._record.plan is None:
            raise RuntimeError("a finished run has a plan")
        return self._record.plan

    def report(self) -> Report:
        """Everything that was counted, checked and measured."""
        return self._report

    @cached_property
    def _report(self) -> Report:
        return summarise(self._record, self.module)

    def save(self, path: str | Path | None = None) -> Path:
        """Fills the run folder: exported files, weights, plan, measurements, report, recipe.

        Args:
            path: where to; None: the folder that `output` named.

        Raises:
            InvalidOption: no folder was named.
            OutputError: it cannot be written, or holds something else.
        """
        if path is None and self._folder.passing:
            path = self._record.options.output
            if not path:
                raise InvalidOption("save", "path", "a folder", None, 'As in: run.save("small").')
        folder, work = self._folder, self._folder.work
        if path is not None and Path(path) != folder.path:
            folder = RunFolder.claim(Path(path), self._record.options, self._record.source.sha256)
        with output_errors(folder.path):
            written = [p for file in self._record.files for p in (file.path, *file.companions)]
            if folder is not self._folder:
                written = [_copy(file, folder.work) for file in written]
            save_weights(self.module, folder.work / "model.safetensors")
            write_atomically(folder.work / "plan.json", serial.to_json(self.plan))
            write_atomically(folder.work / "recipe.toml", recipe_of(self._record.options))
            write_atomically(folder.work / "report.html", render_html(self.report()))
            write_atomically(folder.work / "report.json", serial.to_json(self.report()))
            names = ["model.safetensors", "plan.json", "recipe.toml", "report.html", "report.json"]
            if (work / "measurements.json").exists():
                if folder is not self._folder:
                    _copy(work / "measurements.json", folder.work)
                names.append("measurements.json")
        folder.finish([*written, *(folder.work / name for name in names)])
        return folder.path


def _copy(file: Path, folder: Path) -> Path:
    target = folder / file.name
    target.write_bytes(file.read_bytes())
    return target
