"""What may remain, in the unit that the user named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from compressor.core.errors import InvalidOption
from compressor.core.groups import ChannelGroup, ModelCost
from compressor.graph.cost import CostModel

Unit = Literal["macs", "params", "ratio"]
TOLERANCE = 0.02  # a result this close below the budget meets it


@dataclass(frozen=True)
class Budget:
    """`macs` and `params`: the share that may remain. `ratio`: the share of channels to remove."""

    unit: Unit
    value: float

    def __post_init__(self) -> None:
        if self.unit not in ("macs", "params", "ratio"):
            raise InvalidOption("budget", "unit", "macs, params or ratio", self.unit)
        if not 0.0 < self.value < 1.0:
            raise InvalidOption(
                "budget",
                f"--{self.unit}",
                "above 0 and below 1 (or above 0% and below 100%)",
                self.value,
                "0.5 or 50% keeps half of the MACs or parameters; --ratio 0.5 removes half of the channels.",
            )

    @property
    def remaining(self) -> float:
        """Share that may remain."""
        return 1.0 - self.value if self.unit == "ratio" else self.value

    def share(self, groups: list[ChannelGroup], cost: ModelCost) -> Callable[[Mapping[str, int]], float]:
        """A function from channel counts per group to the share that remains, in this budget's unit."""
        model = CostModel(cost, groups)
        n_channels = sum(group.n_channels for group in groups)

        def remaining(n_keep: Mapping[str, int]) -> float:
            if self.unit == "ratio":
                return sum(n_keep.values()) / n_channels
            macs, params = model.predict(n_keep)
            return macs / cost.macs if self.unit == "macs" else params / cost.params

        return remaining
