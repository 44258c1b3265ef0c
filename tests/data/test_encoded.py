"""Decoding: what Pillow makes of files, whole and broken, at once and on demand."""

import io

import numpy as np
import pytest
from PIL import Image

from compressor.core.errors import DataError
from compressor.core.progress import SilentProgress
from compressor.data.encoded import Decoder, EncodedPixels, check_all, decode_all, first_image


class InMemory:
    def __init__(self, *contents):
        self.contents = contents

    def __len__(self):
        return len(self.contents)

    def read(self, index):
        return self.contents[index]

    def name(self, index):
        return f"image {index}"


def png(array, mode=None):
    file = io.BytesIO()
    Image.fromarray(array, mode).save(file, "png") if mode else Image.fromarray(array).save(file, "png")
    return file.getvalue()


RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
GREY = RGB[:, :, 0]


def test_pixels_arrive_unchanged_and_channels_first():
    pixels, n_resized = decode_all(InMemory(png(RGB)), Decoder((4, 6), 3, False), "d", SilentProgress())
    assert n_resized == 0
    assert (pixels[0].numpy() == RGB.transpose(2, 0, 1)).all()


def test_grey_and_colour_are_converted():
    pixels, _ = decode_all(InMemory(png(GREY)), Decoder((4, 6), 3, False), "d", SilentProgress())
    assert (pixels[0].numpy() == GREY).all()
    pixels, _ = decode_all(InMemory(png(RGB)), Decoder((4, 6), 1, False), "d", SilentProgress())
    assert pixels.shape == (1, 1, 4, 6)


def test_palette_with_transparency_does_not_warn():
    image = Image.fromarray(GREY).convert("P")
    file = io.BytesIO()
    image.save(file, "png", transparency=bytes([0, 255]))
    pixels, _ = decode_all(InMemory(file.getvalue()), Decoder((4, 6), 3, False), "d", SilentProgress())
    assert pixels.shape == (1, 3, 4, 6)


def test_resize_covers_and_crops_the_centre():
    # Left, middle and right thirds are 0, 100, 200: the middle square is left.
    wide = np.repeat(np.array([0, 100, 200], np.uint8), 4)[None].repeat(4, 0)
    pixels, n_resized = decode_all(InMemory(png(wide)), Decoder((4, 4), 1, True), "d", SilentProgress())
    assert n_resized == 1
    assert (pixels == 100).all()


def test_large_images_take_the_threaded_way():
    large = np.random.default_rng(1).integers(0, 256, (80, 80), np.uint8)
    pixels, _ = decode_all(InMemory(*[png(large)] * 600), Decoder((80, 80), 1, False), "d", SilentProgress())
    assert (pixels.numpy() == large).all()


def test_all_broken_images_are_counted_and_the_first_named():
    whole = png(RGB)
    source = InMemory(whole, b"", whole[:60], b"no image", b"\x89PNG\r\n\x1a\n", whole)
    with pytest.raises(DataError) as caught:
        decode_all(source, Decoder((4, 6), 3, False), "photos", SilentProgress())
    sentence = str(caught.value)
    assert sentence.startswith("photos: 4 of 6 images cannot be used: image 1 (")
    assert "image 3" in sentence and "image 4" not in sentence and "and 1 more" in sentence
    assert "0x" not in sentence


def test_sizes_that_differ_ask_for_a_size():
    source = InMemory(png(RGB), png(RGB[:2]))
    with pytest.raises(DataError, match=r"image 1 \(is 2x6 and the first image 4x6; give `size`\)"):
        decode_all(source, Decoder((4, 6), 3, False), "d", SilentProgress())
    with pytest.raises(DataError, match="give `size`"):
        check_all(source, Decoder((4, 6), 3, False), "d", SilentProgress())
    assert check_all(source, Decoder((4, 6), 3, True), "d", SilentProgress()) == 1


def test_sixteen_bit_pixels_are_refused_rather_than_clipped():
    with pytest.raises(DataError, match="not 8-bit"):
        decode_all(InMemory(png(GREY.astype(np.uint16))), Decoder((4, 6), 1, False), "d", SilentProgress())


def test_on_demand_gives_the_same_pixels():
    source, decoder = InMemory(png(RGB), png(RGB[::-1].copy())), Decoder((4, 6), 3, False)
    at_once, _ = decode_all(source, decoder, "d", SilentProgress())
    assert (EncodedPixels(source, decoder, "d").batch([1, 0]) == at_once[[1, 0]]).all()
    with pytest.raises(DataError, match="1 of 2 images"):
        EncodedPixels(InMemory(png(RGB), b"x"), decoder, "d").batch([0, 1])


def test_the_first_readable_image_tells_size_and_channels():
    assert first_image(InMemory(b"x", png(RGB)), "d") == ((4, 6), 3)
    assert first_image(InMemory(png(GREY)), "d") == ((4, 6), 1)
    with pytest.raises(DataError, match="1 of 1"):
        first_image(InMemory(b"x"), "d")
