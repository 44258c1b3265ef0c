"""report.json: everything a pipeline reads, and the only thing the page and the tables are made from.

Its JSON schema is published in docs/schemas/report.schema.json. JSON has no infinity and no NaN: a number that may be
either is null in the file, and None when the file is read back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from compressor.core.findings import Diagnosis
from compressor.core.layers import LayerTable
from compressor.core.measurement import LatencyStats, MachineFacts
from compressor.core.startup import Start

# 1: first.
REPORT_FORMAT = 1


@dataclass(frozen=True)
class Count:
    """A count before and after."""

    before: int
    after: int

    @property
    def share(self) -> float:
        """What remains; 1 where there was nothing."""
        return self.after / self.before if self.before else 1.0


@dataclass(frozen=True)
class AccuracyRow:
    """Accuracy at one point of the run, on the validation data. All of them were measured."""

    stage: str  # "dense", "cut", "bn_reestimate", "finetune"
    top1_percent: float
    n_images: int


@dataclass(frozen=True)
class RungRow:
    """One rung of the recovery ladder; the first is the cut itself, which every chain of rungs begins with."""

    name: str  # "cut", "bn_reestimate", "least_squares + bn_reestimate", "finetune, 2 epochs"
    start: str  # name of the rung whose weights it began with; empty for the cut
    percent: float | None  # top-1 accuracy or agreement after it; None where it was not applied
    bought_points: float | None  # against the best before it; below 0 where it made things worse
    seconds: float  # of the rung alone, without measuring; where a killed run went on in the middle, since then
    kept: bool  # the model that is handed over went through it
    reason: str = ""  # why it was not applied


@dataclass(frozen=True)
class Ladder:
    """What --max-drop asked for, and what became of it. All percentages were measured on the same images."""

    measure: str  # "accuracy"; "agreement" with the original's answers where the images have no labels
    original_percent: float  # 100 for agreement
    n_images: int
    max_drop_points: float
    max_epochs: int
    drop_points: float  # of the model that is handed over, the best that was found
    reached: bool
    rungs: tuple[RungRow, ...]  # in the order in which they were tried
    largest_budget: dict[str, float] = field(default_factory=dict)  # an estimate: {"macs": 0.72}; empty where reached


@dataclass(frozen=True)
class TimedRow:
    """One model on one target, timed on the way to a budget in time."""

    macs_share: float  # that remains
    target: str
    value: float  # times as fast as the original, or seconds per inference: the budget's unit
    interval: tuple[float, float]  # 95 %
    holds: bool  # all of the interval keeps the budget
    predicted: float | None = None  # by the latency tables, in the same unit; None without tables


@dataclass(frozen=True)
class TableRow:
    """The latency tables of one target."""

    target: str
    n_models: int  # that were timed node by node
    error: float  # median of |predicted / measured - 1| of these whole models
    unexplained_share: float  # of the time, in nodes whose sizes follow no layer's channels


@dataclass(frozen=True)
class SpeedSearch:
    """What --speedup or --latency asked for, and the models that were timed until one kept it."""

    unit: str  # "speedup", "latency"
    asked: float
    rows: tuple[TimedRow, ...]
    macs_share: float  # of the model whose widths were taken
    reached: bool  # on every target; the files that were written are timed again, and they decide
    tables: tuple[TableRow, ...] = ()  # empty: widths were sought by their share of the MACs


@dataclass(frozen=True)
class StageRow:
    """What one stage took and said."""

    name: str
    seconds: float
    facts: Mapping[str, float | int | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class WidthRow:
    """Channels of one layer."""

    layer: str
    kind: str
    before: int
    after: int


@dataclass(frozen=True)
class GroupRow:
    """Coverage: one group. `reason` is empty where channels may leave."""

    name: str
    n_channels: int
    n_kept: int
    macs_share: float  # of the whole model's MACs, in the layers that make the channels
    layers: int
    reason: str = ""
    kind: str = ""  # conv, mlp, heads, head_dim or embed; empty where channels stay


@dataclass(frozen=True)
class ParityRow:
    """One comparison of an exported file with the PyTorch module, in a fresh process.

    Where the file could not be compared at all, `batch_size` is 0 and `inputs` is the reason.
    """

    file: str
    format: str
    batch_size: int
    inputs: str
    max_abs_error: float | None
    max_rel_error: float | None
    passed: bool


@dataclass(frozen=True)
class FileRow:
    """A file of the run folder; `base_bytes` is the original model's in the same format, 0 where not exported."""

    name: str
    format: str
    n_bytes: int
    base_bytes: int
    sha256: str
    details: dict[str, str] = field(default_factory=dict)
    companions: dict[str, str] = field(default_factory=dict)  # files that belong to it (model.bin) -> their SHA-256


@dataclass(frozen=True)
class FileFigures:
    """What one file costs on one target beside its latency: medians of fresh processes that held that file alone."""

    per_s: float  # inputs per second: batch size over the median latency
    load_ms: float
    first_ms: float  # the first inference
    memory_bytes: int | None  # peak of the process without the bare runtime; None where the system does not tell
    runtime_bytes: int | None  # what the bare runtime takes
    energy_j: float | None  # per inference; None without counters
    starts: tuple[Start, ...]  # raw


@dataclass(frozen=True)
class LatencyRow:
    """One target: the comparison, or why there is none."""

    target: str
    unavailable: str = ""  # the reason; then everything below is empty
    batch_size: int = 0
    threads: int = 0
    base: LatencyStats | None = None
    compressed: LatencyStats | None = None
    ratio: float | None = None  # base time / compressed time
    interval: tuple[float, float] | None = None  # 95 %
    verdict: str = ""  # "faster", "slower", "no significant difference"
    base_samples_ms: tuple[float, ...] = ()  # thinned to at most 400, for the plot
    compressed_samples_ms: tuple[float, ...] = ()
    details: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    base_figures: FileFigures | None = None
    compressed_figures: FileFigures | None = None


@dataclass(frozen=True)
class ControlTiming:
    """The control on one target, timed in turns with the other two files, or why it was not."""

    target: str
    unavailable: str = ""  # the reason; then everything below is empty
    stats: LatencyStats | None = None
    ratio: float | None = None  # compressed time / control time: above 1, the control is faster
    interval: tuple[float, float] | None = None  # 95 %
    verdict: str = ""  # "at least as fast", "slower", "cannot be told"
    original_ratio: float | None = None  # original time / control time
    original_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Control:
    """A third arm: a ready-made smaller model, or the same architecture made uniformly narrower."""

    name: str  # as the user named it
    kind: str  # "architecture", "file", "module", "narrow"
    description: str
    macs: int | None  # per one input; None: only its runtime can read the file
    params: int | None
    top1_percent: float | None  # None: unknown
    accuracy_from: str  # "measured", "--control-accuracy"; why it is unknown
    n_images: int  # that it was measured on; 0 where it was not
    quality: str  # "at least as good", "worse" than the compressed model, "unknown"
    timings: tuple[ControlTiming, ...]
    finding: str  # said before everything else; empty where the compressed model is faster, or better


@dataclass(frozen=True)
class SplitRow:
    """A layer that could be replaced by thin ones of low rank."""

    layer: str
    ranks: tuple[int, ...]  # empty where it did not come to that
    macs_before: int  # per one input of the model
    macs_after: int  # at these ranks, whether it was replaced or not
    relative_error: float  # |W - W'| / |W| of the weight
    ratio: float | None  # times as fast alone as the layer, on the target where that is least; None: not timed
    kept: bool  # it was replaced
    reason: str  # why not


@dataclass(frozen=True)
class LowRank:
    """What --decompose did before anything was pruned."""

    decomposition: str
    rule: dict[str, float]  # {"energy": 0.9}: what chose the ranks
    macs: Count  # of the whole model
    rows: tuple[SplitRow, ...]


@dataclass(frozen=True)
class Alternative:
    """One way to the same latency."""

    name: str  # "low rank", "pruning", "both"
    unavailable: str = ""  # the reason; then everything below is empty
    macs_share: float = 0.0  # of the original's
    params_share: float = 0.0
    top1_percent: float | None = None  # None: unknown
    ratio: float | None = None  # original time / its time
    interval: tuple[float, float] | None = None  # 95 %


@dataclass(frozen=True)
class Alternatives:
    """The model that was handed over beside the same with only one of the two, all as fast, and timed in turns."""

    target: str
    rows: tuple[Alternative, ...]  # the one that was handed over first
    n_images: int  # that accuracies were measured on; 0 without
    finding: str  # whether the one that was handed over is the best of them


@dataclass(frozen=True)
class CutCheck:
    """Cutting against masking on the real model."""

    max_abs_error: float | None
    max_rel_error: float | None
    tolerance: float  # of the relative error
    dtype: str


@dataclass(frozen=True)
class Report:
    """A finished run."""

    model: str  # as the user named it
    source_sha256: str
    command: str  # reproduces the run
    method: str
    budget: dict[str, float]
    budget_met: bool
    exit_code: int
    macs: Count  # per one input
    params: Count
    weight_bytes: Count
    prunable_macs_share: float
    inputs: dict[str, tuple[int, ...]]  # name -> shape used
    inputs_from: str  # "--input", "timm's config", "first layer", ...
    accuracy: tuple[AccuracyRow, ...]  # empty: unknown, no validation data or no labels were given
    stages: tuple[StageRow, ...]
    groups: tuple[GroupRow, ...]  # prunable and blocked
    widths: tuple[WidthRow, ...]
    cut_check: CutCheck | None
    files: tuple[FileRow, ...]
    parity: tuple[ParityRow, ...]
    latency: tuple[LatencyRow, ...]
    machine: MachineFacts
    notes: tuple[str, ...]  # what people should know: defaults chosen, budget missed and why
    options: dict[str, object]
    preprocessing: dict[str, object] = field(default_factory=dict)  # mean, std, size
    ladder: Ladder | None = None  # None: --max-drop was not given
    speed_search: SpeedSearch | None = None  # None: the budget is no time
    control: Control | None = None  # None: --control was not given
    low_rank: LowRank | None = None  # None: --decompose was not given
    alternatives: Alternatives | None = None  # None: --alternatives was not given
    layers: tuple[LayerTable, ...] = ()  # per target that was timed and can be profiled
    doctor: tuple[Diagnosis, ...] = ()  # of targets on which the speed-up falls short of what the MACs promise
    created: str = ""  # ISO 8601, UTC
    compressor_version: str = ""
    format: int = REPORT_FORMAT
