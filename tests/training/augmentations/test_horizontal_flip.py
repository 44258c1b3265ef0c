import pytest
import torch

from compressor.core.errors import InvalidOption
from compressor.training.augmentations.horizontal_flip import HorizontalFlip


def test_by_hand():
    pixels = torch.tensor([[[[1, 2, 3]]]], dtype=torch.uint8)
    assert HorizontalFlip(1.0)(pixels, torch.Generator()).tolist() == [[[[3, 2, 1]]]]


def test_each_image_for_itself():
    pixels = torch.arange(3).expand(200, 1, 1, 3)
    flipped = HorizontalFlip()(pixels, torch.Generator().manual_seed(0))[:, 0, 0, 0] == 2
    assert 60 < int(flipped.sum()) < 140


@pytest.mark.parametrize("probability", [0.0, 1.1])
def test_out_of_range(probability):
    with pytest.raises(InvalidOption, match="probability"):
        HorizontalFlip(probability)
