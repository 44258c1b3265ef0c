from __future__ import annotations

from dataclasses import replace

import pytest

from compressor.report import ladder_wording, wording
from compressor.report.schema import AccuracyRow, GroupRow, LatencyRow, Report


def row(ratio: float, low: float, high: float, verdict: str, target: str = "onnxruntime:cpu") -> LatencyRow:
    return LatencyRow(target, ratio=ratio, interval=(low, high), verdict=verdict)


FASTER = row(1.42, 1.38, 1.46, "faster")
SLOWER = row(0.8, 0.75, 0.85, "slower", "openvino:cpu")
EQUAL = row(1.01, 0.97, 1.05, "no significant difference", "torch:cpu")


def test_a_faster_file() -> None:
    assert wording.speed_of(FASTER) == wording.Speed("1.42× faster", "95 % interval 1.38 to 1.46", wording.GOOD)


def test_a_slower_file_takes_the_inverse_as_long() -> None:
    # 1/0.8 = 1.25; the interval turns round: 1/0.85 = 1.18, 1/0.75 = 1.33.
    assert wording.speed_of(SLOWER) == wording.Speed("takes 1.25× as long", "95 % interval 1.18 to 1.33", wording.BAD)


def test_no_difference_is_neither_good_nor_bad() -> None:
    speed = wording.speed_of(EQUAL)
    assert speed.answer == "no significant difference"
    assert speed.tone == wording.NEUTRAL
    assert "ratio 1.010" in speed.interval


@pytest.mark.parametrize(
    ("rows", "answer", "tone"),
    [
        ((), "Speed is unknown", wording.NEUTRAL),
        ((LatencyRow("torch:cuda", unavailable="no GPU"),), "Speed is unknown", wording.NEUTRAL),
        ((FASTER,), "1.42× faster on onnxruntime:cpu", wording.GOOD),
        ((SLOWER,), "Takes 1.25× as long on openvino:cpu", wording.BAD),
        ((EQUAL,), "No significant difference on torch:cpu", wording.NEUTRAL),
        ((FASTER, replace(FASTER, ratio=2.0)), "1.42 to 2.00× faster on all 2 targets that were timed", wording.GOOD),
        ((FASTER, SLOWER, EQUAL), "Faster on 1 of the 3 targets that were timed, slower on 1", wording.NEUTRAL),
        ((FASTER, EQUAL), "Faster on 1 of the 2 targets that were timed", wording.NEUTRAL),
        ((EQUAL, EQUAL), "Not faster on any of the 2 targets that were timed", wording.NEUTRAL),
        ((SLOWER, EQUAL), "Not faster on any of the 2 targets that were timed", wording.BAD),
        ((SLOWER, SLOWER), "Slower on all 2 targets that were timed", wording.BAD),
    ],
)
def test_headlines(rows: tuple[LatencyRow, ...], answer: str, tone: str) -> None:
    headline = wording.speed_headline(rows)
    assert (headline.answer, headline.tone) == (answer, tone)


def test_a_ratio_that_could_not_be_computed_has_a_headline() -> None:
    nan = float("nan")
    assert (
        "no significant difference"
        in wording.speed_headline([row(nan, nan, nan, "no significant difference")]).answer.lower()
    )


def test_accuracy_without_data_is_unknown() -> None:
    assert wording.loss_of(()) == wording.Loss("unknown", "no validation data was given", wording.NEUTRAL)


def test_one_measured_accuracy_says_nothing_about_a_loss() -> None:
    loss = wording.loss_of([AccuracyRow("finetune", 91.2, 10_000)])
    assert loss.answer == "unknown"
    assert "91.20 %" in loss.explanation


@pytest.mark.parametrize(
    ("last", "answer"), [(91.88, "0.72 points lost"), (92.6, "no change"), (93.0, "0.40 points gained")]
)
def test_accuracy_lost_and_gained(last: float, answer: str) -> None:
    rows = [AccuracyRow("dense", 92.6, 10_000), AccuracyRow("cut", 10.0, 10_000), AccuracyRow("finetune", last, 10_000)]
    assert wording.loss_of(rows).answer == answer


def test_reasons_are_gathered_and_the_dearest_comes_first() -> None:
    rows = [
        GroupRow("a", 8, 4, 0.5, 2),
        GroupRow("b", 8, 8, 0.1, 1, "output"),
        GroupRow("c", 8, 8, 0.2, 1, "padding"),
        GroupRow("d", 8, 8, 0.15, 1, "output"),
    ]
    reasons = wording.reasons_of(rows)
    assert [(reason.reason, len(reason.groups)) for reason in reasons] == [("output", 2), ("padding", 1)]
    assert reasons[0].macs_share == pytest.approx(0.25)


def test_problems(reports: dict[str, Report]) -> None:
    assert wording.problems_of(reports["full"]) == []
    problems = wording.problems_of(reports["slower"])
    assert "model.pt2, model.xml" in problems[0]
    assert "at most 30 % of the MACs" in problems[1]
    assert wording.problems_of(replace(reports["full"], exit_code=7)) == ["The run ended with exit code 7."]


def test_a_cut_that_differs_is_a_problem(reports: dict[str, Report]) -> None:
    check = reports["full"].cut_check
    assert check is not None
    for error in (1.0, None, float("nan")):
        assert len(wording.problems_of(replace(reports["full"], cut_check=replace(check, max_rel_error=error)))) == 1


def test_budgets(reports: dict[str, Report]) -> None:
    report = reports["full"]
    assert wording.budget_of(replace(report, budget={"ratio": 0.3})) == "30 % of the channels removed"
    assert wording.budget_of(replace(report, budget={"latency_ms": 5.0})) == "latency_ms 5"
    assert wording.budget_of(replace(report, budget={})) == "none"


def test_a_ladder_in_words(reports: dict[str, Report]) -> None:
    found = reports["ladder"].ladder
    assert found is not None
    cut_alone = replace(found, rungs=found.rungs[:1], max_drop_points=0.5)
    assert ladder_wording.outcome_of(cut_alone) == "kept by the cut alone"
    assert ladder_wording.asked_of(cut_alone).startswith("at most 0.5 points of accuracy lost")
    near = replace(found, drop_points=1.0004, reached=False)
    assert ladder_wording.shortfall_of(near).startswith("1.0004 points of accuracy were lost, and --max-drop allows 1;")


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        ({"params": 0.75}, "about 75 % of the parameters would have to remain (--params 75%)"),
        ({"ratio": 0.12}, "about 12 % of the channels could be removed (--ratio 12%)"),
        ({"macs": 1.0}, "next to nothing could be removed"),
        ({"ratio": 0.0}, "next to nothing could be removed"),
        ({}, ""),
    ],
)
def test_estimates(reports: dict[str, Report], budget: dict[str, float], sentence: str) -> None:
    found = reports["short"].ladder
    assert found is not None
    told = ladder_wording.estimate_of(replace(found, largest_budget=budget))
    assert sentence in told and bool(told) == bool(sentence)
