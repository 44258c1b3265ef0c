"""Files on a target node by node: the runtime's profiles, the machine's speeds, and the lab to try things in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from compressor.core.layers import LayerCost, LayerRow, LayerTable
from compressor.core.node_times import NodeProfile, NodeTime
from compressor.core.progress import Progress, SilentProgress
from compressor.profiling.lab import Arm, Lab
from compressor.profiling.speeds import Speeds, measure_speeds
from compressor.profiling.work import work_of
from compressor.targets import factory_of, load_target

_SECONDS = 1.0  # of sampling, per pass over a file
_INFERENCES = (4, 24)
_PASSES = 2  # A B, B A: whatever drifts does so for both
THE_MODEL = "(model)"


@dataclass(frozen=True)
class Anatomy:
    """What was measured of one target; the lab is open."""

    lab: Lab
    threads: int
    speeds: Speeds
    profiles: tuple[NodeProfile, ...]  # one, or before and after
    folder: Path  # for files of experiments; gone afterwards


@contextmanager
def anatomy(
    target: str,
    files: Sequence[Path],
    *,
    threads: int = 1,
    batch_size: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress | None = None,
    speeds: Speeds | None = None,
) -> Iterator[Anatomy]:
    """Profiles `files` (one, or before and after) and the machine; some seconds.

    Args:
        target: "onnxruntime:cpu".
        files: that it reads.
        threads: of the runtime.
        batch_size: samples per inference.
        shapes: {input name: full shape}, for inputs whose axes other than the batch are dynamic.
        progress: is told of the steps.
        speeds: of the machine, where they were measured before with these threads.

    Raises:
        CompressionError: the target cannot run or profile them; the sentence says why.
    """
    suffix = ".pt2" if ".pt2" in load_target(target).accepts else ".onnx"
    with (
        tempfile.TemporaryDirectory(prefix="compressor-anatomy-") as folder,
        Lab(target, factory_of(target), batch_size=batch_size, shapes=shapes) as lab,
    ):
        with (progress or SilentProgress()).step(f"Profiling {target} node by node", 1 + len(files)) as step:
            speeds = speeds or measure_speeds(lab, threads, suffix, Path(folder))
            step.advance(1)
            arms = [Arm(file, threads) for file in files]
            counts = [_inferences(lab, arm) for arm in arms]
            found: list[list[NodeProfile]] = [[] for _ in arms]
            for number in range(_PASSES):
                for i in range(len(arms)) if number % 2 == 0 else reversed(range(len(arms))):
                    found[i].append(lab.nodes(arms[i], counts[i]))
                    step.advance(1 / _PASSES)
        yield Anatomy(lab, threads, speeds, tuple(_merged(passes) for passes in found), Path(folder))


def layer_table(examined: Anatomy) -> LayerTable:
    """The profiles by module."""
    costs = [_costs(profile, examined.speeds) for profile in examined.profiles]
    before, after = costs[0], costs[1] if len(costs) > 1 else {}
    names = list(before)
    for name in after:
        if name not in before:
            names.append(name)
    first = examined.profiles[0]
    return LayerTable(
        target=first.target,
        batch_size=first.batch_size,
        threads=first.threads,
        files=tuple(profile.path.name for profile in examined.profiles),
        whole_s=tuple(median(profile.whole_s) for profile in examined.profiles),
        macs_per_s=examined.speeds.macs_per_s,
        bytes_per_s=examined.speeds.bytes_per_s,
        operator_s=examined.speeds.operator_s,
        rows=tuple(LayerRow(name, before.get(name), after.get(name)) for name in names),
    )


def _costs(profile: NodeProfile, speeds: Speeds) -> dict[str, LayerCost]:
    together: dict[str, list[NodeTime]] = {}
    for node in profile.nodes:
        together.setdefault(node.module or THE_MODEL, []).append(node)
    total = sum(median(node.seconds) for node in profile.nodes) or 1e-12
    costs = {}
    for name, nodes in together.items():
        seconds = sum(median(node.seconds) for node in nodes)
        work = [work_of(node) for node in nodes]
        macs, n_bytes = sum(w.macs for w in work), sum(w.n_bytes for w in work)
        costs[name] = LayerCost(
            n_nodes=len(nodes),
            operators=tuple(dict.fromkeys(node.operator for node in nodes)),
            seconds=seconds,
            share=seconds / total,
            macs=macs,
            n_bytes=n_bytes,
            of_peak=macs / speeds.macs_per_s / seconds if seconds else 0.0,
            of_bandwidth=n_bytes / speeds.bytes_per_s / seconds if seconds else 0.0,
        )
    return costs


def _inferences(lab: Lab, arm: Arm) -> int:
    seconds = min(lab.nodes(arm, 2).whole_s)
    low, high = _INFERENCES
    return max(low, min(high, round(_SECONDS / max(seconds, 1e-6))))


def _merged(passes: list[NodeProfile]) -> NodeProfile:
    """All samples in one; a pass in which the runtime chose other nodes is left out."""
    first = passes[0]
    operators = [node.operator for node in first.nodes]
    alike = [one for one in passes if [node.operator for node in one.nodes] == operators]
    nodes = tuple(
        replace(node, seconds=tuple(s for one in alike for s in one.nodes[i].seconds))
        for i, node in enumerate(first.nodes)
    )
    return replace(first, whole_s=tuple(s for one in alike for s in one.whole_s), nodes=nodes)
