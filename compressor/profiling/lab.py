"""Experiments on one target: two arrangements of the same work, timed in turns, into a ratio with an interval.

Runtimes read some settings once a process (ONNX Runtime's flush-to-zero, PyTorch's threads), so each arrangement of
settings has a process of its own, and the processes take turns: one burst here, one burst there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

from compressor.core.node_times import NodeProfile
from compressor.core.serial import from_json, to_plain
from compressor.profiling.nodes_worker import Answer, Opening
from compressor.profiling.serving import Served

ROUNDS = 9
MORE_ROUNDS = 12  # where the first do not tell on which side of `line` the ratio lies
BURST_S = 0.03


@dataclass(frozen=True)
class Ratio:
    """Seconds of one arrangement over seconds of another."""

    value: float
    low: float
    high: float
    first_s: float  # of one inference
    second_s: float

    @property
    def interval(self) -> tuple[float, float]:
        """At least 95 %."""
        return self.low, self.high


@dataclass(frozen=True)
class Arm:
    """One arrangement: a file and the settings that it runs with."""

    file: Path
    threads: int
    options: Mapping[str, Any] = field(default_factory=dict)  # of the target


class Lab:
    """Runs experiments on one target; a context manager, which ends its processes.

    Args:
        target_name: "onnxruntime:cpu"; named in errors.
        target_factory: "compressor.targets.onnxruntime_cpu:PLUGIN"; imported in worker processes only.
        batch_size: samples per inference.
        shapes: {input name: full shape}, for inputs whose axes other than the batch are dynamic.
    """

    def __init__(
        self,
        target_name: str,
        target_factory: str,
        *,
        batch_size: int = 1,
        shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.target, self.batch_size = target_name, batch_size
        self._factory = target_factory
        self._shapes = {name: list(shape) for name, shape in (shapes or {}).items()}
        self._workers: dict[str, Served] = {}

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def nodes(self, arm: Arm, inferences: int, *, fixed_batch: int = 0) -> NodeProfile:
        """The runtime's own profile of a file.

        Args:
            arm: what runs.
            inferences: that are sampled.
            fixed_batch: of a file made for an experiment; 0: it is the user's, with the lab's batch size and shapes.

        Raises:
            CompressionError: the target cannot run it; the sentence says why.
        """
        worker = self._worker(arm, fixed_batch)
        request = {"file": str(arm.file.resolve()), "inferences": inferences}
        said = worker.ask(request, f"profiling {arm.file.name}")
        answer = from_json(Answer, json.dumps(said), f"{self.target}: the answer of a profiling process")
        batch_size = fixed_batch or self.batch_size
        return NodeProfile(self.target, arm.file, batch_size, arm.threads, answer.whole_s, answer.nodes)

    def race(self, first: Arm, second: Arm, *, line: float = 1.0, fixed_batch: int = 0, waiting: bool = False) -> Ratio:
        """Both arms in turns: A B, B A, A B, ...

        Args:
            first: above in the ratio.
            second: below.
            line: the ratio that matters; where the interval holds it and the estimate lies above it, the race goes on.
            fixed_batch: as for `nodes`.
            waiting: what is looked for is threads that wait, for each other or for a core. Else the shortest inference
                of a burst counts, because other programs only ever add; here it would be the one that did not wait.

        Raises:
            CompressionError: the target cannot run one of them.
        """
        middle = median if waiting else min
        arms = (first, second)
        times: tuple[list[float], list[float]] = ([], [])
        found = None
        for rounds in (ROUNDS, MORE_ROUNDS):
            for number in range(rounds):
                for i in (0, 1) if number % 2 == 0 else (1, 0):
                    times[i].append(middle(self._burst(arms[i], fixed_batch)))
            found = ratio_of(*times)
            if not found.low <= line < found.value:
                break
        assert found is not None
        return found

    def _burst(self, arm: Arm, fixed_batch: int) -> list[float]:
        worker = self._worker(arm, fixed_batch)
        said = worker.ask({"file": str(arm.file.resolve()), "burst_s": BURST_S}, f"timing {arm.file.name}")
        return [float(seconds) for seconds in said["samples_s"]]

    def _worker(self, arm: Arm, fixed_batch: int) -> Served:
        key = json.dumps([arm.threads, dict(arm.options), fixed_batch], sort_keys=True)
        if key not in self._workers:
            options = dict(arm.options)
            if not fixed_batch and self._shapes:
                options["shapes"] = self._shapes
            batch_size = fixed_batch or self.batch_size
            opening = Opening(self._factory, arm.threads, batch_size, options)
            self._workers[key] = Served("compressor.profiling.nodes_worker", self.target, to_plain(opening))
        return self._workers[key]


def ratio_of(first_s: Sequence[float], second_s: Sequence[float]) -> Ratio:
    """Median of the rounds' ratios, with the interval that its order statistics give: whatever the distribution.

    Of 9 ratios the median lies between the second and the eighth with a probability of 96 %; one burst that another
    program hit on either side changes nothing.
    """
    from scipy.stats import binom

    logs = sorted(math.log(a / b) for a, b in zip(first_s, second_s, strict=True))
    # The k-th from either end, the largest k that leaves at most 2.5 % beyond.
    edge = max(0, int(binom.ppf(0.025, len(logs), 0.5)) - 1)
    value, low, high = (math.exp(log) for log in (median(logs), logs[edge], logs[-1 - edge]))
    return Ratio(value, low, high, median(first_s), median(second_s))
