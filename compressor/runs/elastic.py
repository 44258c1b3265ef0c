"""The original's ONNX file at any widths: written a few times more at widths of chance, and compared."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf.message import DecodeError
from torch import nn

from compressor.core.errors import ModelFileError, OutputError
from compressor.core.files import write_atomically
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
WIDTHS = "widths.json"
TRIES = 1000  # to draw widths that no other group has
LEAST = 2  # channels: exporters treat an axis of one as none
FEWEST, MOST = 2, 5  # probes
FORMAT = 2  # of what is kept; part of its name


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
        ExportError: the model cannot be exported at other widths.
    """
    if record.coverage is None:
        raise RuntimeError("coverage comes before the tables")
    choices = probe_widths(record.coverage.groups)
    with TemporaryDirectory(prefix="compressor-whole-") as room:
        if record.source.as_given is not None:  # the original has other nodes than what is cut
            (file,) = export(record.source.module, record.source.inputs, ["onnx"], Path(room))
            original = file.path
        return _compared(record, original, choices, extents, folder)


def _compared(
    record: Record, original: Path, choices: list[dict[str, int]], extents: Extents, folder: RunFolder
) -> ElasticFile:
    kept = cache_folder() / "probes" / f"{FORMAT}-{fingerprint(original)[:24]}"
    whole = Sized(original, extents.at({}))
    if _read(kept / WIDTHS) == choices:
        with suppress(OSError, DecodeError, NotElastic):  # deleted or damaged: written anew
            return ElasticFile(whole, _sized(kept, choices, extents))
    place = folder.work / "probes"
    try:
        _write_probes(record, choices, place)
        _keep(place, kept, choices)
        return ElasticFile(whole, _sized(place, choices, extents))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def narrowable(group: ChannelGroup) -> bool:
    """Whether probes can tell the group's axes: one of two channels has no other width than the whole."""
    return group.n_channels > LEAST


def probe_widths(groups: Sequence[ChannelGroup], n_probes: int | None = None) -> list[dict[str, int]]:
    """Channels of each group in each probe: no two groups of one size have the same in all probes.

    Args:
        groups: of the model.
        n_probes: None: as few as tell the groups apart.

    Raises:
        NotElastic: there are more groups of one size than can be told apart.
    """
    generator = random.Random(0)
    found: list[dict[str, int]] = [{} for _ in range(n_probes or _n_probes(groups))]
    used: set[tuple[int, ...]] = set()
    for group in groups:
        drawn = _drawn(generator, group, len(found), used)
        used.add((group.n_channels, *drawn))
        for choice, count in zip(found, drawn, strict=True):
            choice[group.name] = count
    return found


def _drawn(generator: random.Random, group: ChannelGroup, n_probes: int, used: set[tuple[int, ...]]) -> tuple[int, ...]:
    possible = _possible(group.n_channels)
    if len(possible) == 1:
        return tuple(possible * n_probes)
    for _ in range(TRIES):
        drawn = tuple(generator.choice(possible) for _ in range(n_probes))
        if len(set(drawn)) > 1 and (group.n_channels, *drawn) not in used:
            return drawn
    raise NotElastic(f"there are too many groups of {group.n_channels} channels to tell their axes apart.")


def _possible(n_channels: int) -> list[int]:
    """Counts in a probe; whole groups only where there is little else."""
    least = max(LEAST, round(n_channels * NARROWEST))
    return list(range(least, n_channels + (n_channels < 2 * LEAST))) or [n_channels]


def _n_probes(groups: Sequence[ChannelGroup]) -> int:
    """Two, or more where many narrow groups could be mistaken for each other."""
    many = Counter(group.n_channels for group in groups)
    for n_probes in range(FEWEST, MOST):
        ways = {size: len(_possible(size)) for size in many}
        if all(n == 1 or many[size] <= (n**n_probes - n) / 2 for size, n in ways.items()):
            return n_probes
    return MOST


def _write_probes(record: Record, choices: Sequence[Mapping[str, int]], place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    with record.progress.step("Exporting the model at other widths", len(choices)) as step:
        for number, choice in enumerate(choices):
            (file,) = export(narrowed(record, choice), record.source.inputs, ["onnx"], place / "exported")
            strip_weights(file.path, place / f"{number}.onnx")
            shutil.rmtree(place / "exported")
            step.advance(1)


def _keep(place: Path, kept: Path, choices: list[dict[str, int]]) -> None:
    """Copies probes into the cache, the widths last; a cache that cannot be written is no reason to stop."""
    with suppress(OSError, OutputError):
        kept.mkdir(parents=True, exist_ok=True)
        (kept / WIDTHS).unlink(missing_ok=True)
        for number in range(len(choices)):
            write_atomically(kept / f"{number}.onnx", (place / f"{number}.onnx").read_bytes())
        save_json(choices, kept / WIDTHS, list[dict[str, int]])


def _sized(place: Path, choices: Sequence[Mapping[str, int]], extents: Extents) -> list[Sized]:
    return [Sized(place / f"{number}.onnx", extents.at(choice)) for number, choice in enumerate(choices)]


def narrowed(record: Record, n_keep: Mapping[str, int]) -> nn.Module:
    """The model with the first channels of each group: as fast as any others."""
    if record.coverage is None:
        raise RuntimeError("coverage comes before widths")
    module = record.source.module
    keep: Mapping[str, Sequence[int]] = {name: range(count) for name, count in n_keep.items()}
    return cut_copy(module, *expand(record.coverage.groups, keep, module))


def _read(path: Path) -> list[dict[str, int]] | None:
    try:
        return load_json(list[dict[str, int]], path)
    except (OSError, ModelFileError):  # not there, or damaged: written anew
        return None


__all__ = ["NotElastic", "elastic_file", "extents_of", "narrowable", "narrowed", "probe_widths"]
