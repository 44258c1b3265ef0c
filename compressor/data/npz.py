"""NumPy's npz: an array of images and, if known, an array of labels. Nothing in it is ever unpickled."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compressor.core.errors import DataError

IMAGE_ARRAYS = ("images", "image", "x", "X", "data")
LABEL_ARRAYS = ("labels", "label", "y", "Y", "targets", "target")
_BARE_ARRAY = b"\x93NUMPY"  # how a .npy file begins
# What the zip reader, the decompressor and NumPy's header parser say of bytes that are not theirs.
_DAMAGED = (zipfile.BadZipFile, zlib.error, tokenize.TokenError, EOFError, OSError, SyntaxError, ValueError)


@dataclass(frozen=True)
class NpzContent:
    """Images as (N, C, H, W), uint8 or float32; labels (N,) int64 or None."""

    images: Tensor
    labels: Tensor | None


def read_npz(path: Path, n_channels: int | None) -> NpzContent:
    """Reads images of shape (N, H, W), (N, H, W, C) or (N, C, H, W); `n_channels` settles which axis is C.

    Raises:
        DataError: damaged, no image array, a shape or type that is no image, pickled objects, labels that do not fit.
    """
    arrays = _load(path)
    image_name = next((name for name in IMAGE_ARRAYS if name in arrays), None)
    if image_name is None:
        found = ", ".join(arrays) or "nothing"
        raise DataError(f"{path}: needs an array named `images` (or x), but holds {found}. Save it under that name.")
    images = _channels_first(path, _pixels(path, image_name, arrays[image_name]), n_channels)
    label_name = next((name for name in LABEL_ARRAYS if name in arrays), None)
    labels = _labels(path, label_name, arrays[label_name]) if label_name else None
    return NpzContent(torch.from_numpy(np.ascontiguousarray(images)), labels)


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays that are wanted, and an empty one for each other name."""
    wanted = {*IMAGE_ARRAYS, *LABEL_ARRAYS}
    arrays = {}
    try:
        with path.open("rb") as file:
            if file.read(len(_BARE_ARRAY)) == _BARE_ARRAY:
                raise DataError(f"{path}: must be an npz archive, but holds one bare array. Save it with numpy.savez.")
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                name = member.removesuffix(".npy")
                arrays[name] = np.empty(0)
                if name in wanted:
                    with archive.open(member) as content:
                        arrays[name] = np.lib.format.read_array(content, allow_pickle=False)
    except _DAMAGED as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path}: holds Python objects, which are not read because that can run code. "
                "Save plain number arrays (one shape for all images)."
            ) from error
        raise DataError(
            f"{path}: cannot be read as npz; it is damaged or something else. Save or copy it again."
        ) from error
    return arrays


def _pixels(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim not in (3, 4) or not array.size:
        raise DataError(
            f"{path}: `{name}` must be images (N, H, W), (N, H, W, C) or (N, C, H, W), but its shape is {array.shape}."
        )
    if array.dtype == np.uint8:
        return array
    if np.issubdtype(array.dtype, np.integer) and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise DataError(f"{path}: `{name}` must hold finite numbers, but some are NaN or infinite. Correct them.")
        return array.astype(np.float32)
    raise DataError(f"{path}: `{name}` must hold 8-bit or floating-point pixels, but holds {array.dtype}. Convert it.")


def _channels_first(path: Path, images: np.ndarray, n_channels: int | None) -> np.ndarray:
    if images.ndim == 3:
        return images[:, None]
    likely = (n_channels,) if n_channels is not None else (1, 3)
    first, last = images.shape[1] in likely, images.shape[3] in likely
    if first == last:
        problem = (
            "both axis 1 and axis 3 may be the channels" if first else "neither axis 1 nor axis 3 is 1 or 3 channels"
        )
        if n_channels is not None and not first:
            problem = f"neither axis 1 nor axis 3 is {n_channels} channels"
        raise DataError(f"{path}: images of shape {images.shape[1:]}: {problem}. Say how many with `n_channels`.")
    return images if first else images.transpose(0, 3, 1, 2)


def _labels(path: Path, name: str, labels: np.ndarray) -> Tensor:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{path}: `{name}` must be one whole number an image, but is {labels.dtype} of shape {labels.shape}."
        )
    return torch.from_numpy(labels.astype(np.int64))
