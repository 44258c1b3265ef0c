"""The shape of one image of a dataset, without reading the rest."""

from __future__ import annotations

from pathlib import Path

from compressor.data.encoded import EncodedImages, first_image
from compressor.data.folder import read_folder
from compressor.data.npz import read_npz
from compressor.data.parquet import parquet_files, read_parquet


def sample_shape(path: str | Path) -> tuple[int, int, int] | None:
    """(channels, height, width) of the first image; None where `path` is no dataset (`open_dataset` says why).

    Raises:
        DataError: it is one, and its first image cannot be read.
    """
    where = Path(path)
    if not where.exists():
        return None
    if where.suffix == ".npz":
        channels, height, width = read_npz(where, None).images.shape[1:]
        return int(channels), int(height), int(width)
    files = parquet_files(where) if where.is_dir() or where.suffix == ".parquet" else []
    source: EncodedImages
    if files:
        source = read_parquet(where, files, None, None).images
    elif where.is_dir():
        source = read_folder(where).images
    else:
        return None
    (height, width), channels = first_image(source, str(where))
    return channels, height, width
