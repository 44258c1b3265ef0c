"""The stage that replaces layers by thin ones of low rank, where those were timed and found to be faster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from compressor.core.copies import own_tensors
from compressor.core.errors import UnsupportedModel
from compressor.core.options import TRAINED_RANK, RunOptions
from compressor.core.plugin_options import plugin_options
from compressor.decompositions.decompose import LayerRecord, decompose
from compressor.decompositions.kinds import decomposition_of
from compressor.decompositions.rule import RankRule
from compressor.profiling.statistics import Estimate
from compressor.report.schema import Count, LowRank, SplitRow
from compressor.rewrites.apply import apply
from compressor.rewrites.low_rank import rewrite_of
from compressor.runs.bench import Bench, targets_of
from compressor.runs.coverage import cover
from compressor.runs.folder import RunFolder
from compressor.runs.layer_race import Pair, race
from compressor.runs.processes import is_main_process, same_for_all
from compressor.runs.record import Record, Source, Whole

Races = dict[str, Estimate]  # by signature of a pair of layers

STAGE = "split"
ENERGY = 0.9  # of the squared singular values, unless a rule is named


@dataclass(frozen=True)
class Split:
    """What the folder remembers: every layer that was looked at."""

    rows: tuple[SplitRow, ...]


def check_low_rank(options: RunOptions) -> None:
    """The decomposition is there and its options fit; before any work is done.

    Raises:
        UnknownPlugin, InvalidOption: a name or an option.
    """
    if options.decompose:
        decomposition_of(options.decompose)
        rule_of(options)


def rule_of(options: RunOptions) -> RankRule:
    """As typed; after training for it, all that training left; else nine tenths of the energy.

    Raises:
        InvalidOption: an option is unknown or out of range, or there are several.
    """
    typed = plugin_options(RankRule, options.decompose, "--decompose-option", options.decompose_options)
    return RankRule(**typed) if typed else RankRule(energy=1.0 if options.train == TRAINED_RANK else ENERGY)


def split_layers(record: Record, folder: RunFolder) -> Source:
    """The source with thin layers in place of some; the record learns the coverage of that, and keeps the whole.

    Raises:
        UnsupportedModel: no layer is better split; or the model's own code reads a weight that was.
        NothingPrunable: channels are to be cut too, and the model with its layers split has none to spare.
    """
    options, source, coverage = record.options, record.source, record.coverage
    if coverage is None:
        raise RuntimeError("coverage comes before layers are split")
    with record.stage(f"split layers, {options.decompose}") as facts:
        rule = rule_of(options)
        made = folder.remember(STAGE, Split, lambda: _split(record, rule, folder)) if is_main_process() else None
        found = same_for_all(made, record.device)
        if found is None:
            raise RuntimeError("the main process times layers")
        rows = found.rows
        if not any(row.kept for row in rows):
            raise UnsupportedModel(f"--decompose {options.decompose}: {_why_none(rows)}")
        split = split_source(source, options.decompose, rows)
        given = (options.ignore, options.seed, record.progress, options.prune)
        left = cover(split.module, split.inputs, *given, needed=options.prunes)
        record.whole, record.coverage = Whole(source, coverage), left
        rules = {name: value for name, value in vars(rule).items() if value is not None}
        record.low_rank = LowRank(options.decompose, rules, Count(coverage.cost.macs, left.cost.macs), rows)
        facts |= {"layers": sum(row.kept for row in rows), "of": len(rows)}
    return split


def split_source(source: Source, decomposition: str, rows: Sequence[SplitRow]) -> Source:
    """A source whose module has the thin layers of these rows."""
    rewrites = tuple(rewrite_of(row.layer, decomposition, row.ranks) for row in rows if row.kept)
    module = own_tensors(source.module)
    apply(module, rewrites)
    return replace(source, module=module, rewrites=(*source.rewrites, *rewrites), as_given=source.original)


def split_rows(record: Record, rule: RankRule, bench: Bench | None, known: Races, place: Path) -> tuple[SplitRow, ...]:
    """Every layer that could be split, with its ranks, and whether its thin layers are faster on all targets.

    Args:
        record: of the model whose layers are looked at.
        rule: chooses the ranks.
        bench: None: there are no targets, and the multiply-accumulates decide.
        known: outcomes of races by signature; learns those that are run now.
        place: a folder of our own for files, which goes afterwards.
    """
    options, source = record.options, record.source
    names = {layer: name for name, layer in source.module.named_modules()}
    pairs: dict[str, list[Pair]] = {}  # by layer

    def would_be_replaced(layer: nn.Module, replacement: nn.Module, shape: tuple[int, ...]) -> bool:
        timed = (max(1, options.batch_size * shape[0] // source.inputs.batch_size), *shape[1:])
        pairs.setdefault(names[layer], []).append(Pair(layer, replacement, timed))
        return True

    with record.progress.step("Taking weights apart"):
        _, records = decompose(
            source.module,
            source.inputs,
            kind=options.decompose,
            ignore=options.ignore,
            is_faster=would_be_replaced,
            **vars(rule),
        )
    if bench is None:
        return tuple(_row(each) for each in records)
    waiting = [pair for of_layer in pairs.values() for pair in of_layer if pair.signature not in known]
    known |= race(waiting, bench, place, threads=options.threads, progress=record.progress) if waiting else {}
    return tuple(_judged(each, [known.get(pair.signature) for pair in pairs.get(each.layer, ())]) for each in records)


def _split(record: Record, rule: RankRule, folder: RunFolder) -> Split:
    bench = Bench(record, folder) if targets_of(record.options) else None
    if bench is None:
        record.note("Layers were split where that saves MACs: without a target, nothing tells whether they are faster.")
    return Split(split_rows(record, rule, bench, {}, folder.work / "layers"))


def _row(record: LayerRecord, ratio: float | None = None) -> SplitRow:
    before, after, error = record.macs_before, record.macs_after, record.relative_error
    return SplitRow(record.layer, record.ranks, before, after, error, ratio, record.kept, record.reason)


def _judged(record: LayerRecord, races: Sequence[Estimate | None]) -> SplitRow:
    """A layer that would save multiply-accumulates must be faster at each of its calls."""
    if not record.kept:
        return _row(record)
    if None in races:
        return replace(_row(record), kept=False, reason="It cannot be exported alone, so it could not be timed.")
    slowest = min((found for found in races if found is not None), key=lambda found: found.low)
    row = _row(record, slowest.value)
    return row if slowest.low > 1.0 else replace(row, kept=False, reason="It is not faster.")


def _why_none(rows: Sequence[SplitRow]) -> str:
    """Why no layer was replaced, by the commonest reason."""
    if not rows:
        return "The model has no layer of the kind that it splits. `--decompose` takes others."
    (reason, n), *_ = Counter(row.reason for row in rows).most_common(1)
    step = "Allow lower ranks (--decompose-option energy=0.8), or leave --decompose out and prune."
    return f"No layer is better split. Of {n} of {len(rows)} layers: {reason} {step}"
