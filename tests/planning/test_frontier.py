"""The best widths for any cost: against brute force where that is possible, else against dynamic programming."""

import itertools
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.planning import frontier
from compressor.planning.frontier import Candidates, Frontier, without_dominated
from tests.planning.chains import Chain, most_value, random_chain

LIMITS = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)


class Pairwise:
    """A table for every pair of groups, and one for each group alone."""

    def __init__(self, counts, alone, pairs):
        self.counts, self.alone, self.pairs = counts, alone, pairs

    def whole(self, n_keep):
        places = {name: self.counts[name].index(n_keep[name]) for name in self.counts}
        total = sum(self.alone[name][places[name]] for name in self.counts)
        return total + sum(table[places[a]][places[b]] for (a, b), table in self.pairs.items())

    def alternatives(self, n_keep, group, counts):
        return np.array([self.whole({**n_keep, group: int(count)}) + 5.0 for count in counts])


@st.composite
def problems(draw):
    """Up to 3 groups with up to 6 widths; costs are any numbers: staircases and falling ones among them."""
    names = "abc"[: draw(st.integers(1, 3))]
    counts = {name: list(range(8, 8 * draw(st.integers(1, 6)) + 1, 8)) for name in names}
    numbers = st.integers(0, 6).map(float)
    alone = {n: draw(st.lists(numbers, min_size=len(counts[n]), max_size=len(counts[n]))) for n in names}
    pairs = {}
    for a, b in itertools.combinations(names, 2):
        flat = draw(st.lists(numbers, min_size=36, max_size=36))
        pairs[a, b] = [flat[6 * row : 6 * row + 6] for row in range(6)]
    candidates = {}
    for name in names:
        gains = draw(st.lists(st.integers(0, 5), min_size=len(counts[name]), max_size=len(counts[name])))
        candidates[name] = Candidates(np.array(counts[name]), np.cumsum(gains).astype(float))
    return candidates, Pairwise(counts, alone, pairs)


def brute(candidates, cost, limit):
    """The most value within the limit; None where nothing fits."""
    names = list(candidates)
    best = None
    for places in itertools.product(*(range(len(candidates[name].counts)) for name in names)):
        n_keep = {name: int(candidates[name].counts[place]) for name, place in zip(names, places, strict=True)}
        if cost.whole(n_keep) <= limit:
            value = sum(candidates[name].values[place] for name, place in zip(names, places, strict=True))
            best = value if best is None else max(best, value)
    return best


def checked(choice, candidates, cost, limit):
    """What the choice says of itself is so; its value."""
    assert choice.cost <= limit and choice.cost == pytest.approx(cost.whole(choice.n_keep))
    value = sum(each.values[list(each.counts).index(choice.n_keep[name])] for name, each in candidates.items())
    assert choice.value == pytest.approx(value)
    return choice.value


@settings(deadline=None, max_examples=150)
@given(problems(), st.integers(0, 40))
def test_as_good_as_brute_force(problem, limit):
    candidates, cost = problem
    expected, choice = brute(candidates, cost, limit), Frontier(candidates, cost).best(limit)
    assert (choice is None) == (expected is None)
    if choice is not None:
        assert checked(choice, candidates, cost, limit) == pytest.approx(expected)


@settings(deadline=None, max_examples=100)
@given(problems())
def test_the_sweep_keeps_its_limits(problem):
    """The same problems, without looking at everything."""
    candidates, cost = problem
    with patch.object(frontier, "FEW", 0):
        swept = Frontier(candidates, cost)
    before = -np.inf
    for limit in range(0, 45):
        choice = swept.best(limit)
        if choice is None:
            assert limit < swept.narrowest.cost
            continue
        assert before <= checked(choice, candidates, cost, limit) <= brute(candidates, cost, limit) + 1e-9
        before = choice.value
    widest = {name: int(each.counts[-1]) for name, each in candidates.items()}
    assert swept.best(1000).value == sum(each.values[-1] for each in candidates.values())
    assert brute(candidates, cost, cost.whole(widest)) == pytest.approx(swept.best(cost.whole(widest)).value)


@pytest.mark.parametrize("kind", ["smooth", "staircase", "bumpy"])
@pytest.mark.parametrize("seed", range(3))
def test_large_problems(kind, seed):
    """20 groups of 12 widths. Dynamic programming finds at most 2 % more value, mostly none."""
    candidates, cost = random_chain(seed, kind=kind)
    found = Frontier(candidates, cost)
    whole = cost.whole({name: int(each.counts[-1]) for name, each in candidates.items()})
    before = -np.inf
    for share in LIMITS:
        choice = found.best(share * whole)
        value = checked(choice, candidates, cost, share * whole)
        assert value >= before
        assert value >= 0.98 * most_value(candidates, cost, share * whole)
        before = value
    assert found.best(whole).n_keep == {name: int(each.counts[-1]) for name, each in candidates.items()}
    least = cost.whole({name: int(each.counts[0]) for name, each in candidates.items()})
    assert found.narrowest.cost <= least and found.best(found.narrowest.cost * 0.999) is None


def test_linear_costs_are_a_ranking_of_all_channels():
    """Where every channel costs the same, those that stay are the most important of all groups together."""
    generator = np.random.default_rng(3)
    scores = {name: np.sort(generator.exponential(size=40))[::-1] for name in "abcde"}
    candidates = {name: Candidates(np.arange(1, 41), each.cumsum()) for name, each in scores.items()}

    class Linear:
        def whole(self, n_keep):
            return float(sum(n_keep.values()))

        def alternatives(self, n_keep, group, counts):
            return counts.astype(float)

    ranked = np.sort(np.concatenate([each[1:] for each in scores.values()]))[::-1]  # the first of each always stays
    best_firsts = sum(each[0] for each in scores.values())
    found = Frontier(candidates, Linear())
    for n in (5, 30, 90, 140, 200):
        choice = found.best(n)
        assert choice.value == pytest.approx(best_firsts + ranked[: n - 5].sum())
        threshold = ranked[n - 6] if n > 5 else np.inf
        assert choice.n_keep == {name: 1 + int((each[1:] >= threshold).sum()) for name, each in scores.items()}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_groups", [3, 20])
def test_widths_lie_on_the_edges_of_steps(n_groups, seed):
    """Channels up to the next step are free, so nobody stops before it."""
    block, counts = 4, np.arange(1, 13)
    candidates, _ = random_chain(seed, n_groups)
    candidates = {name: Candidates(counts, each.values) for name, each in candidates.items()}
    x = np.ceil(counts / block)
    weights = np.random.default_rng(seed).lognormal(size=n_groups)
    cost = Chain(dict.fromkeys(candidates, counts), [w * (np.outer(x, x) + x[None]) for w in weights[1:]])
    usable = {
        name: without_dominated(each, list(cost.alternatives(dict.fromkeys(candidates, 12), name, counts)))
        for name, each in candidates.items()
    }
    assert all(list(each.counts) == [4, 8, 12] for each in usable.values())
    found, whole = Frontier(candidates, cost), cost.whole(dict.fromkeys(candidates, 12))
    for share in LIMITS:
        choice = found.best(share * whole)
        if choice is not None:
            assert all(count % block == 0 for count in choice.n_keep.values())


def test_where_nothing_can_leave():
    cost = Chain({"a": np.array([4]), "b": np.array([2])}, [np.array([[3.0]])])
    found = Frontier({name: Candidates(each, np.array([1.0])) for name, each in cost.counts.items()}, cost)
    assert found.best(2.9) is None and found.best(3.0) == found.narrowest and found.narrowest.n_keep == {"a": 4, "b": 2}


def test_costs_of_groups_that_take_no_time():
    """A sweep whose multiplier nothing tells: everything stays."""
    candidates, chain = random_chain(0)
    free = Chain(chain.counts, [table * 0 + 1 for table in chain.tables])
    choice = Frontier(candidates, free).best(19.0)
    assert choice.n_keep == dict.fromkeys(candidates, 96)


def test_without_what_costs_as_much_as_a_wider_one():
    each = Candidates(np.array([1, 2, 3, 4, 5]), np.array([1.0, 2, 3, 4, 5]))
    kept = without_dominated(each, [2.0, 1.0, 4.0, 3.0, 3.0])
    assert kept.counts.tolist() == [2, 5] and kept.values.tolist() == [2, 5]
    assert without_dominated(each, [0.0] * 5).counts.tolist() == [5]
    assert without_dominated(each, [1, 2, 3, 4, 5]).counts.tolist() == [1, 2, 3, 4, 5]
    # What a wider one costs more is counted from the last that stays, so small steps do not add up.
    assert without_dominated(each, [1, 1.9, 2.8, 3.7, 4.6], same=1.0).counts.tolist() == [1, 3, 5]


class Additive:
    """Each group costs its count times a price."""

    def __init__(self, prices):
        self.prices = prices

    def whole(self, n_keep):
        return float(sum(self.prices[name] * count for name, count in n_keep.items()))

    def alternatives(self, n_keep, group, counts):
        return self.prices[group] * np.asarray(counts, float)


def test_a_group_that_stays_or_goes_as_a_whole_leaves_no_gap():
    """A residual stream of two widths takes half of the time: between the two, the others give what there is."""
    names = [f"inner{i}" for i in range(6)]
    candidates = {"stream": Candidates(np.array([8, 16]), np.array([0.0, 12.0]))}
    candidates |= {name: Candidates(np.arange(1, 6), np.sqrt(np.arange(1.0, 6.0))) for name in names}
    cost = Additive({"stream": 4.0} | dict.fromkeys(names, 2.0))
    limits = np.linspace(45, 120, 60)
    with patch.object(frontier, "FEW", 0):
        found = Frontier(candidates, cost)
        with patch.object(frontier, "MOST_SWEEPS", 0):
            hull = Frontier(candidates, cost)
    expected = np.array([brute(candidates, cost, limit) for limit in limits])
    values = np.array([found.best(limit).value for limit in limits])
    assert (values >= 0.99 * expected).all()
    assert min(hull.best(limit).value / e for limit, e in zip(limits, expected, strict=True)) < 0.9
