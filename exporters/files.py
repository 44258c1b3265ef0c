"""Files on disk as values."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from exporters.types import ExportedFile


def sha256_of(path: Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def describe_file(
    path: Path,
    format_name: str,
    input_names: Sequence[str],
    output_names: Sequence[str] = (),
    *,
    dynamic_batch: bool = True,
    companions: Sequence[Path] = (),
    details: dict[str, str] | None = None,
) -> ExportedFile:
    """The value for a file that exists; also for one that an earlier run wrote (see `reopen`).

    An empty `output_names` means that they are not known and need not be compared.
    """
    return ExportedFile(
        format=format_name,
        path=path,
        input_names=tuple(input_names),
        output_names=tuple(output_names),
        dynamic_batch=dynamic_batch,
        n_bytes=sum(file.stat().st_size for file in (path, *companions)),
        sha256=sha256_of(path),
        companions=tuple(companions),
        details=dict(details or {}),
    )


def reopen(path: Path, format_name: str, input_names: Sequence[str], details: dict[str, str]) -> ExportedFile:
    """An earlier run's file, from what its report keeps (`details` as `export` gave them), to verify it again.

    Raises:
        OSError: the file or one of its companions is missing.
    """
    return describe_file(
        path,
        format_name,
        input_names,
        _listed(details, "outputs"),
        dynamic_batch=details.get("batch", "dynamic") == "dynamic",
        companions=[path.with_name(name) for name in _listed(details, "companions")],
        details=details,
    )


def _listed(details: dict[str, str], key: str) -> list[str]:
    return [name for name in details.get(key, "").split(", ") if name]
