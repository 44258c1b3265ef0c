"""OpenVINO's own profile: microseconds of every node, and its runtime graph, which says what a node stands for."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from compressor.core.node_times import NodeTime
from exporters.module_names import owner_of_weights, scope_in, spread

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UPS = 2  # inferences of each block; the first packs weights
BLOCKS = 4
_SLOW_COMPILATION_S = 0.3  # one block then has to do
LAYOUT = "(layout)"  # in place of a module: a change of layout, which no module asked for
_NO_WORK = ("Constant", "Parameter", "Result")
_NOT_RUN = ("NOT_RUN", "OPTIMIZED_OUT")


def read_profile(
    compile_again: Callable[[], tuple[Any, Any]], inferences: int
) -> tuple[tuple[float, ...], tuple[NodeTime, ...]]:
    """Seconds of each inference, and the nodes with one sample per block of inferences.

    OpenVINO keeps whole microseconds of a running mean. Undoing the mean for one inference out of n would be wrong by
    up to n microseconds, so a sample is the mean of a block, and each block is compiled anew: its mean starts over.

    Args:
        compile_again: gives a freshly compiled model that counts, and a request of it with its inputs set.
        inferences: that count, after warming up; at least 1.
    """
    whole: list[float] = []
    found: list[tuple[NodeTime, ...]] = []
    left, blocks = inferences, min(BLOCKS, inferences)
    while left:
        start = perf_counter()
        compiled, request = compile_again()
        if perf_counter() - start > _SLOW_COMPILATION_S:
            blocks = 1
        n = -(-left // max(1, blocks - len(found)))
        left -= n
        for _ in range(WARM_UPS):
            request.infer(share_outputs=True)
        before = _means(request)
        for _ in range(n):
            start = perf_counter()
            request.infer(share_outputs=True)
            whole.append(perf_counter() - start)
        after = _means(request)
        seconds = {
            name: max(0.0, ((WARM_UPS + n) * mean - WARM_UPS * before.get(name, 0.0)) / n)
            for name, mean in after.items()
        }
        found.append(_nodes(compiled, seconds))
    return tuple(whole), _together(found)


def mark_modules(model: Any) -> None:
    """Gives every operator of an OpenVINO model a name that holds its module; names have no effect but on reports.

    Most have one already, from the file. An operator that the ONNX reader made of another (a layer norm becomes four)
    belongs to the module that its result goes to; the last, which bears a result's name, to that of its weight or to
    the one before it.
    """
    operators = [op for op in model.get_ordered_ops() if op.get_type_name() not in _NO_WORK]
    inputs = [[_value(port.get_source_output()) for port in op.inputs()] for op in operators]
    outputs = [[_value(port) for port in op.outputs()] for op in operators]
    names = [op.get_friendly_name().replace("/WithoutBiases", "_WithoutBiases") for op in operators]
    scopes = spread(inputs, outputs, lambda i: scope_in(names[i]) if names[i].startswith("/") else None)
    made: dict[str, str] = {}  # value -> module that makes it
    for i, operator in enumerate(operators):
        if not scopes[i] and not names[i].startswith("/"):
            weights = [name.rpartition("#")[0] for name in inputs[i]]
            scopes[i] = owner_of_weights(weights) or next((made[name] for name in inputs[i] if made.get(name)), "")
        made.update(dict.fromkeys(outputs[i], scopes[i]))
        named = bool(scope_in(names[i])) or not scopes[i]
        operator.set_friendly_name(names[i] if named else f"/{scopes[i]}/{names[i]}")


def _value(port: Any) -> str:
    return f"{port.get_node().get_friendly_name()}#{port.get_index()}"


def _means(request: Any) -> dict[str, float]:
    """{node that ran: seconds, as a mean over all inferences so far}."""
    return {
        info.node_name: info.real_time.total_seconds()
        for info in request.profiling_info
        if info.status.name not in _NOT_RUN
    }


def _nodes(compiled: Any, seconds: dict[str, float]) -> tuple[NodeTime, ...]:
    """Every node that ran, in the order of execution."""
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        name = node.get_friendly_name()
        if name not in seconds:
            continue
        facts = {key: str(getattr(value, "value", value)) for key, value in node.get_rt_info().items()}
        sources = tuple(part for part in facts.get("originalLayersNames", "").split(",") if part)
        described = NodeTime(
            name=name,
            operator=facts.get("layerType", node.get_type_name()),
            seconds=(seconds[name],),
            inputs=tuple(_shape(port) for port in node.inputs()),
            outputs=tuple(_shape(port) for port in node.outputs()),
            sources=sources,
            kernel=facts.get("primitiveType", ""),
            precision=facts.get("runtimePrecision", ""),
            module=next((scope for scope in map(scope_in, sources) if scope), "") if sources else LAYOUT,
        )
        found.append((int(facts.get("execOrder", "0")), described))
    return tuple(node for _, node in sorted(found, key=lambda pair: pair[0]))


def _shape(port: Any) -> tuple[int, ...]:
    shape = port.get_partial_shape()
    return tuple(size.get_length() if size.is_static else 0 for size in shape) if shape.rank.is_static else ()


def _together(blocks: list[tuple[NodeTime, ...]]) -> tuple[NodeTime, ...]:
    """The first block's nodes with the samples of all blocks.

    Nodes that OpenVINO adds are numbered anew each time it compiles, so it is their places that belong together; a
    block whose nodes are others (another kernel was chosen) is left out.
    """
    operators = [node.operator for node in blocks[0]]
    alike = [block for block in blocks if [node.operator for node in block] == operators]
    return tuple(
        replace(node, seconds=tuple(block[i].seconds[0] for block in alike)) for i, node in enumerate(blocks[0])
    )
