"""Times a model at many widths, until its tables are good enough; what was timed before is taken from the store."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Protocol

from compressor.core.errors import UnsupportedModel
from compressor.core.node_times import NodeProfile, Turns
from compressor.core.progress import Progress
from compressor.graph.extents import Extents
from compressor.latency.design import choices
from compressor.latency.lines import LEAST_SAMPLES, lines_of
from compressor.latency.model import LatencyModel
from compressor.latency.samples import ModelSample, NodeSample, sample_of
from compressor.latency.store import Store
from exporters.elastic.file import ElasticFile

Grids = Mapping[str, Sequence[int]]  # counts that each group may have, ascending
STEPS = (16, 8, 4, 2)  # of widths, from coarse to fine
FEWEST, MOST = 16, 60  # models that are timed
LIMIT_S = 120.0
# So many sizes of a node with one, two, ... variables, where it takes a share of the time that counts.
ENOUGH = {1: 6, 2: 16, 3: 24, 4: 30}
COUNTS = 0.01  # of the whole model's time
POSSIBLE = 0.75  # of the sizes that there are
UNEXPLAINED = 0.1  # of the time: more of it and sizes are padded, or the graph changes
FEW_INFERENCES, MANY_INFERENCES = 6, 24
SAMPLING_S = 0.35  # of one model
SLOW_S = 0.05  # of an inference: from here on few rounds have to do
FEW_ROUNDS, MANY_ROUNDS = 2, 6  # in turns with the reference


class Profiler(Protocol):
    """Of one target."""

    def profile(self, path: Path, inferences: int) -> NodeProfile:
        """Node by node, with that many inferences."""

    def turns(self, path: Path, against: Path, rounds: int) -> Turns:
        """Without the profiler, in turns with another file."""


class Tabulation:
    """One model on one target."""

    def __init__(
        self,
        file: ElasticFile,
        extents: Extents,
        profiler: Profiler,
        store: Store,
        room: Path,
        progress: Progress,
        label: str,
    ) -> None:
        """
        Args:
            file: writes the model at any widths.
            extents: its axes.
            profiler: of the target.
            store: tables of this target on this machine.
            room: where files may be written; nothing stays.
            progress: is told of each model.
            label: the target, for people.
        """
        self._file, self._extents, self._profiler = file, extents, profiler
        self._store, self._room, self._progress, self._label = store, room, progress, label

    def finest_step(self, grids: Callable[[int], Grids]) -> int:
        """The smallest step between widths at which the runtime runs the same nodes as at the largest, unpadded.

        At widths that do not suit its blocks a runtime computes on padded channels or leaves its fast layout, so what
        lies between costs as much as what lies above, or more.

        Args:
            grids: for a step.

        Raises:
            UnsupportedModel: the graph is another one at each choice of widths, even with the largest step.
        """
        found = 0
        for step in STEPS:
            if found and grids(step) == grids(found):
                found = step  # no group is wide enough to tell
                continue
            samples = self._samples(grids(step), LEAST_SAMPLES + 1, f"Finding steps of widths on {self._label}")
            if not self._regular(samples):
                break
            found = step
        if not found:
            raise UnsupportedModel(f"{self._label} runs another graph at each choice of widths.")
        return found

    def build(self, grids: Grids) -> LatencyModel:
        """Measures until every kind of node that counts was seen at enough sizes.

        Raises:
            UnsupportedModel: the runtime's graph is another one at each choice of widths.
        """
        others = self._store.others(self._key(grids))
        begin, n = perf_counter(), FEWEST
        while True:
            samples = self._samples(grids, n, f"Measuring latency tables on {self._label}")
            model = self._model(samples, others)
            if _enough(model, grids) or n >= MOST or perf_counter() - begin > LIMIT_S:
                return model
            n = min(MOST, len(samples) + 8)

    def _samples(self, grids: Grids, n: int, what: str) -> list[ModelSample]:
        """At least the first `n` choices of the design: those in the store, and the others measured."""
        key = self._key(grids)
        samples = list(self._store.samples(key))
        if len(samples) >= n:
            return samples
        missing = islice(choices(grids), len(samples), n)
        reference = self._file.write(self._room / "all.onnx", self._extents.at({}))
        try:
            with self._progress.step(what, n - len(samples)) as step:
                for n_keep in missing:
                    samples.append(self._timed(n_keep, reference, samples[0].whole_s if samples else None))
                    step.advance(1)
        finally:  # an interrupted run goes on from here
            self._store.save(key, tuple(samples))
            reference.unlink(missing_ok=True)
        return samples

    def _timed(self, n_keep: dict[str, int], reference: Path, reference_s: float | None) -> ModelSample:
        """
        Args:
            n_keep: channels of each group.
            reference: the file with all channels, which is timed beside it: the machine is faster now and slower then.
            reference_s: what that takes; None: it is not known yet.
        """
        path = self._file.write(self._room / "widths.onnx", self._extents.at(n_keep))
        try:
            found = self._profiler.profile(path, FEW_INFERENCES)
            typical = median(found.whole_s)
            wanted = min(MANY_INFERENCES, int(SAMPLING_S / typical))
            if wanted > 2 * FEW_INFERENCES:
                found = self._profiler.profile(path, wanted)
            turns = self._profiler.turns(path, reference, FEW_ROUNDS if typical > SLOW_S else MANY_ROUNDS)
        finally:
            path.unlink(missing_ok=True)
        if reference_s is None:
            reference_s = median(turns.against_s)
        return sample_of(n_keep, found, reference_s * turns.share)

    def _regular(self, samples: Sequence[ModelSample]) -> bool:
        """Whether all of them have one graph, whose sizes follow the widths."""
        if len({sample.operators for sample in samples}) > 1:
            return False
        _, _, unexplained = lines_of(samples, [self._extents.at(sample.n_keep) for sample in samples])
        return unexplained <= UNEXPLAINED

    def _model(self, samples: Sequence[ModelSample], others: Sequence[NodeSample]) -> LatencyModel:
        try:
            return LatencyModel(samples, self._extents, others)
        except ValueError as error:
            raise UnsupportedModel(f"{self._label} runs another graph at each choice of widths ({error}).") from error

    def _key(self, grids: Grids) -> str:
        plain = {name: list(grid) for name, grid in grids.items()}
        told = json.dumps([self._file.fingerprint, plain], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:24]


def _enough(model: LatencyModel, grids: Grids) -> bool:
    for kind in model.kinds:
        wanted = ENOUGH.get(kind.n_variables, max(ENOUGH.values()))
        # Of nodes on few groups with few counts there are no more sizes than that; the last of them are rarely drawn.
        possible = sum(math.prod(len(grids.get(name, (0,))) for name in groups) for groups in kind.groups)
        if kind.n_variables and kind.share >= COUNTS and kind.n_sizes < min(wanted, math.ceil(POSSIBLE * possible)):
            return False
    return True
