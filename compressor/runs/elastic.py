"""The original's ONNX file at any widths: written twice more at widths of chance, and compared."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from compressor.core.groups import ChannelGroup
from compressor.core.serial import load_json, save_json
from compressor.graph.extents import Extents
from compressor.latency.store import cache_folder
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand
from exporters.elastic.file import ElasticFile, NotElastic, Sized
from exporters.elastic.probes import fingerprint, strip_weights
from exporters.export import export

NARROWEST = 1 / 3  # share of a group's channels in a probe
FORMAT = 1  # of what is kept; part of its name


def extents_of(record: Record) -> Extents:
    """The axes of the record's model."""
    if record.coverage is None:
        raise RuntimeError("coverage comes before the tables")
    module = record.source.module
    tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return Extents(record.coverage.groups, {name: tuple(tensor.shape) for name, tensor in tensors})


def elastic_file(record: Record, original: Path, extents: Extents, folder: RunFolder) -> ElasticFile:
    """The original's ONNX file at any widths.

    The files at other widths are kept without their weights in the user's cache, so the next run need not write them.

    Raises:
        NotElastic: the files cannot be explained; the sentence says why.
    """
    if record.coverage is None:
        raise RuntimeError("coverage comes before the tables")
    groups = record.coverage.groups
    known = cache_folder() / "probes" / f"{FORMAT}-{fingerprint(original)[:24]}"
    probes = [known / f"{number}.onnx" for number in range(_n_probes(groups))]
    choices = probe_widths(groups, len(probes))
    kept = known / "widths.json"
    if not (kept.is_file() and all(path.is_file() for path in probes) and _read(kept) == choices):
        _write_probes(record, choices, probes, folder)
        save_json(choices, kept, list[dict[str, int]])
    files = [Sized(path, extents.at(choice)) for path, choice in zip(probes, choices, strict=True)]
    return ElasticFile(Sized(original, extents.at({})), files)


def probe_widths(groups: Sequence[ChannelGroup], n_probes: int) -> list[dict[str, int]]:
    """Channels of each group in each probe: no two groups of one size have the same in all probes, if possible."""
    generator = random.Random(0)
    found: list[dict[str, int]] = [{} for _ in range(n_probes)]
    used: set[tuple[int, ...]] = set()
    for group in groups:
        possible = _possible(group.n_channels)
        for _ in range(200):
            drawn = tuple(generator.choice(possible) for _ in range(n_probes))
            if (group.n_channels, *drawn) not in used and (len(set(drawn)) > 1 or len(possible) == 1):
                break
        used.add((group.n_channels, *drawn))
        for choice, count in zip(found, drawn, strict=True):
            choice[group.name] = count
    return found


def _possible(n_channels: int) -> list[int]:
    least = max(min(2, n_channels), round(n_channels * NARROWEST))
    return list(range(least, n_channels)) or [n_channels]


def _n_probes(groups: Sequence[ChannelGroup]) -> int:
    """Two, or three where many narrow groups could be mistaken for each other."""
    sizes = [group.n_channels for group in groups]
    crowded = any(sizes.count(size) > len(_possible(size)) ** 2 / 3 for size in set(sizes))
    return 3 if crowded else 2


def _write_probes(
    record: Record, choices: Sequence[Mapping[str, int]], probes: Sequence[Path], folder: RunFolder
) -> None:
    place = folder.work / "probes"
    probes[0].parent.mkdir(parents=True, exist_ok=True)
    with record.progress.step("Exporting the model at other widths", len(probes)) as step:
        for choice, path in zip(choices, probes, strict=True):
            try:
                (file,) = export(narrowed(record, choice), record.source.inputs, ["onnx"], place)
                strip_weights(file.path, path)
            finally:
                shutil.rmtree(place, ignore_errors=True)
            step.advance(1)


def narrowed(record: Record, n_keep: Mapping[str, int]) -> nn.Module:
    """The model with the first channels of each group: as fast as any others."""
    if record.coverage is None:
        raise RuntimeError("coverage comes before widths")
    module = record.source.module
    keep: Mapping[str, Sequence[int]] = {name: range(count) for name, count in n_keep.items()}
    return cut_copy(module, *expand(record.coverage.groups, keep, module))


def _read(path: Path) -> object:
    try:
        return load_json(list[dict[str, int]], path)
    except Exception:  # damaged: written anew
        return None


__all__ = ["NotElastic", "elastic_file", "extents_of", "narrowed", "probe_widths"]
