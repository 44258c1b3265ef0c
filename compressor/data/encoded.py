"""Images that are still JPEG, PNG and the like, and their decoding with Pillow."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from compressor.core.errors import DataError
from compressor.core.progress import Progress

RESIZE = "bilinear, to cover the size at the image's own aspect ratio, then the centre"
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_CHUNK = 256  # images that one thread takes at a time


class EncodedImages(Protocol):
    """A source of encoded images."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes | Path:
        """The image file's content, or where it is. Raises ValueError if there is none."""

    def name(self, index: int) -> str:
        """What people call it: a path, a row."""


@dataclass(frozen=True)
class Decoder:
    """How an encoded image becomes pixels."""

    size: tuple[int, int]  # height, width
    n_channels: int  # 1 or 3
    may_resize: bool  # the caller asked for `size`; else all images must have it

    def pixels(self, source: EncodedImages, index: int) -> tuple[np.ndarray, bool]:
        """(uint8 (C, H, W), whether it was resized). Raises what Pillow raises, or ValueError."""
        with _opened(source, index) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"has {image.mode} pixels, not 8-bit ones")
            image.load()
            converted = image.convert("L" if self.n_channels == 1 else "RGB")
        width_and_height = (self.size[1], self.size[0])
        resized = converted.size != width_and_height
        if resized:
            self.check_size(converted.size)
            converted = ImageOps.fit(converted, width_and_height, Image.Resampling.BILINEAR)
        array = np.asarray(converted)  # (H, W) or (H, W, 3)
        return (array[None] if array.ndim == 2 else array.transpose(2, 0, 1)), resized

    def check_size(self, width_and_height: tuple[int, int]) -> None:
        """Raises ValueError if an image of another size may not be resized."""
        if not self.may_resize and width_and_height != (self.size[1], self.size[0]):
            width, height = width_and_height
            raise ValueError(f"is {height}x{width} and the first image {self.size[0]}x{self.size[1]}; give `size`")


class EncodedPixels:
    """Decodes a batch when it is asked for; for datasets too large for memory."""

    in_memory = False

    def __init__(self, source: EncodedImages, decoder: Decoder, owner: str) -> None:
        self._source, self._decoder, self._owner = source, decoder, owner

    def __len__(self) -> int:
        return len(self._source)

    def batch(self, indices: Sequence[int]) -> Tensor:
        """(N, C, H, W) uint8.

        Raises:
            DataError: an image cannot be decoded.
        """
        out = np.empty((len(indices), self._decoder.n_channels, *self._decoder.size), np.uint8)
        failures = []
        with _quiet_pillow():
            for row, index in enumerate(indices):
                try:
                    out[row], _ = self._decoder.pixels(self._source, index)
                except _UNREADABLE as error:
                    failures.append((self._source.name(index), str(error)))
        _raise_if_any(self._owner, failures, len(self._source))
        return torch.from_numpy(out)


def first_image(source: EncodedImages, owner: str) -> tuple[tuple[int, int], int]:
    """((height, width), channels: 1 for grey, else 3) of the first image that can be opened.

    Raises:
        DataError: none can.
    """
    failures = []
    with _quiet_pillow():
        for index in range(len(source)):
            try:
                with _opened(source, index) as image:
                    return (image.height, image.width), 1 if image.mode in ("1", "L", "LA") else 3
            except _UNREADABLE as error:
                failures.append((source.name(index), str(error)))
    raise _unreadable(owner, failures, len(source))


def decode_all(source: EncodedImages, decoder: Decoder, owner: str, progress: Progress) -> tuple[Tensor, int]:
    """(uint8 (N, C, H, W), how many images were resized).

    Raises:
        DataError: images cannot be decoded; names the first few and says how many.
    """
    out = np.empty((len(source), decoder.n_channels, *decoder.size), np.uint8)

    def decode(index: int) -> bool:
        out[index], resized = decoder.pixels(source, index)
        return resized

    # Pillow frees the interpreter lock only inside the codec: threads pay for large images and cost time for tiny ones.
    n_threads = 1 if decoder.size[0] * decoder.size[1] <= 64 * 64 else _n_threads()
    n_resized = _over_all(decode, source, owner, "reading images", n_threads, progress)
    return torch.from_numpy(out), n_resized


def check_all(source: EncodedImages, decoder: Decoder, owner: str, progress: Progress) -> int:
    """Opens every image without decoding it: finds what is no image, and counts those that will be resized.

    Raises:
        DataError: as `decode_all`, but damage behind an image's header shows only when it is decoded.
    """

    def check(index: int) -> bool:
        with _opened(source, index) as image:
            decoder.check_size(image.size)
            return image.size != (decoder.size[1], decoder.size[0])

    return _over_all(check, source, owner, "checking images", _n_threads(), progress)


@contextmanager
def _opened(source: EncodedImages, index: int) -> Iterator[Image.Image]:
    content = source.read(index)
    with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
        yield image


def _over_all(
    handle: Callable[[int], bool], source: EncodedImages, owner: str, title: str, n_threads: int, progress: Progress
) -> int:
    """How many images `handle` says yes to; raises with those that it cannot read."""

    def handle_chunk(chunk: range) -> tuple[int, int, list[tuple[str, str]]]:
        n_yes, failures = 0, []
        for index in chunk:
            try:
                n_yes += handle(index)
            except _UNREADABLE as error:
                failures.append((source.name(index), str(error)))
        return len(chunk), n_yes, failures

    n, n_counted, failures = len(source), 0, []
    chunks = [range(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK)]
    with _quiet_pillow(), ThreadPoolExecutor(n_threads) as pool, progress.step(title, n) as step:
        for n_done, n_yes, failed in pool.map(handle_chunk, chunks):
            n_counted += n_yes
            failures += failed
            step.advance(n_done)
    _raise_if_any(owner, failures, n)
    return n_counted


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    # Pillow warns of odd palettes, huge images and torn metadata; the pixels are what counts here.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def _n_threads() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, usable)


def _raise_if_any(owner: str, failures: list[tuple[str, str]], n: int) -> None:
    if failures:
        raise _unreadable(owner, failures, n)


def _unreadable(owner: str, failures: list[tuple[str, str]], n: int) -> DataError:
    # Pillow repeats the memory address of a buffer in its sentence; people need the reason alone.
    shown = "; ".join(f"{name} ({reason.split(' <_io')[0]})" for name, reason in failures[:3])
    more = f" and {len(failures) - 3} more" if len(failures) > 3 else ""
    return DataError(
        f"{owner}: {len(failures)} of {n} images cannot be used: {shown}{more}. Repair or remove them and run again."
    )
