"""The control `narrow`: the same architecture, every group of channels reduced by the same share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.planning.budget import Budget
from compressor.planning.planner import Planner
from compressor.runs.control_choice import ControlKind
from compressor.runs.record import Record
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand


def make_narrow(record: Record) -> None:
    """Gives `narrow` its module once there is a plan; other controls have theirs.

    It has as many multiply-accumulates as the compressed model, as nearly below as the steps of widths allow. Its
    channels are the first of each group: it is timed, and would have to be trained to be of any other use.
    """
    control, plan = record.control, record.plan
    # Of the architecture as it was given, where layers of it were split.
    source, coverage = (
        (record.whole.source, record.whole.coverage) if record.whole else (record.source, record.coverage)
    )
    if control is None or control.kind != ControlKind.NARROW.value or plan is None or coverage is None:
        return
    share = plan.macs[1] / plan.macs[0]
    if not 0 < share < 1:
        record.control = replace(control, unmade="nothing was removed, so there is nothing narrower to compare with")
        return
    module, options = source.module, record.options
    context, round_to = MethodContext(module, options.seed), max(0, options.round_to)
    planner = Planner(coverage.groups, coverage.cost, _Indifferent(), context, "local", round_to)
    widths = planner.widths(Budget("macs", share))
    if not widths.met:
        record.control = replace(control, unmade=f"no uniform width has {share:.1%} of the MACs: {widths.shortfall}")
        return
    n_kept, n_channels = sum(widths.n_keep.values()), sum(group.n_channels for group in coverage.groups)
    description = f"the same architecture, every group {n_kept / n_channels:.0%} as wide up to rounding, not trained"
    if widths.n_keep == {name: len(group.keep) for name, group in plan.groups.items()}:
        description += "; these are the compressed model's own widths"
    keep: Mapping[str, Sequence[int]] = {name: range(count) for name, count in widths.n_keep.items()}
    narrow = cut_copy(module, *expand(coverage.groups, keep, module))
    record.control = replace(control, module=narrow, description=description)


@dataclass(frozen=True)
class _Indifferent:
    """A method for which all channels are equal: only widths are planned with it."""

    summary: str = "all channels are equal"
    comparable: bool = False

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> dict[str, Tensor]:
        """Ones."""
        return {group.name: torch.ones(group.n_channels) for group in groups}
