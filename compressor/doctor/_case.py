"""What the causes look at: one file on one target, the lab to try things in, and perhaps the file it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, Protocol

from compressor.core.findings import Finding
from compressor.core.node_times import NodeProfile, NodeTime
from compressor.profiling.lab import Arm, Lab
from compressor.profiling.speeds import Speeds

COSTLY = 1.05  # below this ratio a cause is nothing that anybody could feel
LARGE_SHARE = 0.2  # of the time; below it a cause does not explain a missing speed-up


class CannotLook(Exception):
    """An experiment is not possible here; the sentence says why."""


@dataclass(frozen=True)
class Case:
    """One patient."""

    lab: Lab
    file: Path
    threads: int
    profile: NodeProfile
    speeds: Speeds  # of the runtime with those threads
    folder: Path  # for files of experiments
    options: frozenset[str] = frozenset()  # that the target has
    before: NodeProfile | None = None  # of the file that it was made from
    asked: Mapping[str, Any] = field(default_factory=dict)  # options of the target that the file itself asks for

    @property
    def arm(self) -> Arm:
        """The file as it is timed."""
        return Arm(self.file, self.threads)

    @cached_property
    def total_s(self) -> float:
        """Of all nodes."""
        return sum(seconds_of(node) for node in self.profile.nodes) or 1e-12

    def share(self, nodes: Sequence[NodeTime]) -> float:
        """Of the time of all nodes."""
        return sum(seconds_of(node) for node in nodes) / self.total_s

    def costliest(self) -> Iterator[NodeTime]:
        """Nodes, those first that take longest."""
        return iter(sorted(self.profile.nodes, key=seconds_of, reverse=True))

    def require(self, option: str, what: str) -> None:
        """
        Raises:
            CannotLook: the target has no such option.
        """
        if option not in self.options:
            raise CannotLook(f"{self.lab.target} cannot {what} on request.")


class Cause(Protocol):
    """One reason for being slow."""

    summary: ClassVar[str]  # one line

    def examine(self, case: Case) -> list[Finding]:
        """What was found; empty if the experiment did not show it.

        Raises:
            CannotLook: the experiment is not possible here.
        """


def seconds_of(node: NodeTime) -> float:
    """Of one inference, typically."""
    return median(node.seconds) if node.seconds else 0.0


def place(node: NodeTime) -> str:
    """What people call the node."""
    return node.module or node.name or node.operator


def percent(share: float) -> str:
    """Whole percent, or one digit where there is not one."""
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1f} %"


def milliseconds(seconds: float) -> str:
    """With three digits."""
    return f"{1000 * seconds:.3g} ms"
