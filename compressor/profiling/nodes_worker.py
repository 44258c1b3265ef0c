"""Profiles one file after another, node by node, in this process; see `compressor.profiling.serving`.

python -m compressor.profiling.nodes_worker
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compressor.core.errors import InvalidOption
from compressor.core.node_times import NodeTime
from compressor.core.protocols import Target
from compressor.core.serial import to_plain
from compressor.profiling.serving import serve


@dataclass(frozen=True)
class Opening:
    """What all files of one worker have in common."""

    factory: str  # "package.module:CLASS" of a target
    threads: int
    batch_size: int
    shapes: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What `Target.nodes` found."""

    whole_s: tuple[float, ...]
    nodes: tuple[NodeTime, ...]


def make_target(factory: str, shapes: dict[str, list[int]]) -> Target:
    """The target; with the shapes, if there are any.

    Raises:
        InvalidOption: it cannot be used here.
    """
    module, _, attribute = factory.partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    target: Target = kind(shapes=shapes) if shapes else kind()
    reason = target.unavailable()
    if reason:
        raise InvalidOption("profile", "on", "targets that can be used here", target.name, reason)
    return target


def require_accepted(target: Target, file: Path) -> None:
    """Refuses a file of another kind.

    Raises:
        InvalidOption: the target does not read it.
    """
    if file.suffix not in target.accepts:
        raise InvalidOption(target.name, "file", f"of a kind it loads ({', '.join(target.accepts)})", str(file))


def open_service(opening: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What answers {"file": path, "inferences": n} with an `Answer`."""
    common = Opening(**opening)
    target = make_target(common.factory, common.shapes)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        file = Path(request["file"])
        require_accepted(target, file)
        whole_s, nodes = target.nodes(file, common.batch_size, common.threads, request["inferences"])
        plain: dict[str, Any] = to_plain(Answer(whole_s, nodes))
        return plain

    return answer


if __name__ == "__main__":
    serve(open_service)
