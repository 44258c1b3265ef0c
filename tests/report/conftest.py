"""Reports as real runs would give them: plausible numbers, made without running anything."""

from __future__ import annotations

import random
import statistics
from dataclasses import replace

import pytest

from compressor.core.measurement import LatencyStats, MachineFacts
from compressor.core.startup import Start
from compressor.report import low_rank_wording
from compressor.report.control_wording import finding_of
from compressor.report.schema import (
    AccuracyRow,
    Alternative,
    Alternatives,
    Control,
    ControlTiming,
    Count,
    CutCheck,
    FileFigures,
    FileRow,
    GroupRow,
    Ladder,
    LatencyRow,
    LowRank,
    ParityRow,
    Report,
    RungRow,
    SpeedSearch,
    SplitRow,
    StageRow,
    TableRow,
    TimedRow,
    WidthRow,
)

HOSTILE = "</title><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&{{7*7}}[red]\x1b[2J\u202eevil"

MACHINE = MachineFacts(
    cpu="Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz",
    n_cores=4,
    n_cores_usable=2,
    memory_mib=15_990,
    system="Linux 6.8.0-1021-azure x86_64",
    python="3.11.9",
    governor="performance",
    load_1min=0.42,
    versions={"torch": "2.9.0", "onnxruntime": "1.23.0", "openvino": "2025.3.0", "numpy": "2.3.1"},
)


def latency(
    target: str, base_ms: float, compressed_ms: float, verdict: str, spread: float = 0.03, seed: int = 0
) -> LatencyRow:
    """Log-normal samples with a tail, as an ordinary machine gives them."""
    generator = random.Random(seed)

    def draw(median: float) -> tuple[float, ...]:
        samples = [median * generator.lognormvariate(0, spread) for _ in range(390)]
        return (*samples, *(median * generator.uniform(1.2, 2.6) for _ in range(10)))

    base, compressed = draw(base_ms), draw(compressed_ms)
    ratio = statistics.median(base) / statistics.median(compressed)
    return LatencyRow(
        target=target,
        batch_size=1,
        threads=1,
        base=stats(base),
        compressed=stats(compressed),
        ratio=ratio,
        interval=(ratio * (1 - spread), ratio * (1 + spread)),
        verdict=verdict,
        base_samples_ms=base,
        compressed_samples_ms=compressed,
        details={"provider": "CPUExecutionProvider", "precision": "fp32"},
        base_figures=figures(statistics.median(base), 11_400_000),
        compressed_figures=figures(statistics.median(compressed), 6_100_000),
    )


def figures(median_ms: float, memory_bytes: int | None) -> FileFigures:
    """As three starts on an ordinary machine give them."""
    peak = None if memory_bytes is None else 92_000_000 + memory_bytes
    start = Start(0.4, 0.0312, 1.7e-3 * median_ms, 92_000_000, peak)
    return FileFigures(1000 / median_ms, 31.2, 1.7 * median_ms, memory_bytes, 92_000_000, None, (start,) * 3)


def stats(samples: tuple[float, ...]) -> LatencyStats:
    ordered = sorted(samples)
    return LatencyStats(
        n=len(ordered) * 5,
        median_ms=statistics.median(ordered),
        p90_ms=ordered[int(0.9 * len(ordered))],
        p99_ms=ordered[int(0.99 * len(ordered))],
        mean_ms=statistics.mean(ordered),
        std_ms=statistics.stdev(ordered),
    )


def resnet_layers(n_blocks: tuple[int, ...], channels: tuple[int, ...]) -> list[tuple[str, int]]:
    found = [("conv1", channels[0])]
    for stage, (n, width) in enumerate(zip(n_blocks, channels, strict=True), 1):
        found += [(f"layer{stage}.{block}.conv{i}", width) for block in range(n) for i in (1, 2)]
    return found


def full() -> Report:
    """ResNet-20 on CIFAR-10, everything asked for and everything well."""
    layers = resnet_layers((3, 3, 3), (16, 32, 64))
    widths = tuple(
        WidthRow(name, "Conv2d", n, max(8, (n * (7 - i % 3) // 10) // 4 * 4)) for i, (name, n) in enumerate(layers)
    )
    groups = tuple(
        GroupRow(row.layer, row.before, row.after, 0.052, 3 + i % 4)
        for i, row in enumerate(widths)
        if "conv2" not in row.layer
    )
    shortcut = (
        "the zero-padded shortcut cannot follow a cut: the cut network does not run (torch.nn.functional.pad). "
        "Replace it by a 1x1 convolution"
    )
    blocked = (
        GroupRow("layer2.0.conv2", 32, 32, 0.17, 7, shortcut),
        GroupRow("layer3.0.conv2", 64, 64, 0.16, 7, shortcut),
        GroupRow("linear", 10, 10, 0.00002, 1, "reaches the model's output"),
    )
    return Report(
        model="resnet20_cifar10.pt",
        source_sha256="3b1f" * 16,
        command="compress --export onnx,openvino --macs 0.5 --data cifar10/train.parquet --val cifar10/test.parquet "
        "--mean 0.4914,0.4822,0.4465 --std 0.2470,0.2435,0.2616 --finetune-epochs 3 --distill "
        "--on onnxruntime:cpu,openvino:cpu,torch:cpu -o resnet20-small resnet20_cifar10.pt",
        method="reprune",
        budget={"macs": 0.5},
        budget_met=True,
        exit_code=0,
        macs=Count(41_214_986, 20_511_744),
        params=Count(272_474, 138_226),
        weight_bytes=Count(1_102_312, 563_120),
        prunable_macs_share=0.871,
        inputs={"x": (1, 3, 32, 32)},
        inputs_from="a sample of --data",
        accuracy=(
            AccuracyRow("dense", 92.60, 10_000),
            AccuracyRow("cut", 61.37, 10_000),
            AccuracyRow("bn_reestimate", 78.92, 10_000),
            AccuracyRow("finetune", 91.21, 10_000),
        ),
        stages=(
            StageRow("coverage", 2.1, {"groups": 11}),
            StageRow("plan", 7.4, {"method": "reprune"}),
            StageRow("cut", 0.08),
            StageRow("check", 0.9),
            StageRow("bn_reestimate", 3.2, {"batches": 20}),
            StageRow("finetune", 148.0, {"epochs": 3, "final_loss": 0.2113}),
            StageRow("export", 9.7),
            StageRow("verify", 4.4),
            StageRow("profile", 61.0),
        ),
        groups=groups + blocked,
        widths=widths,
        cut_check=CutCheck(3.1e-14, 8.2e-15, 1e-9, "float64"),
        files=(
            FileRow("model.safetensors", "safetensors", 568_400, 1_108_000, "9f2c" * 16),
            FileRow("model.pt2", "pt2", 640_112, 1_181_004, "07aa" * 16),
            FileRow(
                "model.onnx",
                "onnx",
                566_901,
                1_104_220,
                "c4d1" * 16,
                {"opset": "20", "exporter": "dynamo", "simplifier": "onnxsim 0.4.36"},
            ),
            FileRow("model.xml", "openvino", 611_230, 1_160_870, "e0b7" * 16, {"precision": "fp32"}),
        ),
        parity=tuple(
            ParityRow(file, kind, batch, inputs, error, error / 12, True)
            for file, kind, error in (("model.onnx", "onnx", 4.8e-6), ("model.xml", "openvino", 5.2e-6))
            for batch, inputs in ((1, "random, seed 0"), (3, "random, seed 1"), (3, "calibration images"))
        ),
        latency=(
            latency("onnxruntime:cpu", 1.482, 0.861, "faster"),
            latency("openvino:cpu", 1.105, 0.742, "faster", seed=1),
            latency("torch:cpu", 3.91, 3.71, "no significant difference", spread=0.09, seed=2),
            LatencyRow("openvino:gpu", unavailable="OpenVINO finds no GPU on this machine; it sees CPU"),
        ),
        machine=MACHINE,
        notes=(
            "Channels were rounded to multiples of 4, the default below 64 channels.",
            "3 groups were left whole; the coverage table says why.",
        ),
        options={"macs": 0.5, "finetune_epochs": 3, "distill": True, "export": ["onnx", "openvino"], "seed": 0},
        preprocessing={"mean": [0.4914, 0.4822, 0.4465], "std": [0.247, 0.2435, 0.2616], "size": [32, 32]},
        created="2026-11-21T03:12:44+00:00",
        compressor_version="0.1.0",
    )


def data_free() -> Report:
    """No data: accuracy is unknown; one target."""
    report = full()
    stages = tuple(stage for stage in report.stages if stage.name not in ("finetune", "bn_reestimate"))
    return replace(
        report,
        command="compress --export onnx resnet20_cifar10.pt",
        method="l1",
        accuracy=(),
        stages=stages,
        latency=report.latency[:1],
        files=report.files[2:3],
        parity=report.parity[:2],
        notes=("No data was given, so batch-norm statistics are those of the original model.",),
        preprocessing={},
        options={"model": "resnet20_cifar10.pt"},
    )


def slower() -> Report:
    """Nothing is faster, the budget was missed, and one file disagrees."""
    report = full()
    slow = latency("onnxruntime:cpu", 1.93, 2.71, "slower")
    warning = "The times vary by 10 % or more. Close other programs, or time for longer."
    same = replace(latency("openvino:cpu", 1.21, 1.206, "no significant difference", spread=0.015), warnings=(warning,))
    failed = ParityRow("model.xml", "openvino", 3, "random, seed 0", 0.31, 0.042, False)
    broken = ParityRow(
        "model.pt2", "pt2", 0, "the runtime ended with signal 11 (segmentation fault)", None, None, False
    )
    return replace(
        report,
        model="mobilenet_v2.pt",
        budget={"macs": 0.3},
        budget_met=False,
        exit_code=6,
        latency=(slow, same),
        accuracy=(AccuracyRow("dense", 71.88, 50_000), AccuracyRow("cut", 0.43, 50_000)),
        parity=(*report.parity[:3], failed, broken),
        notes=("The budget of 30 % of the MACs was missed: 41.2 % remain, because 38 % of the MACs cannot be pruned.",),
    )


def ladder() -> Report:
    """The recovery ladder reached what was asked for."""
    rungs = (
        RungRow("cut", "", 61.37, None, 0.01, True),
        RungRow("bias_absorption", "cut", 60.12, -1.25, 1.2, False),
        RungRow("bn_reestimate", "cut", 78.92, 17.55, 3.2, False),
        RungRow("neuron_merging", "cut", None, None, 0.2, False, "No group ends in ReLU."),
        RungRow("least_squares", "cut", 76.0, -2.92, 9.1, True),
        RungRow("least_squares + bn_reestimate", "least_squares", 85.5, 6.58, 3.1, True),
        RungRow("finetune, 1 epoch", "least_squares + bn_reestimate", 91.74, 6.24, 65.0, True),
    )
    report = full()
    accuracy = (report.accuracy[0], *(AccuracyRow(row.name, row.percent or 0.0, 10_000) for row in rungs if row.kept))
    return replace(report, accuracy=accuracy, ladder=Ladder("accuracy", 92.6, 10_000, 1.0, 10, 0.86, True, rungs))


def timed() -> Report:
    """A budget in time, on two targets: the second of two models kept it."""
    rows = (
        TimedRow(0.5, "onnxruntime:cpu", 1.91, (1.88, 1.94), False, 1.97),
        TimedRow(0.5, "openvino:cpu", 2.11, (2.09, 2.13), True),
        TimedRow(0.46, "onnxruntime:cpu", 2.06, (2.04, 2.08), True),
        TimedRow(0.46, "openvino:cpu", 2.31, (2.29, 2.33), True),
    )
    return replace(
        full(),
        budget={"speedup": 2.0},
        speed_search=SpeedSearch("speedup", 2.0, rows, 0.46, True, (TableRow("onnxruntime:cpu", 40, 0.012, 0.03),)),
    )


def controlled() -> Report:
    """A ready-made smaller model is as fast on one target, and as good."""
    report = full()
    timings = (
        ControlTiming(
            "onnxruntime:cpu",
            stats=report.latency[0].compressed,
            ratio=1.004,
            interval=(0.991, 1.017),
            verdict="at least as fast",
            original_ratio=1.72,
            original_interval=(1.69, 1.75),
        ),
        ControlTiming(
            "openvino:cpu",
            stats=report.latency[1].compressed,
            ratio=0.9,
            interval=(0.88, 0.92),
            verdict="slower",
            original_ratio=1.34,
            original_interval=(1.3, 1.38),
        ),
        ControlTiming("torch:cpu", unavailable="The control is no pt2 file."),
    )
    control = Control(
        name="timm:resnet14t",
        kind="architecture",
        description="built with random weights",
        macs=19_400_000,
        params=140_000,
        top1_percent=91.4,
        accuracy_from="--control-accuracy",
        n_images=0,
        quality="at least as good",
        timings=timings,
        finding="",
    )
    return replace(report, control=replace(control, finding=finding_of(control, report.accuracy[-1])))


def uncontrolled() -> Report:
    """A file that only its runtime reads was slower, and nobody knows how good it is."""
    report = controlled()
    assert report.control is not None
    slower = tuple(replace(row, verdict="slower") for row in report.control.timings)
    unknown = {
        "macs": None,
        "params": None,
        "top1_percent": None,
        "accuracy_from": "only its runtime can read the file",
    }
    return replace(report, control=replace(report.control, timings=slower, quality="unknown", finding="", **unknown))


def split() -> Report:
    """Layers of low rank and pruning, beside either alone; low rank alone did not get there."""
    report = full()
    rows = (
        SplitRow("layer1.0.conv1", (8, 9), 2_360_000, 942_000, 0.403, 1.3, True, ""),
        SplitRow("layer1.0.conv2", (10, 10), 2_360_000, 1_250_000, 0.373, 0.91, False, "It is not faster."),
        SplitRow("head", (), 640, 640, 0.0, None, False, "No rank keeps to 50% of its MACs."),
    )
    ways = (
        Alternative("both", "", 0.46, 0.41, 88.2, 1.52, (1.5, 1.54)),
        Alternative("low rank", "It does not become as fast on onnxruntime:cpu: 1.21x at most."),
        Alternative("pruning", "", 0.52, 0.5, 90.1, 1.51, (1.49, 1.53)),
    )
    compared = Alternatives("onnxruntime:cpu", ways, 5000, "")
    return replace(
        report,
        low_rank=LowRank("tucker2", {"energy": 0.9}, Count(40_600_000, 39_200_000), rows),
        alternatives=replace(compared, finding=low_rank_wording.finding_of(compared)),
    )


def short() -> Report:
    """The ladder did not reach it, on images without labels."""
    report = ladder()
    assert report.ladder is not None
    found = replace(
        report.ladder,
        measure="agreement",
        original_percent=100.0,
        n_images=500,
        drop_points=8.26,
        reached=False,
        largest_budget={"macs": 0.94},
    )
    return replace(report, accuracy=(), ladder=found, exit_code=7)


def hostile() -> Report:
    """Every text that comes from the user's side tries to be code."""
    report = full()
    hostile_rungs = (
        RungRow(HOSTILE, "", 61.0, None, 1.0, True),
        RungRow(HOSTILE, HOSTILE, None, None, 1.0, False, HOSTILE),
    )
    return replace(
        report,
        model=HOSTILE,
        command=f"compress {HOSTILE}",
        method=HOSTILE,
        budget={HOSTILE: 0.5},
        inputs={HOSTILE: (1, 3)},
        inputs_from=HOSTILE,
        accuracy=tuple(replace(row, stage=HOSTILE) for row in report.accuracy),
        control=Control(
            HOSTILE,
            HOSTILE,
            HOSTILE,
            1,
            1,
            None,
            HOSTILE,
            0,
            HOSTILE,
            (
                ControlTiming(HOSTILE, HOSTILE),
                ControlTiming(HOSTILE, "", report.latency[0].base, 1.0, (0.9, 1.1), HOSTILE, 1.0, (0.9, 1.1)),
            ),
            HOSTILE,
        ),
        low_rank=LowRank(
            HOSTILE, {HOSTILE: 0.5}, Count(2, 1), (SplitRow(HOSTILE, (1,), 2, 1, 0.1, 1.0, False, HOSTILE),)
        ),
        alternatives=Alternatives(
            HOSTILE,
            (Alternative(HOSTILE, HOSTILE), Alternative(HOSTILE, "", 0.5, 0.5, 1.0, 1.0, (0.9, 1.1))),
            1,
            HOSTILE,
        ),
        speed_search=SpeedSearch(HOSTILE, 2.0, (TimedRow(0.5, HOSTILE, 1.0, (0.9, 1.1), False),), 0.5, False),
        ladder=Ladder(HOSTILE, 92.6, 10, 1.0, 1, 5.0, False, hostile_rungs, {HOSTILE: 0.5}),
        stages=(StageRow(HOSTILE, 1.0, {HOSTILE: HOSTILE}),),
        groups=tuple(replace(row, name=HOSTILE, reason=row.reason and HOSTILE) for row in report.groups),
        widths=tuple(replace(row, layer=HOSTILE, kind=HOSTILE) for row in report.widths),
        files=tuple(
            replace(row, name=HOSTILE, format=HOSTILE, sha256=HOSTILE, details={HOSTILE: HOSTILE})
            for row in report.files
        ),
        parity=tuple(replace(row, file=HOSTILE, inputs=HOSTILE) for row in report.parity),
        latency=(
            replace(report.latency[0], target=HOSTILE, details={HOSTILE: HOSTILE}, warnings=(HOSTILE,)),
            replace(report.latency[1], target=HOSTILE, verdict=HOSTILE),
            LatencyRow(HOSTILE, unavailable=HOSTILE),
        ),
        machine=replace(report.machine, cpu=HOSTILE, accelerators=(HOSTILE,), versions={HOSTILE: HOSTILE}),
        notes=(HOSTILE,),
        options={HOSTILE: HOSTILE},
        preprocessing={HOSTILE: HOSTILE},
        created=HOSTILE,
        compressor_version=HOSTILE,
    )


def deep() -> Report:
    """150 layers, as ResNet-152 has them, and a reason that many groups share."""
    channels = [("conv1", 64)]
    for stage, (n, width) in enumerate(zip((3, 8, 36, 3), (64, 128, 256, 512), strict=True), 1):
        for block in range(n):
            channels += [
                (f"backbone.body.layer{stage}.{block}.conv{i}", width * (4 if i == 3 else 1)) for i in (1, 2, 3)
            ]
    generator = random.Random(0)
    widths = tuple(
        WidthRow(
            name, "Conv2d", n, n if name.endswith("conv3") else max(8, int(n * generator.uniform(0.25, 0.95)) // 8 * 8)
        )
        for name, n in channels[:150]
    )
    groups = tuple(
        GroupRow(
            w.layer, w.before, w.after, 1 / 160, 3, "ignored by --ignore '*.conv3'" if w.layer.endswith("conv3") else ""
        )
        for w in widths
    )
    return replace(
        full(),
        model="runs/2026-11/backbones/resnet152_faster_rcnn_finetuned_epoch_0113.pt",
        macs=Count(11_513_626_624, 5_751_002_112),
        params=Count(60_192_808, 34_002_120),
        weight_bytes=Count(241_530_880, 136_612_864),
        widths=widths,
        groups=groups,
        latency=(
            latency("onnxruntime:cpu", 412.0, 241.0, "faster", spread=0.05),
            latency("openvino:cpu", 371.0, 228.0, "faster", spread=0.02),
        ),
    )


def bare() -> Report:
    """The least that a report can hold."""
    return replace(
        full(),
        command="",
        accuracy=(),
        stages=(),
        groups=(),
        widths=(),
        cut_check=None,
        files=(),
        parity=(),
        latency=(),
        notes=(),
        options={},
        preprocessing={},
        created="",
        source_sha256="",
    )


REPORTS = {
    "full": full,
    "data_free": data_free,
    "slower": slower,
    "ladder": ladder,
    "timed": timed,
    "controlled": controlled,
    "uncontrolled": uncontrolled,
    "split": split,
    "short": short,
    "hostile": hostile,
    "deep": deep,
    "bare": bare,
}


@pytest.fixture(scope="session")
def reports() -> dict[str, Report]:
    return {name: make() for name, make in REPORTS.items()}


@pytest.fixture(scope="session")
def hostile_text() -> str:
    return HOSTILE


@pytest.fixture(scope="session", params=REPORTS)
def any_report(request: pytest.FixtureRequest, reports: dict[str, Report]) -> Report:
    return reports[request.param]
