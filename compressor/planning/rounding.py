"""Widths that hardware likes: multiples of a step, nearest and never zero.

Runtimes compute channels in blocks of 8 or 16 (vector registers), so an odd width costs as much as the next full
block, or sends the layer to a slow path altogether. Small groups get a smaller step, else half of a 16-channel layer
could only be all or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from compressor.core.groups import ChannelGroup, Role

MAX_AUTO_STEP = 16
# Into how many steps a narrow group is divided at least: few first, more where a budget cannot be met so. Finer widths
# remove as many multiply-accumulates and save no time: ResNet-56 at half of its MACs was no faster in ONNX Runtime with
# widths of 10, 20 and 40, and 1.3 times as fast with widths of 8, 16, 32 and 48.
STEPS = (2, 8)


@dataclass(frozen=True)
class Grid:
    """The channel counts that a group may have: multiples of `step` up to `n_channels`, and `n_channels` itself."""

    n_channels: int
    step: int

    def nearest(self, wanted: float) -> int:
        """The allowed count nearest to `wanted`; at least one step.

        >>> Grid(64, 8).nearest(33), Grid(64, 8).nearest(0.2), Grid(60, 8).nearest(59)
        (32, 8, 60)
        """
        if wanted >= (self.n_channels + (self.n_channels - 1) // self.step * self.step) / 2:
            return self.n_channels
        return min(self.n_channels, max(self.step, round(wanted / self.step) * self.step))

    def above(self, count: int) -> int:
        """The next larger allowed count (the same at the top)."""
        return min(self.n_channels, (count // self.step + 1) * self.step)

    def counts(self) -> list[int]:
        """All of them, ascending.

        >>> Grid(20, 8).counts()
        [8, 16, 20]
        """
        return [*range(self.step, self.n_channels, self.step), self.n_channels]

    def below(self, count: int) -> int:
        """The next smaller allowed count (the same at the bottom)."""
        return max(min(self.step, self.n_channels), (count - 1) // self.step * self.step)


@dataclass(frozen=True)
class Listed:
    """Counts that were found otherwise (from latency tables), ascending; the last is the whole group."""

    allowed: tuple[int, ...]

    @property
    def step(self) -> float:
        """Between neighbours, on average."""
        return max(1.0, self.allowed[-1] / len(self.allowed))

    def nearest(self, wanted: float) -> int:
        """The allowed count nearest to `wanted`; of two, the wider.

        >>> Listed((8, 24, 64)).nearest(16), Listed((8, 24, 64)).nearest(0.2), Listed((8, 24, 64)).nearest(99)
        (24, 8, 64)
        """
        return min(self.allowed, key=lambda count: (abs(count - wanted), -count))

    def above(self, count: int) -> int:
        """The next larger allowed count (the same at the top)."""
        return next((allowed for allowed in self.allowed if allowed > count), self.allowed[-1])


def grid_of(group: ChannelGroup, round_to: int, steps: int = STEPS[0]) -> Grid:
    """The group's grid, so that its producers' widths are multiples of `round_to` (0: chosen by size, see below).

    A channel that stands for several positions (tied blocks of a grouped convolution) counts for all of them. Where the
    group is a part of wider layers (the stream of a ResNet whose shortcuts pad it), their width decides on the step,
    since it is their width that has to suit the hardware.
    """
    makers = group.having(Role.PRODUCER)
    per_channel = max(1, len(makers[0].position) // group.n_channels)
    widest = max(1 + max(maker.position) for maker in makers)  # at least: channels of other groups may lie behind
    wanted = round_to or automatic_step(max(widest, group.n_channels * per_channel), steps)
    step = max(1, wanted // _common_divisor(wanted, per_channel))
    return Grid(group.n_channels, min(step, group.n_channels))


def automatic_step(width: int, steps: int = STEPS[0]) -> int:
    """The largest power of two that divides the width into at least so many steps, and is at most 16.

    >>> [automatic_step(width) for width in (3, 10, 16, 24, 64, 2048)]
    [1, 4, 8, 8, 16, 16]
    >>> [automatic_step(width, 8) for width in (3, 10, 16, 24, 64, 2048)]
    [1, 1, 2, 2, 8, 16]
    """
    step = 1
    while step * 2 <= min(MAX_AUTO_STEP, width // steps):
        step *= 2
    return step


def _common_divisor(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a
