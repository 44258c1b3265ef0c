"""A path in, a dataset out: looks at what is there and hands it to the reader for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from compressor.core.errors import DataError, InvalidOption
from compressor.core.progress import Progress, SilentProgress
from compressor.data.dataset import ImageDataset, MemoryPixels, Pixels
from compressor.data.encoded import RESIZE, Decoder, EncodedImages, EncodedPixels, check_all, decode_all, first_image
from compressor.data.folder import SUFFIXES, read_folder
from compressor.data.npz import read_npz
from compressor.data.parquet import parquet_files, read_parquet
from compressor.data.preprocessing import Preprocessing, height_and_width, per_channel

DECODED_LIMIT_BYTES = 1 << 30  # datasets up to this size are decoded once and kept in memory


def open_dataset(
    path: str | Path,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | Sequence[int] | None = None,
    n_channels: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    decoded_limit_bytes: int = DECODED_LIMIT_BYTES,
    progress: Progress | None = None,
) -> ImageDataset:
    """Opens a folder of images, a parquet file or folder, or an npz file, and finds broken images before it returns.

    Args:
        path: a folder with one sub-folder a class or without labels, a `.parquet` file, a folder of them, an `.npz`.
        mean, std: one number a channel, or one for all, in units of pixels / 255; 0 and 1 if not given. Arrays of
            floating-point numbers are not divided by 255 before.
        size: height and width, or one number for a square; images of another size are resized and cropped at the
            centre. Not given: all images must have the first one's size.
        n_channels: 1 (grey) or 3 (RGB); not given: as the first image.
        image_column, label_column: of a parquet whose columns do not have the usual names.
        decoded_limit_bytes: a dataset that is larger when decoded is decoded again each time an image is needed.
        progress: hears about the reading.

    Raises:
        DataError: nothing there, damaged, no images, images that cannot be decoded (all of them are named or counted).
        InvalidOption: mean, std, size or n_channels out of range.
    """
    where, listener = Path(path), progress or SilentProgress()
    wanted = height_and_width(size)
    if n_channels is not None and n_channels < 1:
        raise InvalidOption("data", "n_channels", "at least 1", n_channels)
    if not where.exists():
        raise DataError(f"{where}: there is no such file or folder. Check the path.")
    if where.suffix == ".npz":
        content = read_npz(where, n_channels)
        return _from_arrays(where, content.images, content.labels, wanted, mean, std)
    files = parquet_files(where) if where.is_dir() or where.suffix == ".parquet" else []
    notes: tuple[str, ...] = ()
    source: EncodedImages
    labels: Tensor | None
    if files:
        rows = read_parquet(where, files, image_column, label_column)
        source, class_names = rows.images, rows.class_names
        labels = torch.from_numpy(rows.labels) if rows.labels is not None else None
    elif where.is_dir():
        folder = read_folder(where)
        source, class_names, notes = folder.images, folder.class_names, folder.notes
        labels = torch.tensor(folder.labels) if folder.labels is not None else None
    else:
        kinds = "a folder of images, a .parquet file or an .npz file"
        hint = " Give the folder that the image is in." if where.suffix.lower() in SUFFIXES else ""
        raise DataError(f"{where}: must be {kinds}, but it is none of them.{hint}")
    if n_channels not in (None, 1, 3):
        raise InvalidOption("data", "n_channels", "1 (grey) or 3 (RGB) for image files", n_channels)

    first_size, first_channels = first_image(source, str(where))
    decoder = Decoder(wanted or first_size, n_channels or first_channels, may_resize=wanted is not None)
    means, stds = _mean_and_std(mean, std, decoder.n_channels)  # checked before the long part
    pixels: Pixels
    if len(source) * decoder.n_channels * decoder.size[0] * decoder.size[1] <= decoded_limit_bytes:
        decoded, n_resized = decode_all(source, decoder, str(where), listener)
        pixels = MemoryPixels(decoded)
    else:
        n_resized = check_all(source, decoder, str(where), listener)
        pixels = EncodedPixels(source, decoder, str(where))
        notes += (f"{where}: too large to keep decoded in memory; images are decoded each time they are needed.",)
    notes += _note_on_resize(where, n_resized, len(source), decoder.size)
    preprocessing = Preprocessing(means, stds, decoder.size, decoder.n_channels, 255.0, RESIZE if n_resized else "")
    return ImageDataset(
        pixels, labels, name=str(where), class_names=class_names, preprocessing=preprocessing, notes=notes
    )


def _from_arrays(
    where: Path,
    images: Tensor,
    labels: Tensor | None,
    wanted: tuple[int, int] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> ImageDataset:
    n_channels = images.shape[1]
    means, stds = _mean_and_std(mean, std, n_channels)
    size = wanted or (images.shape[2], images.shape[3])
    n_resized = len(images) if size != tuple(images.shape[2:]) else 0
    divisor = 255.0 if images.dtype == torch.uint8 else 1.0
    if n_resized:
        images = torch.cat([_cover_and_crop(part, size) for part in images.split(256)])
    preprocessing = Preprocessing(means, stds, size, n_channels, divisor, RESIZE if n_resized else "")
    notes = _note_on_resize(where, n_resized, len(images), size)
    return ImageDataset(MemoryPixels(images), labels, name=str(where), preprocessing=preprocessing, notes=notes)


def _mean_and_std(
    mean: Sequence[float] | None, std: Sequence[float] | None, n_channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return per_channel("mean", mean, n_channels, 0.0), per_channel("std", std, n_channels, 1.0)


def _cover_and_crop(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) -> (N, C, *size): scaled until both sides cover the size, then the centre."""
    height, width = images.shape[2:]
    scale = max(size[0] / height, size[1] / width)
    covering = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    scaled = functional.interpolate(images, covering, mode="bilinear", align_corners=False, antialias=True)
    top, left = (covering[0] - size[0]) // 2, (covering[1] - size[1]) // 2
    return scaled[:, :, top : top + size[0], left : left + size[1]].contiguous()


def _note_on_resize(where: Path, n_resized: int, n: int, size: tuple[int, int]) -> tuple[str, ...]:
    if not n_resized:
        return ()
    return (
        f"{where}: {n_resized} of {n} images had another size than {size[0]}x{size[1]} and are resized ({RESIZE}).",
    )
