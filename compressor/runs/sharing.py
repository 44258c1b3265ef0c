"""Reports are shared, and absolute paths tell the names of users and projects: they are cut to file names."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from compressor.core.options import RunOptions

T = TypeVar("T")


def without_folders(value: T, options: RunOptions) -> T:
    """`value` (texts, tuples, dictionaries and dataclasses of them), with this run's absolute paths cut to their names.

    Relative paths stay as they were typed; recipe.toml has all of them whole.
    """
    arch_files = [arch.rpartition(":")[0] for arch in (options.arch, options.control, options.control_arch)]
    paths = (options.model, options.data, options.val, options.output, options.control, *arch_files)
    typed = {path for path in paths if path}
    known = {path for path in typed if Path(path).is_absolute()}
    known |= {str(Path(path).absolute()) for path in (*typed, str(options.output_folder))}
    longest_first = sorted(known, key=len, reverse=True)
    return _cut(value, {path: Path(path).name for path in longest_first if Path(path).name})


def _cut(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        for path, name in names.items():
            value = value.replace(path, name)
        return value
    if isinstance(value, (tuple, list)):
        return type(value)(_cut(item, names) for item in value)
    if isinstance(value, dict):
        return {key: _cut(item, names) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cut = {field.name: _cut(getattr(value, field.name), names) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **cut)
    return value
