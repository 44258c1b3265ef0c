"""From a method, an allocation and a budget to the channels that stay."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.core.errors import ContractViolation, InvalidOption, NothingPrunable, UnsupportedModel
from compressor.core.protocols import MethodContext
from compressor.graph.cost import CostModel, measure_cost
from compressor.planning.budget import TOLERANCE, Budget
from compressor.planning.planner import Planner
from compressor.planning.rounding import automatic_step
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand


@dataclass(frozen=True)
class Given:
    """A criterion with fixed scores."""

    table: dict
    comparable: bool = True
    needs: ClassVar[frozenset] = frozenset({"norm"})
    summary: ClassVar[str] = "scores of a test"

    def scores(self, groups, context):
        return self.table


class Picks:
    """A selector that keeps the last channels, and removes all it is asked to from the first group."""

    needs: ClassVar[frozenset] = frozenset()

    def __init__(self, chosen=None):
        self.chosen = chosen

    def ratios(self, groups, context, pruning_ratio):
        return {groups[0].name: pruning_ratio}

    def select(self, group, n_keep, context):
        return self.chosen or range(group.n_channels - n_keep, group.n_channels)


def decided(case, method, unit="macs", value=0.5, allocation="local", round_to=1):
    planner = Planner(case.groups, case.cost, method, case.context, allocation, round_to)
    return planner.decide(Budget(unit, value))


@settings(max_examples=25, deadline=None)
@given(
    unit=st.sampled_from(["macs", "params", "ratio"]),
    value=st.floats(0.15, 0.95),
    name=st.sampled_from(["l1", "lamp", "random", "reprune"]),
    allocation=st.sampled_from(["local", "global"]),
    round_to=st.sampled_from([0, 1, 4, 8]),
)
def test_budgets_are_met_on_the_cut_model(case, method, unit, value, name, allocation, round_to):
    """Measured on the network after the cut, not predicted."""
    budget = Budget(unit, value)
    decision = Planner(case.groups, case.cost, method(name), case.context, allocation, round_to).decide(budget)
    small = cut_copy(case.model, *expand(case.groups, decision.keep, case.model))
    cost = measure_cost(small, case.inputs)
    n_kept, n_all = sum(map(len, decision.keep.values())), sum(group.n_channels for group in case.groups)
    shares = {"macs": cost.macs / case.cost.macs, "params": cost.params / case.cost.params, "ratio": n_kept / n_all}
    assert decision.remaining == pytest.approx(shares[unit], rel=1e-6)
    predicted = CostModel(case.cost, case.groups).predict({name: len(kept) for name, kept in decision.keep.items()})
    assert predicted == pytest.approx((cost.macs, cost.params))
    if decision.met:
        assert shares[unit] <= budget.remaining + 1e-9
        assert shares[unit] >= budget.remaining * (1 - TOLERANCE) or "too coarse" in decision.notes[-1]
    else:
        assert shares[unit] > budget.remaining and "narrowest model" in decision.notes[-1]
    for group in case.groups:
        keep = decision.keep[group.name]
        assert keep and list(keep) == sorted(set(keep)) and set(keep) <= set(range(group.n_channels))


def test_half_of_a_wide_network_is_met_within_two_percent(wide_case, method):
    for unit in ("macs", "params", "ratio"):
        decision = decided(wide_case, method("l1"), unit, 0.5, round_to=1)
        assert decision.met and 0.49 <= decision.remaining <= 0.5 and not decision.notes


def test_rounded_widths(wide_case, method):
    decision = decided(wide_case, method("l1"), round_to=8)
    small = cut_copy(wide_case.model, *expand(wide_case.groups, decision.keep, wide_case.model))
    widths = [m.out_channels for m in small.modules() if isinstance(m, nn.Conv2d)][:-1]
    assert all(width % 8 == 0 and width for width in widths) and widths != [32, 48, 64, 40]


def test_the_best_channels_stay(case):
    scores = {g.name: torch.rand(g.n_channels, generator=torch.Generator().manual_seed(1)) for g in case.groups}
    for allocation in ("local", "global"):
        decision = decided(case, Given(scores), allocation=allocation)
        for group in case.groups:
            kept = set(decision.keep[group.name])
            gone = set(range(group.n_channels)) - kept
            if gone:
                assert scores[group.name][list(kept)].min() >= scores[group.name][list(gone)].max()


def test_equal_scores_still_meet_the_budget(case):
    for allocation in ("local", "global"):
        decision = decided(case, Given({g.name: torch.ones(g.n_channels) for g in case.groups}), allocation=allocation)
        assert decision.met and decision.remaining <= 0.5
        assert all(keep == tuple(range(len(keep))) for keep in decision.keep.values())  # ties: the first ones stay


def test_local_takes_the_same_share_everywhere(wide_case, method):
    decision = decided(wide_case, method("l1"), "ratio", 0.5)
    assert all(len(decision.keep[g.name]) == pytest.approx(g.n_channels / 2, abs=1) for g in wide_case.groups)


def test_global_takes_more_where_scores_are_low(wide_case):
    low = wide_case.groups[0].name
    scores = {g.name: (1 + torch.rand(g.n_channels)) * (1 if g.name == low else 9) for g in wide_case.groups}
    decision = decided(wide_case, Given(scores), "ratio", 0.05, "global", round_to=1)
    shares = {g.name: len(decision.keep[g.name]) / g.n_channels for g in wide_case.groups}
    assert min(shares, key=shares.get) == low and all(shares[g.name] == 1 for g in wide_case.groups if g.name != low)
    # Scores that mean something inside their group only are brought to one scale, and then nobody stands out.
    decision = decided(wide_case, Given(scores, comparable=False), "ratio", 0.05, "global", round_to=1)
    assert len(decision.keep[low]) / wide_case.groups[0].n_channels > shares[low]


def test_narrow_groups_get_finer_steps_where_a_budget_asks_for_them(wide_case, method):
    """Steps of half their width leave more MACs than that."""
    sizes = {group.name: group.n_channels for group in wide_case.groups}
    least = {name: automatic_step(size) for name, size in sizes.items()}
    fine = decided(wide_case, method("l1"), "macs", 0.05)
    assert fine.met and any(len(keep) < least[name] for name, keep in fine.keep.items())


class TestBudgetsThatCannotBeMet:
    def test_the_narrowest_model_is_given_with_a_note(self, case, method):
        decision = decided(case, method("l1"), "macs", 0.0005)
        assert not decision.met and all(len(keep) == 1 for keep in decision.keep.values())
        assert decision.notes[-1].startswith("--macs 0.0005 asks for 0.1%, but the narrowest model")

    def test_steps_that_are_too_coarse(self, wide_case, method):
        decision = decided(wide_case, method("l1"), "params", 0.9, round_to=32)
        assert decision.met and decision.remaining < 0.9 * 0.98
        assert "too coarse" in decision.notes[-1] and "smaller --round-to" in decision.notes[-1]

    def test_tiny_budgets_may_go_below_a_tenth(self, wide_case, method):
        decision = decided(wide_case, method("l1"), "ratio", 0.95)
        assert decision.met and min(len(keep) for keep in decision.keep.values()) < 4


class TestMethodsThatBreakTheirWord:
    def test_a_group_that_is_not_judged_stays_whole(self, wide_case):
        first, *rest = wide_case.groups
        decision = decided(wide_case, Given({g.name: torch.rand(g.n_channels) for g in rest}))
        assert first.name not in decision.keep and decision.met
        assert decision.notes[0] == "1 groups stay whole: the method cannot judge them."

    def test_no_group_is_judged(self, wide_case):
        with pytest.raises(NothingPrunable, match=r"none of the 5 groups \(it goes by: scores of a test\).*--method"):
            decided(wide_case, Given({}))

    def test_wrong_shapes_are_a_bug_and_nan_is_the_models_fault(self, wide_case):
        scores = {g.name: torch.rand(g.n_channels) for g in wide_case.groups}
        name = wide_case.groups[1].name
        with pytest.raises(ContractViolation, match=rf"scores of {name} must be of shape"):
            decided(wide_case, Given({**scores, name: torch.rand(3)}))
        for value in (float("nan"), float("inf")):
            broken = scores[name].clone()
            broken[0] = value
            with pytest.raises(
                UnsupportedModel, match=rf"scores of {name} must be finite.*Check the weights of {name}"
            ):
                decided(wide_case, Given({**scores, name: broken}))

    @pytest.mark.parametrize("chosen", [[0], [0] * 16, range(-1, 15), range(90, 106)])
    def test_a_selector_that_keeps_nonsense(self, wide_case, chosen):
        with pytest.raises(ContractViolation, match="the method must keep"):
            decided(wide_case, Picks(chosen), "ratio", 0.5)


def test_selectors_choose_channels_and_shares(wide_case):
    local = decided(wide_case, Picks(), "ratio", 0.5)
    for group in wide_case.groups:
        keep = local.keep[group.name]
        assert keep == tuple(range(group.n_channels - len(keep), group.n_channels))
    overall = decided(wide_case, Picks(), "ratio", 0.1, "global")
    first, *rest = wide_case.groups
    assert len(overall.keep[first.name]) < first.n_channels
    assert sum(g.n_channels - len(overall.keep[g.name]) for g in rest) <= len(rest)


def test_options_out_of_range(wide_case, method):
    with pytest.raises(InvalidOption, match=r"--allocation.*local or global.*'everywhere'"):
        decided(wide_case, method("l1"), allocation="everywhere")
    with pytest.raises(InvalidOption, match="--round-to"):
        decided(wide_case, method("l1"), round_to=-1)


def test_the_same_twice(case, method):
    assert decided(case, method("random"), allocation="global") == decided(case, method("random"), allocation="global")


class Talks(Picks):
    """A selector that has something to say about every group, as often as it is asked."""

    def ratios(self, groups, context, pruning_ratio):
        context.memory[groups[0].name] = "asked"
        context.note(groups[0].name, "it is peculiar.")
        return super().ratios(groups, context, pruning_ratio)

    def select(self, group, n_keep, context):
        context.note(group.name, f"a fallback was used{', although it was asked' * (group.name in context.memory)}.")
        return super().select(group, n_keep, context)


def test_what_a_method_notes_of_many_groups_is_one_note(wide_case):
    decision = decided(wide_case, Talks(), "ratio", 0.3)
    assert decision.notes == ("stem, middle.0, middle.3 and 2 more: a fallback was used.",)


def test_what_a_method_remembers_it_finds_again(wide_case):
    case = SimpleNamespace(**vars(wide_case) | {"context": MethodContext(wide_case.model)})
    decision = decided(case, Talks(), "ratio", 0.05, "global")
    assert decision.notes == ("stem: it is peculiar.", "stem: a fallback was used, although it was asked.")


def test_widths_that_were_found_otherwise(wide_case, method):
    planner = Planner(wide_case.groups, wide_case.cost, method("l1"), wide_case.context, "local", 0)
    name = wide_case.groups[0].name
    allowed = [3, 11, wide_case.groups[0].n_channels]
    planner.allow({name: allowed})
    for share in (0.9, 0.6, 0.3):
        widths = planner.widths(Budget("macs", share))
        assert widths.n_keep[name] in allowed and widths.remaining <= share
