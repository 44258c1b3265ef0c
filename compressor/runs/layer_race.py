"""Layers against the thin ones that would replace them, each as a file of its own, on the run's targets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from compressor.core.progress import Progress
from compressor.profiling.statistics import Estimate, ratio_of
from compressor.profiling.timer import MIN_PROCESSES, measure
from compressor.runs.bench import Bench
from compressor.targets import factory_of
from exporters.errors import ExportError
from exporters.export import export

SECONDS = 0.25  # of sampling, for each pair on each target


@dataclass(frozen=True)
class Pair:
    """A layer, what would replace it, and the shape of what the layer is given."""

    layer: nn.Module
    replacement: nn.Module
    shape: tuple[int, ...]

    @property
    def signature(self) -> str:
        """Equal for pairs that take equal times: weights are left out."""
        return f"{self.layer!r} | {self.replacement!r} | {self.shape}"


def race(pairs: Sequence[Pair], bench: Bench, place: Path, *, threads: int, progress: Progress) -> dict[str, Estimate]:
    """By signature, how many times as fast the replacement is on the target that gains least.

    Layers that cannot be exported alone are left out.

    Args:
        pairs: of one model; those of equal signature are timed once.
        bench: its targets and formats.
        place: a folder of our own, which goes afterwards.
        threads: of the runtimes.
        progress: told of the steps.
    """
    different = {pair.signature: pair for pair in pairs}
    found: dict[str, Estimate] = {}
    try:
        with progress.step("Exporting layers, to time them", len(different)) as step:
            files = {}
            for number, (signature, pair) in enumerate(different.items()):
                made = _exported(pair, bench, place / str(number))
                if made is not None:
                    files[signature] = made
                step.advance(1)
        for target in bench.targets:
            for batch, signatures in _by_batch(files, different):
                of_target = {name: files[name][bench.formats[target]] for name in signatures}
                for name, ratio in _timed(of_target, target, batch, threads, progress).items():
                    found[name] = min(found.get(name, ratio), ratio, key=lambda each: each.low)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return found


Files = tuple[Path, Path]  # the layer's and its replacement's


def _exported(pair: Pair, bench: Bench, place: Path) -> Mapping[str, Files] | None:
    """{format: files}; None where one of the two cannot be exported by itself."""
    formats = list(dict.fromkeys(bench.formats.values()))
    example = torch.zeros(pair.shape)
    try:
        both = [
            export(module, example, formats, place, stem)
            for module, stem in ((pair.layer, "layer"), (pair.replacement, "thin"))
        ]
    except ExportError:
        return None
    return {before.format: (before.path, after.path) for before, after in zip(*both, strict=True)}


def _by_batch(files: Mapping[str, object], pairs: Mapping[str, Pair]) -> Iterator[tuple[int, list[str]]]:
    """Signatures by the length of their inputs' first axis: files of one length are timed in turns."""
    for batch in sorted({pairs[name].shape[0] for name in files}):
        yield batch, [name for name in files if pairs[name].shape[0] == batch]


def _timed(
    files: Mapping[str, Files], target: str, batch: int, threads: int, progress: Progress
) -> dict[str, Estimate]:
    paths = [path for both in files.values() for path in both]
    measured = measure(
        paths,
        target,
        factory_of(target),
        threads=threads,
        batch_size=batch,
        processes=MIN_PROCESSES,
        seconds=SECONDS * len(files),
        progress=progress,
    )
    return {name: ratio_of(*measured[2 * i : 2 * i + 2]) for i, name in enumerate(files)}
