import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.core.groups import ChannelGroup, GroupMember, Role
from compressor.planning.rounding import Grid, automatic_step, grid_of


def group(n_channels, per_channel=1):
    n = n_channels * per_channel
    producer = GroupMember(
        "conv", "Conv2d", Role.PRODUCER, tuple(range(n)), tuple(i % n_channels for i in range(n)), ()
    )
    return ChannelGroup("conv", n_channels, (producer,))


@given(n=st.integers(1, 300), step=st.integers(1, 40), wanted=st.floats(0, 300))
def test_every_count_is_a_multiple_or_the_whole(n, step, wanted):
    grid = Grid(n, min(step, n))
    allowed = sorted({*range(grid.step, n + 1, grid.step), n})
    count = grid.nearest(min(wanted, n))
    assert count in allowed
    assert min(abs(count - wanted), n) <= min(abs(other - wanted) for other in allowed) + 1e-9 or wanted > n
    assert grid.above(count) == next((other for other in allowed if other > count), n)


@pytest.mark.parametrize(("wanted", "count"), [(0, 8), (3.9, 8), (11.9, 8), (12.1, 16), (57, 56), (58.1, 60), (60, 60)])
def test_nearest_and_never_zero(wanted, count):
    assert Grid(60, 8).nearest(wanted) == count


def test_steps_follow_the_hardware_but_not_in_narrow_layers():
    widths = (1, 8, 15, 16, 31, 32, 63, 64, 127, 128, 4096)
    assert [automatic_step(width) for width in widths] == [1, 4, 4, 8, 8, 16, 16, 16, 16, 16, 16]
    assert [automatic_step(width, 8) for width in widths] == [1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16]


def test_a_channel_of_several_positions_counts_for_all():
    assert grid_of(group(64), 8) == Grid(64, 8)
    assert grid_of(group(16, per_channel=4), 8) == Grid(16, 2)  # 2 channels are 8 positions
    assert grid_of(group(16, per_channel=3), 8) == Grid(16, 8)
    assert grid_of(group(16, per_channel=8), 0) == Grid(16, 2)  # 128 positions: steps of 16
    assert grid_of(group(8, per_channel=4), 0, 8) == Grid(8, 1)
    assert grid_of(group(4), 8) == Grid(4, 4)  # narrower than a step: all or nothing
