"""Where the time of a model goes, module by module, before and after."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerCost:
    """One module of one file: all nodes of the runtime that do its work, and what is fused into them."""

    n_nodes: int
    operators: tuple[str, ...]  # as the runtime calls them, each once
    seconds: float  # of one inference
    share: float  # of the time of all nodes
    macs: int
    n_bytes: int  # weights, inputs and outputs
    of_peak: float  # MACs per second over the measured peak; 0 where there are none
    of_bandwidth: float  # bytes per second over the measured bandwidth; above 1 where a cache serves


@dataclass(frozen=True)
class LayerRow:
    """One module in both files; None where it is not there."""

    layer: str  # dotted path; "(model)": what no module does
    before: LayerCost | None
    after: LayerCost | None


@dataclass(frozen=True)
class LayerTable:
    """One target. With one file alone, `after` is None throughout."""

    target: str
    batch_size: int
    threads: int
    files: tuple[str, ...]  # one, or before and after
    whole_s: tuple[float, ...]  # of an inference while it is profiled, per file; no latency to be quoted
    macs_per_s: float  # the machine's peak with this runtime, measured
    bytes_per_s: float  # the machine's bandwidth with this runtime, measured
    operator_s: float  # what an operator takes that has next to nothing to do
    rows: tuple[LayerRow, ...]  # in the order of execution
