"""Measures until the tables are good enough, and says how good they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter

from compressor.core.errors import UnsupportedModel
from compressor.core.node_times import NodeProfile
from compressor.core.progress import Progress
from compressor.graph.extents import Extents
from compressor.latency.design import choices
from compressor.latency.model import LatencyModel
from compressor.latency.samples import ModelSample, sample_of
from compressor.latency.store import Store
from exporters.elastic.file import ElasticFile

FEWEST, MOST = 12, 60  # models that are timed
LIMIT_S = 150.0
# So many sizes of a node with one, two, ... variables, where it takes a share of the time that counts.
ENOUGH = {0: 1, 1: 6, 2: 16, 3: 24, 4: 30}
COUNTS = 0.01  # of the whole model's time
INFERENCES = (6, 24)
SAMPLING_S = 0.35  # of one model


def build(
    file: ElasticFile,
    extents: Extents,
    grids: Mapping[str, Sequence[int]],
    profile: Callable[[Path, int], NodeProfile],
    store: Store,
    room: Path,
    progress: Progress,
    label: str,
) -> LatencyModel:
    """The model of the latency on one target; takes what the store has, and measures only what is missing.

    Args:
        file: writes the model at any widths.
        extents: its axes.
        grids: counts that plans may choose from.
        profile: of a file, with that many inferences.
        store: tables of this target on this machine.
        room: where files may be written; nothing stays.
        progress: is told of each model.
        label: the target, for people.

    Raises:
        UnsupportedModel: the runtime's graph differs too much from one choice of widths to the next.
    """
    key = _key(file, grids)
    samples = list(store.samples(key))
    others = store.others(key)
    design = choices(grids)
    for _ in samples:
        next(design)
    begin, model = perf_counter(), None
    known = len(samples)
    with progress.step(f"Measuring latency tables on {label}", MOST) as step:
        step.advance(known)
        while True:
            if len(samples) >= FEWEST and (len(samples) - known) % 4 == 0:
                model = _model(samples, extents, others)
                if model is not None and _enough(model):
                    break
            if len(samples) >= MOST or (perf_counter() - begin > LIMIT_S and len(samples) >= FEWEST):
                break
            samples.append(_timed(next(design), file, extents, profile, room))
            step.advance(1)
            if len(samples) % 8 == 0:
                store.save(key, tuple(samples))
    if len(samples) > known:
        store.save(key, tuple(samples))
    model = model or _model(samples, extents, others)
    if model is None:
        raise UnsupportedModel(f"{label}: the runtime's graph differs from one choice of widths to the next.")
    return model


def _timed(
    n_keep: dict[str, int],
    file: ElasticFile,
    extents: Extents,
    profile: Callable[[Path, int], NodeProfile],
    room: Path,
) -> ModelSample:
    path = file.write(room / "widths.onnx", extents.at(n_keep))
    few, many = INFERENCES
    try:
        found = profile(path, few)
        typical = sorted(found.whole_s)[len(found.whole_s) // 2]
        wanted = min(many, int(SAMPLING_S / typical))
        if wanted > 2 * few:
            found = profile(path, wanted)
    finally:
        path.unlink(missing_ok=True)
    return sample_of(n_keep, found)


def _model(samples: Sequence[ModelSample], extents: Extents, others: Sequence) -> LatencyModel | None:  # type: ignore[type-arg]
    try:
        return LatencyModel(samples, extents, others)
    except ValueError:
        return None


def _enough(model: LatencyModel) -> bool:
    return all(
        n_sizes >= ENOUGH.get(_n_variables(pattern), max(ENOUGH.values()))
        for pattern, (share, n_sizes) in model.patterns.items()
        if share >= COUNTS and _n_variables(pattern)
    )


def _n_variables(pattern: tuple[str, tuple[tuple[int, ...], ...]]) -> int:
    return -min((size for shape in pattern[1] for size in shape if size < 0), default=0)


def _key(file: ElasticFile, grids: Mapping[str, Sequence[int]]) -> str:
    told = json.dumps([file.fingerprint, {name: list(grid) for name, grid in grids.items()}], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:24]
