import math

import pytest
import torch

from compressor.core.errors import InvalidOption
from compressor.training.losses.cross_entropy import CrossEntropy


def test_by_hand():
    # Probabilities 3/4, 1/4; the right one is the second, then the first.
    scores = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])
    loss = CrossEntropy()(scores, torch.tensor([1, 0]), None)
    assert loss.item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


def test_smoothing_by_hand():
    # Smoothing 0.5 of two classes: targets 3/4 and 1/4.
    loss = CrossEntropy(label_smoothing=0.5)(torch.tensor([[math.log(3), 0.0]]), torch.tensor([0]), None)
    assert loss.item() == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_out_of_range(value):
    with pytest.raises(InvalidOption, match="label_smoothing"):
        CrossEntropy(value)
