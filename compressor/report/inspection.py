"""What `compress inspect` found, as plain data: printed as tables, or as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.report.schema import GroupRow


@dataclass(frozen=True)
class Inspection:
    """A model before anything is cut."""

    model: str
    inputs: dict[str, tuple[int, ...]]  # name -> shape
    inputs_from: str
    macs: int  # per one input
    params: int
    weight_bytes: int
    prunable_macs_share: float
    groups: tuple[GroupRow, ...]
