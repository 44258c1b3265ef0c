import pytest
import torch

from compressor.core.errors import InvalidOption
from compressor.data.preprocessing import Preprocessing, height_and_width, per_channel


def test_by_hand():
    # (51 / 255 - 0.1) / 0.5 = 0.2 and (255 / 255 - 0.5) / 0.25 = 2
    steps = Preprocessing((0.1, 0.5), (0.5, 0.25), (1, 1), 2, 255.0, "")
    pixels = torch.tensor([[[[51]], [[255]]]], dtype=torch.uint8)
    inputs = steps.apply(pixels)
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(inputs.flatten(), torch.tensor([0.2, 2.0]))
    torch.testing.assert_close(steps.apply(pixels[0]), inputs[0])


def test_the_pixels_are_left_alone():
    floats = torch.ones(1, 1, 2, 2)
    Preprocessing((0.5,), (1.0,), (2, 2), 1, 1.0, "").apply(floats)
    assert (floats == 1).all()


def test_one_number_counts_for_all_channels():
    assert per_channel("mean", [0.5], 3, 0.0) == (0.5, 0.5, 0.5)
    assert per_channel("std", None, 2, 1.0) == (1.0, 1.0)


@pytest.mark.parametrize(("option", "values"), [("mean", [1, 2]), ("std", [1, 0, 1]), ("std", [-1.0]), ("mean", [])])
def test_wrong_numbers(option, values):
    with pytest.raises(InvalidOption, match=option):
        per_channel(option, values, 3, 0.0)


def test_sizes():
    assert height_and_width(8) == (8, 8)
    assert height_and_width([8, 4]) == (8, 4)
    assert height_and_width(None) is None
    for wrong in (0, [1, 2, 3], [3.5, 2], "ab"):
        with pytest.raises(InvalidOption, match="size"):
            height_and_width(wrong)
