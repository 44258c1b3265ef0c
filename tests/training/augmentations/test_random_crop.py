import pytest
import torch
from torch.nn import functional

from compressor.core.errors import InvalidOption
from compressor.training.augmentations.random_crop import RandomCrop


def crop(pixels, seed=0, share=0.25):
    return RandomCrop(share)(pixels, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_every_image_is_a_window_of_itself_mirrored(dtype):
    pixels = torch.arange(1, 1 + 64 * 2 * 8 * 4).reshape(64, 2, 8, 4).remainder(250).to(dtype)
    cut = crop(pixels)
    assert cut.shape == pixels.shape and cut.dtype == dtype
    padded = functional.pad(pixels.float(), (1, 1, 2, 2), mode="reflect").to(dtype)
    offsets = set()
    for image, whole in zip(cut, padded, strict=True):
        windows = {(y, x): whole[:, y : y + 8, x : x + 4] for y in range(5) for x in range(3)}
        fitting = [offset for offset, window in windows.items() if torch.equal(window, image)]
        assert fitting
        offsets.update(fitting)
    assert len(offsets) == 15  # every offset is drawn


def test_the_generator_is_all_the_randomness():
    pixels = torch.rand(8, 1, 8, 8)
    assert torch.equal(crop(pixels, seed=1), crop(pixels, seed=1))
    assert not torch.equal(crop(pixels, seed=1), crop(pixels, seed=2))


def test_images_too_small_to_move_stay():
    pixels = torch.rand(2, 1, 3, 3)
    assert torch.equal(crop(pixels, share=0.125), pixels)


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_out_of_range(share):
    with pytest.raises(InvalidOption, match="share"):
        RandomCrop(share)
