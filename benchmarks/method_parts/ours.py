"""Our own methods, chosen by the very stage of the pipeline that `compress` runs."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from torch import nn

from compressor.core.progress import SilentProgress
from compressor.profiling.machine import cpu_model
from compressor.runs.choose import METHODS, choose
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record
from compressor.surgery.cut import cut_copy
from method_parts.cells import Choice, Chosen
from method_parts.subject import GLOBAL, INNER, LOCAL, Subject


def natural_allocation(method: str) -> str:
    """The allocation that the method's paper has in mind."""
    if method == "random":  # comparable, but numbers that are drawn say nothing about layers
        return LOCAL
    if method == "reprune":  # its layer ratios, from the scales of the batch norms, are part of the paper
        return GLOBAL
    return GLOBAL if getattr(METHODS.load(method), "comparable", False) else LOCAL


def decide(subject: Subject, choice: Choice) -> Chosen:
    """Asks the method for its channels.

    Raises:
        CompressionError: it refuses.
    """
    source, coverage = subject.covered(choice.allocation)
    allocation = LOCAL if choice.allocation == INNER else choice.allocation
    options = replace(
        subject.options, method=choice.method, allocation=allocation, macs=choice.budget, seed=choice.seed
    )
    METHODS.load(choice.method)  # loading its code is no part of the time
    record = Record(source, options, SilentProgress(), coverage)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        plan, _ = choose(record, subject.data, _run_folder(Path(folder)))
        seconds = time.perf_counter() - start
    found = Chosen(choice, seconds, plan=plan, cpu=cpu_model())
    return replace(found, macs_share=subject.macs(cut(subject, found)) / subject.macs())


def cut(subject: Subject, chosen: Chosen) -> nn.Module:
    """The small model."""
    if chosen.plan is None:
        raise RuntimeError("our own choices have a plan")
    source, _ = subject.covered(chosen.choice.allocation)
    return cut_copy(source.module, chosen.plan.cuts, chosen.plan.attributes)


def _run_folder(path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.work.mkdir()
    return folder
