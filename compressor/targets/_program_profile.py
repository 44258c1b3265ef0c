"""torch.profiler's view of an exported program: the operators that its graph calls, each with all that it calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, cast

from compressor.core.node_times import NodeTime
from compressor.targets._program import eager_runner
from exporters.module_names import NOWHERE

if TYPE_CHECKING:
    from torch import fx

WARM_UPS = 3  # inferences
_ONE = "compressor: one inference"
_MICROSECOND = 1e-6


@dataclass(frozen=True)
class Call:
    """One operator call of a program's graph."""

    name: str  # the graph's: "conv2d_1"
    operator: str  # as the profiler calls it: "aten::conv2d"
    outputs: tuple[tuple[int, ...], ...]  # shapes
    precision: str  # of the first result: "float32"
    module: str  # dotted path of the module that calls it


def calls_of(module: fx.GraphModule, arguments: Sequence[Any]) -> list[Call]:
    """The operator calls of an exported program's module in order, with the shapes that they give for `arguments`.

    Args:
        module: an exported program's module.
        arguments: flat, in the order of the graph's placeholders.
    """
    import torch
    from torch import fx
    from torch.utils import _pytree as pytree

    found: list[Call] = []

    class Watching(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n.op == "call_function" and isinstance(n.target, torch._ops.OpOverload):
                tensors = [x for x in pytree.tree_leaves(result) if isinstance(x, torch.Tensor)]
                shapes = tuple(tuple(x.shape) for x in tensors)
                kind = str(tensors[0].dtype).removeprefix("torch.") if tensors else ""
                found.append(Call(n.name, n.target.name().split(".")[0], shapes, kind, _module_of(n)))
            return result

    with torch.inference_mode():
        Watching(module).run(*arguments, enable_io_processing=False)
    return found


def profiled(
    module: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], inferences: int, *, device: bool
) -> tuple[tuple[float, ...], tuple[NodeTime, ...]]:
    """Seconds of each inference, and the operators.

    Args:
        module: an exported program's.
        args, kwargs: its arguments.
        inferences: that count, after warming up.
        device: whether a node's time is that of its kernels on the CUDA device instead of the CPU's.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile, record_function
    from torch.utils import _pytree as pytree

    calls = calls_of(cast("fx.GraphModule", module), pytree.tree_leaves((args, kwargs)))
    infer = eager_runner(module, args, kwargs)

    def run() -> None:
        infer()
        if device:
            torch.cuda.synchronize()

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device else [])]
    for _ in range(WARM_UPS):
        run()
    with profile(activities=activities, record_shapes=True) as profiler:
        run()  # the profiler's own first
        for _ in range(inferences):
            with record_function(_ONE):
                run()
    events = [event for event in profiler.events() or [] if event.device_type.name == "CPU"]
    wholes = [event for event in events if event.name == _ONE]
    inside: dict[int, list[Any]] = {event.id: [] for event in wholes}
    for event in sorted(events, key=lambda event: event.time_range.start):
        parent = event.cpu_parent
        if parent is not None and parent.id in inside and event.name.startswith("aten::"):
            inside[parent.id].append(event)
    first, *others = inside.values()
    alike = all([e.name for e in other] == [e.name for e in first] for other in others)
    runs = list(inside.values()) if alike else [first]  # control flow can differ between equal inputs: random numbers
    made = [None if i is None else calls[i] for i in _calls_made([event.name for event in first], calls)]
    nodes = tuple(
        NodeTime(
            name=call.name if call else event.name,
            operator=event.name,
            seconds=tuple(_seconds(one[i], device) for one in runs),
            inputs=tuple(tuple(shape) for shape in event.input_shapes or [] if shape),
            outputs=call.outputs if call else (),
            sources=(call.name,) if call else (),
            kernel="cuda" if device else "cpu",
            precision=call.precision if call else "",
            module=call.module if call else "",
        )
        for i, (event, call) in enumerate(zip(first, made, strict=True))
    )
    return tuple(event.time_range.elapsed_us() * _MICROSECOND for event in wholes), nodes


def _module_of(node: fx.Node) -> str:
    """The innermost module of the export's note: {"L__self___fc": ("fc", "torch.nn.modules.linear.Linear")}."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    module = str(stack[-1][0]) if stack else ""
    return "" if module == NOWHERE else module


def _seconds(event: Any, device: bool) -> float:
    """Of the operator with all that it calls."""
    return float(event.device_time_total if device else event.cpu_time_total) * _MICROSECOND


def _calls_made(executed: Sequence[str], calls: Sequence[Call]) -> list[int | None]:
    """Which of `calls` each executed operator is; None where the two lists go apart.

    Both are in the order of execution, and a node of the graph is one call; what only one of them knows of (an
    operator that Python code between the calls executes) is passed over.
    """
    found: list[int | None] = [None] * len(executed)
    matcher = SequenceMatcher(None, executed, [call.operator for call in calls], autojunk=False)
    for block in matcher.get_matching_blocks():
        for i in range(block.size):
            found[block.a + i] = block.b + i
    return found
