"""ONNX Runtime's own profile: one event a node and inference, in a JSON file that it writes when it is told to stop."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.core.node_times import NodeTime
from compressor.targets._onnx_modules import OnnxModules

if TYPE_CHECKING:
    import onnxruntime

WARM_UPS = 3  # inferences; the first allocates
_KERNEL = "_kernel_time"
_MICROSECOND = 1e-6  # the events' unit; they have no digits below it


def profiled(
    path: Path,
    open_profiled: Callable[[Path], tuple[onnxruntime.InferenceSession, Callable[[], None]]],
    inferences: int,
) -> tuple[tuple[float, ...], tuple[NodeTime, ...]]:
    """Seconds of each inference, and the nodes.

    Args:
        path: of the ONNX file.
        open_profiled: gets the beginning of the profile's file name; returns a session that profiles itself, and what
            runs one inference of it.
        inferences: that count, after warming up.
    """
    with tempfile.TemporaryDirectory(prefix="compressor-nodes-") as folder:
        session, run = open_profiled(Path(folder, "profile"))
        for _ in range(WARM_UPS + inferences):
            run()
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    whole_s, nodes = _read(events, inferences)
    return whole_s, OnnxModules(path).add_to(nodes)


def _read(events: list[dict[str, Any]], inferences: int) -> tuple[tuple[float, ...], tuple[NodeTime, ...]]:
    runs = sorted((e for e in events if e["name"] == "model_run"), key=lambda event: event["ts"])[-inferences:]
    begin = runs[0]["ts"]
    seconds: dict[str, list[float]] = {}
    first: dict[str, dict[str, Any]] = {}
    kernels = [e for e in events if e["cat"] == "Node" and e["name"].endswith(_KERNEL) and e["ts"] >= begin]
    for event in sorted(kernels, key=lambda event: event["ts"]):
        # Names may be empty or occur twice; a node of an If's or a Loop's body has an index of its own graph.
        key = f"{event['args'].get('node_index', '')} {event['name']}"
        first.setdefault(key, event)
        seconds.setdefault(key, []).append(event["dur"] * _MICROSECOND)
    nodes = tuple(_node(event, seconds[key], inferences) for key, event in first.items())
    return tuple(run["dur"] * _MICROSECOND for run in runs), nodes


def _node(event: dict[str, Any], seconds: list[float], inferences: int) -> NodeTime:
    args = event["args"]
    times = len(seconds) // inferences  # above 1 inside a loop's body
    if times > 1 and len(seconds) == times * inferences:
        seconds = [sum(seconds[i * times : (i + 1) * times]) for i in range(inferences)]
    return NodeTime(
        name=event["name"].removesuffix(_KERNEL),
        operator=args.get("op_name", ""),
        seconds=tuple(seconds),
        inputs=_shapes(args.get("input_type_shape", [])),
        outputs=_shapes(args.get("output_type_shape", [])),
        kernel=args.get("provider", ""),
        precision=_precision(args.get("output_type_shape", [])),
    )


def _precision(described: list[dict[str, list[int]]]) -> str:
    """The type of the first result: "float"."""
    return next((kind for one in described for kind in one), "")


def _shapes(described: list[dict[str, list[int]]]) -> tuple[tuple[int, ...], ...]:
    """[{"float": [1, 3]}] as ((1, 3),)."""
    return tuple(tuple(shape) for one in described for shape in one.values())
