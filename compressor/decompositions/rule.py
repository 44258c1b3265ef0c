"""What chooses the rank of each layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compressor.core.errors import InvalidOption
from compressor.decompositions.protocol import Factorization, Ranks
from compressor.decompositions.ranks import energy_rank, largest_within, threshold_rank
from compressor.decompositions.replace import OWNER


@dataclass(frozen=True)
class RankRule:
    """How ranks are chosen: by exactly one of the three.

    Raises:
        InvalidOption: by none or several, or one is out of range.
    """

    energy: float | None = None  # share of the squared singular values that stays
    threshold: float | None = None  # singular values below it go
    ratio: float | None = None  # share of the layer's multiply-accumulates that may remain

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise InvalidOption(OWNER, "energy, threshold or ratio", "exactly one of them", sorted(given) or None)
        if self.energy is not None and not 0 < self.energy <= 1:
            raise InvalidOption(OWNER, "energy", "above 0 and at most 1", self.energy)
        if self.threshold is not None and not self.threshold > 0:
            raise InvalidOption(OWNER, "threshold", "above 0", self.threshold)
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise InvalidOption(OWNER, "ratio", "above 0 and below 1", self.ratio)

    def ranks(
        self, factors: Factorization, path: Sequence[Ranks], macs_of: Callable[[Ranks], int], macs_before: int
    ) -> Ranks | None:
        """None: no rank keeps to the ratio."""
        if self.ratio is not None:
            return largest_within(path, macs_of, self.ratio * macs_before)
        if self.energy is not None:
            return factors.bounded(tuple(energy_rank(spectrum, self.energy) for spectrum in factors.spectra))
        least = self.threshold or 0.0
        return factors.bounded(tuple(threshold_rank(spectrum, least) for spectrum in factors.spectra))
