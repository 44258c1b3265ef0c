"""Predicts how long a model takes at any widths: the sum of its nodes, set right by whole-model times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from compressor.graph.extents import Extents
from compressor.latency.family import Family, fit
from compressor.latency.lines import Line, Pattern, lines_of, values_in
from compressor.latency.samples import ModelSample, NodeSample

LEAST = 0.5  # of what was measured, or of what nodes take: a calibrated line that goes below it is not believed


@dataclass(frozen=True)
class Fitted:
    """What stands behind a prediction."""

    n_samples: int  # of this model's graph
    n_families: int
    unexplained_share: float  # of the time, in nodes whose sizes nothing explains
    error: float  # median of |predicted / measured - 1| over the same samples that it was fitted to


@dataclass(frozen=True)
class Kind:
    """Nodes of one pattern."""

    pattern: Pattern
    share: float  # of the whole model's time
    n_sizes: int  # distinct ones that were measured
    groups: frozenset[tuple[str, ...]]  # that the nodes' sizes depend on

    @property
    def n_variables(self) -> int:
        """Sizes that the pattern leaves open."""
        return -min((size for shape in self.pattern[1] for size in shape if size < 0), default=0)


class LatencyModel:
    """Seconds per inference on one target, for any channels kept per group."""

    def __init__(self, samples: Sequence[ModelSample], extents: Extents, others: Sequence[NodeSample] = ()) -> None:
        """
        Args:
            samples: of this model at different widths.
            extents: of this model.
            others: nodes that were measured in other models, on the same target of the same machine.

        Raises:
            ValueError: too few samples have the same graph.
        """
        self._extents = extents
        lengths = [extents.at(sample.n_keep) for sample in samples]
        self._lines, same, unexplained = lines_of(samples, lengths)
        tables = _tables({line.pattern for line in self._lines}, samples, others)
        self._families = {pattern: _fit(rows) for pattern, rows in tables.items() if rows}
        self._groups = [_groups_of(line, extents) for line in self._lines]
        self._touching: dict[str, list[int]] = {name: [] for name in extents.groups}  # numbers of lines
        for number, names in enumerate(self._groups):
            for name in names:
                self._touching[name].append(number)
        # Plans ask for the same neighbours of the same widths again and again.
        self._known: dict[tuple[int, tuple[int, ...]], float] = {}
        self._rows: dict[tuple[int, str, tuple[int, ...], bytes], np.ndarray] = {}
        self._factor, self._constant = 1.0, 0.0
        self._calibrate(same)
        wrong = [abs(self.whole(sample.n_keep) / sample.whole_s - 1) for sample in same]
        self.fitted = Fitted(len(same), len(self._families), unexplained, float(np.median(wrong)))

    @property
    def kinds(self) -> list[Kind]:
        """Of all nodes."""
        total = sum(line.seconds for line in self._lines) or 1.0
        shares: dict[Pattern, float] = {}
        groups: dict[Pattern, set[tuple[str, ...]]] = {}
        for line, names in zip(self._lines, self._groups, strict=True):
            shares[line.pattern] = shares.get(line.pattern, 0.0) + line.seconds / total
            groups.setdefault(line.pattern, set()).add(names)
        sizes = {pattern: len(family.points) for pattern, family in self._families.items()}
        return [
            Kind(pattern, share, sizes.get(pattern, 0), frozenset(groups[pattern])) for pattern, share in shares.items()
        ]

    def whole(self, n_keep: Mapping[str, int]) -> float:
        """Seconds; groups not named stay whole."""
        lengths = self._extents.lengths(n_keep)
        nodes = 0.0
        for number, line in enumerate(self._lines):
            key = number, tuple([n_keep.get(group, 0) for group in self._groups[number]])
            if key not in self._known:
                self._known[key] = float(self._line(line, lengths))
            nodes += self._known[key]
        return max(self._factor * nodes + self._constant, LEAST * self._factor * nodes)

    def alternatives(self, n_keep: Mapping[str, int], group: str, counts: np.ndarray) -> np.ndarray:
        """What the nodes that `group` touches take if it keeps each of `counts` and all others stay: (n,) seconds.

        The rest of the model is left out, so only differences between the entries mean something.
        """
        lengths = self._extents.lengths({**n_keep, group: counts})
        total = np.zeros(len(counts))
        asked = counts.tobytes()
        for number in self._touching[group]:
            others = tuple([n_keep.get(name, 0) for name in self._groups[number] if name != group])
            key = number, group, others, asked
            if key not in self._rows:
                self._rows[key] = np.asarray(self._line(self._lines[number], lengths))
            total = total + self._rows[key]
        return self._factor * total

    def _line(self, line: Line, lengths: Mapping[str, np.ndarray | float]) -> np.ndarray | float:
        family = self._families.get(line.pattern)
        if family is None or not line.variables:
            return line.typical_s
        return line.count * family.time([np.asarray(_evaluated(size, lengths)) for size in line.variables])

    def _calibrate(self, samples: Sequence[ModelSample]) -> None:
        """whole = factor * sum + constant.

        Nodes overlap, and calling the runtime takes time. What noise does to each kind of node makes its times at
        different widths more alike than they are; then the constant is below 0.
        """
        sums = np.array([self.whole(sample.n_keep) for sample in samples])
        wholes = np.array([sample.whole_s for sample in samples])
        columns = np.stack([sums, np.ones(len(sums))], 1) / wholes[:, None]
        (factor, constant), *_ = np.linalg.lstsq(columns, np.ones(len(sums)), rcond=None)
        if factor * sums.min() + constant < LEAST * wholes.min():  # too few, too alike, or too noisy for a line
            (factor, constant), _ = nnls(columns, np.ones(len(sums)))
        if factor > 0:
            self._factor, self._constant = float(factor), float(constant)


def _groups_of(line: Line, extents: Extents) -> tuple[str, ...]:
    return tuple(sorted({g for size in line.variables for name in size.quantities for g in extents.groups_of(name)}))


def _evaluated(size: object, lengths: Mapping[str, np.ndarray | float]) -> np.ndarray | float:
    total: np.ndarray | float = float(size.constant)  # type: ignore[attr-defined]
    for factor, names in size.terms:  # type: ignore[attr-defined]
        product: np.ndarray | float = float(factor)
        for name in names:
            product = product * lengths[name]
        total = total + product
    return total


def _fit(rows: list[tuple[tuple[int, ...], float]]) -> Family:
    points = np.array([values for values, _ in rows], dtype=float).reshape(len(rows), -1)
    return fit(points, np.array([seconds for _, seconds in rows]))


def _tables(
    patterns: set[Pattern], samples: Sequence[ModelSample], others: Sequence[NodeSample]
) -> dict[Pattern, list[tuple[tuple[int, ...], float]]]:
    """Measured sizes of every pattern that has variables."""
    found: dict[Pattern, list[tuple[tuple[int, ...], float]]] = {pattern: [] for pattern in patterns}
    by_kind: dict[tuple[str, tuple[int, ...]], list[Pattern]] = {}
    for pattern in patterns:
        by_kind.setdefault((pattern[0], tuple(len(shape) for shape in pattern[1])), []).append(pattern)
    for node in (*(node for sample in samples for node in sample.nodes), *others):
        kind = node.operator, tuple(len(shape) for shape in (*node.inputs, *node.outputs))
        for pattern in by_kind.get(kind, ()):
            values = values_in(pattern, node)
            if values:
                found[pattern].append((values, node.seconds))
    return found
