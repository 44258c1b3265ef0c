import pytest

from compressor.report.low_rank_wording import finding_of
from compressor.report.schema import Alternative, Alternatives


def told(both, low_rank=None, pruning=None, n_images=5000):
    """Each a top-1 percentage, or a reason."""

    def row(name, found):
        if isinstance(found, str):
            return Alternative(name, found)
        return Alternative(name, "", 0.5, 0.5, found, 1.5, (1.4, 1.6))

    rows = (row("both", both), row("low rank", low_rank), row("pruning", pruning))
    return finding_of(Alternatives("onnxruntime:cpu", rows, n_images, ""))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((90.0, 80.0, 85.0), "both together are 5.0 points better than pruning alone, at the same latency."),
        ((80.0, 85.0, 82.0), "low rank alone is as fast and 5.0 points better than both: leave the budget out"),
        ((80.0, "slow", 88.0), "pruning alone is as fast and 8.0 points better than both: leave --decompose out."),
        ((80.0, "slow", 80.5), "pruning alone is as fast, and its accuracy cannot be told from that of both (+0.5 po"),
        ((80.0, "slow", "slow"), "Neither low rank alone nor pruning alone becomes as fast."),
        ((None, "slow", None), "pruning alone can be as fast; accuracies are unknown"),
        ((None, None, None), "low rank and pruning alone can be as fast; accuracies are unknown"),
    ],
)
def test_what_is_said(given, sentence):
    assert told(*given).startswith(sentence)


def test_fewer_images_tell_less():
    assert "5.0 points better" in told(85.0, "slow", 90.0)
    assert "cannot be told" in told(85.0, "slow", 90.0, n_images=100)
