import pytest
import torch

from compressor.core.groups import ChannelGroup
from compressor.planning.allocate import by_rank, by_ratios, uniform

GROUPS = [ChannelGroup("a", 4, ()), ChannelGroup("b", 2, ())]


def test_uniform():
    assert uniform(GROUPS)(0.0) == {"a": 4, "b": 2} and uniform(GROUPS)(0.25) == {"a": 3, "b": 1.5}


def test_ranks_by_hand():
    scores = {"a": torch.tensor([1.0, 2.0, 3.0, 4.0]), "b": torch.tensor([0.5, 10.0])}
    at = by_rank(GROUPS, scores, comparable=True)
    assert at(0.0) == {"a": 4, "b": 2}
    assert at(1 / 6) == {"a": 4, "b": 1}
    assert at(0.5) == {"a": 2, "b": 1}
    assert at(1.0) == {"a": 0, "b": 0}
    # Divided by their means, 2.5 and 5.25: 0.4 0.8 1.2 1.6 and 0.095 1.9.
    assert by_rank(GROUPS, scores, comparable=False)(5 / 6) == {"a": 0, "b": 1}


def test_scores_without_a_mean():
    scores = {"a": torch.zeros(4), "b": torch.tensor([-1.0, -3.0])}
    assert by_rank(GROUPS, scores, comparable=False)(1 / 6) == {"a": 4, "b": 1}


def test_ratios_of_a_selector():
    assert by_ratios(GROUPS, lambda level: {"a": level})(0.5) == pytest.approx({"a": 2, "b": 2})
