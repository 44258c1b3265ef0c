"""Budgets on invented costs, where the best answer is known."""

from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.groups import ChannelGroup
from compressor.planning.allocate import uniform
from compressor.planning.rounding import Grid
from compressor.planning.widths import FLOOR, solve


def solved(sizes, steps, target, cost=None):
    groups = [ChannelGroup(str(i), n, ()) for i, n in enumerate(sizes)]
    grids = {group.name: Grid(group.n_channels, step) for group, step in zip(groups, steps, strict=True)}
    total = sum(sizes)
    return solve(groups, grids, uniform(groups), cost or (lambda keep: sum(keep.values()) / total), target)


def test_by_hand():
    assert solved([10, 10], [1, 1], 0.5).n_keep == {"0": 5, "1": 5}
    assert solved([16, 16], [8, 8], 0.75).n_keep in ({"0": 16, "1": 8}, {"0": 8, "1": 16})


def test_what_rounding_took_comes_back_where_the_budget_allows():
    found = solved([100, 8], [10, 8], 0.95)  # 94.9 and 7.6 are wanted
    assert found.n_keep == {"0": 90, "1": 8} and found.met


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(2, 64), min_size=1, max_size=6),
    step=st.sampled_from([1, 2, 8]),
    target=st.floats(0.01, 0.99),
    data=st.data(),
)
def test_never_above_the_budget_where_it_can_be_met(sizes, step, target, data):
    prices = data.draw(st.lists(st.integers(1, 9), min_size=len(sizes), max_size=len(sizes)))
    whole = sum(p * n * n for p, n in zip(prices, sizes, strict=True))

    def cost(keep):
        return sum(p * keep[str(i)] ** 2 for i, p in enumerate(prices)) / whole

    steps = [min(step, n) for n in sizes]
    found = solved(sizes, steps, target, cost)
    least = cost({str(i): s for i, s in enumerate(steps)})
    assert found.met == (least <= target) and found.remaining == cost(found.n_keep)
    assert found.remaining <= target if found.met else found.remaining == least
    wider = []
    for name, kept in found.n_keep.items():
        n, s = sizes[int(name)], steps[int(name)]
        assert kept >= 1 and (kept % s == 0 or kept == n)
        wider.append({**found.n_keep, name: Grid(n, s).above(kept)})
    if found.met:  # no single step more would fit, unless the budget is as good as used up
        fits = [keep for keep in wider if keep != found.n_keep and cost(keep) <= target]
        assert not fits or found.remaining >= target * 0.99


def test_a_tenth_stays_unless_the_budget_asks_for_less():
    groups_cost = {"0": 1.0, "1": 0.01}

    def cost(keep):
        return (keep["0"] * groups_cost["0"] + keep["1"] * groups_cost["1"]) / 101

    assert min(solved([100, 100], [1, 1], 0.15, cost).n_keep.values()) >= FLOOR * 100
    assert solved([100, 100], [1, 1], 0.05, cost).n_keep["0"] < 10
