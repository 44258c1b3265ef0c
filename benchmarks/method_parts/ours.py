"""Our own methods, chosen by the very stage of the pipeline that `compress` runs."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from torch import nn

from compressor.core.plan import PruningPlan
from compressor.core.progress import SilentProgress
from compressor.profiling.machine import cpu_model
from compressor.runs.choose import METHODS, choose
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record
from compressor.surgery.cut import cut_copy
from method_parts.cells import Choice, Chosen
from method_parts.subject import GLOBAL, INNER, LOCAL, Subject

NO_DATA = Datasets()


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
    start = time.perf_counter()
    plan = plan_of(Record(source, options, SilentProgress(), coverage), subject.data)
    found = Chosen(choice, time.perf_counter() - start, plan=plan, cpu=cpu_model())
    return replace(found, macs_share=subject.macs(cut(subject, found)) / subject.macs())


def cut(subject: Subject, chosen: Chosen) -> nn.Module:
    """The small model."""
    if chosen.plan is None:
        raise RuntimeError("our own choices have a plan")
    source, _ = subject.covered(chosen.choice.allocation)
    return cut_copy(source.module, chosen.plan.cuts, chosen.plan.attributes)


def plan_of(record: Record, data: Datasets = NO_DATA) -> PruningPlan:
    """The plan of the pipeline's own stage; nothing of it is kept."""
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path))
        folder.work.mkdir()
        return choose(record, data, folder)[0]
