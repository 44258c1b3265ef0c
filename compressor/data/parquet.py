"""Parquet in the layout of Hugging Face datasets: images as a struct of bytes and path, or as bytes; integer labels."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from compressor.core.errors import DataError

IMAGE_COLUMNS = ("image", "img", "images")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class")
_SHARD = re.compile(r"-\d+-of-\d+$")  # train-00000-of-00002


@dataclass(frozen=True)
class ParquetImages:
    """Encoded images held in memory as they are in the file."""

    content: pa.ChunkedArray  # binary
    paths: pa.ChunkedArray | None  # string; where the bytes are null
    folder: Path  # what relative paths start from

    def __len__(self) -> int:
        return len(self.content)

    def read(self, index: int) -> bytes | Path:
        """The bytes, or the path where the file has only that."""
        content: bytes | None = self.content[index].as_py()
        if content is not None:
            return content
        path = self.paths[index].as_py() if self.paths is not None else None
        if path is None:
            raise ValueError("has no bytes")
        return self.folder / path

    def name(self, index: int) -> str:
        """The row, and the path if the file knows it."""
        path = self.paths[index].as_py() if self.paths is not None else None
        return f"row {index}" + (f" {path}" if path else "")


@dataclass(frozen=True)
class ParquetContent:
    """What the files hold; `labels` is None where there is no label column, or only -1 in it."""

    images: ParquetImages
    labels: np.ndarray | None  # int64
    class_names: tuple[str, ...]


def parquet_files(path: Path) -> list[Path]:
    """The file itself, or the parquet files of a folder, sorted.

    Raises:
        DataError: the folder holds several splits, which are not one dataset.
    """
    if path.is_file():
        return [path]
    files = sorted(file for file in path.glob("*.parquet") if not file.name.startswith("."))
    splits = sorted({_SHARD.sub("", file.stem) for file in files})
    if len(splits) > 1 and any(
        re.split(r"[-_.]", split)[0] in ("train", "test", "validation", "val") for split in splits
    ):
        raise DataError(f"{path}: holds several splits ({', '.join(splits)}). Give one of them, such as {files[0]}.")
    return files


def read_parquet(path: Path, files: list[Path], image_column: str | None, label_column: str | None) -> ParquetContent:
    """Reads the image and label columns of one split; `path` is what the user gave.

    Raises:
        DataError: a file is damaged, a column is missing or of another type, the files differ in their columns.
    """
    schemas = [_read(file, pq.read_schema) for file in files]
    schema = schemas[0]
    for file, other in zip(files, schemas, strict=True):
        if other.names != schema.names or other.types != schema.types:
            raise DataError(
                f"{path}: its files must have the same columns, but {file.name} has others. Give one split."
            )
    image = _image_column(path, schema, image_column)
    label = _label_column(path, schema, label_column)
    columns = [image] + ([label] if label else [])
    table = pa.concat_tables([_read(file, lambda f: pq.read_table(f, columns=columns)) for file in files])
    if not len(table):
        raise DataError(f"{path}: must hold images, but it has no rows. Give another file.")
    column = table[image]
    paths = None
    if pa.types.is_struct(column.type):
        names = {column.type.field(i).name for i in range(column.type.num_fields)}
        paths = pa.chunked_array([chunk.field("path") for chunk in column.chunks]) if "path" in names else None
        column = pa.chunked_array([chunk.field("bytes") for chunk in column.chunks])
    folder = path if path.is_dir() else path.parent
    labels = _labels(path, label, table[label]) if label else None
    return ParquetContent(ParquetImages(column, paths, folder), labels, _class_names(schema, label))


def _read(file: Path, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file}: cannot be read as parquet; it is damaged, cut short or something else. Copy or download it again."
        ) from error


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        names = {kind.field(i).name for i in range(kind.num_fields)}
        return "bytes" in names
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _image_column(path: Path, schema: pa.Schema, wanted: str | None) -> str:
    fitting = [name for name in schema.names if _holds_images(schema.field(name).type)]
    if wanted is not None:
        if wanted in fitting:
            return wanted
        raise DataError(
            f"{path}: `image_column` must be a column of image bytes, but got '{wanted}'. {_columns(schema)}"
        )
    named = [name for name in IMAGE_COLUMNS if name in fitting]
    if named or len(fitting) == 1:
        return named[0] if named else fitting[0]
    raise DataError(
        f"{path}: needs a column `image` with the bytes of image files, but has none. {_columns(schema)} "
        "Rename the right one, or name it with `image_column`."
    )


def _label_column(path: Path, schema: pa.Schema, wanted: str | None) -> str | None:
    if wanted is not None and wanted not in schema.names:
        raise DataError(f"{path}: `label_column` must be one of its columns, but got '{wanted}'. {_columns(schema)}")
    label = wanted or next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if label is not None and not pa.types.is_integer(schema.field(label).type):
        raise DataError(f"{path}: column '{label}' must hold whole numbers, but holds {schema.field(label).type}.")
    return label


def _labels(path: Path, name: str, column: pa.ChunkedArray) -> np.ndarray | None:
    if column.null_count:
        raise DataError(f"{path}: column '{name}' must hold a label in each row, but {column.null_count} are empty.")
    labels = column.to_numpy().astype(np.int64)
    return None if (labels == -1).all() else labels  # -1 throughout: how published test sets hide their labels


def _class_names(schema: pa.Schema, label: str | None) -> tuple[str, ...]:
    """From the `huggingface` key of the schema's metadata; empty where it says nothing."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None or label is None:
        return ()
    try:
        names = json.loads(text)["info"]["features"][label].get("names", ())
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def _columns(schema: pa.Schema) -> str:
    return f"Its columns are: {', '.join(schema.names)}."
