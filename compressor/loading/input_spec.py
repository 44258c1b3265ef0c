"""Reads `--input`: `1x3x32x32`, `image=1x3x224x224`, `input_ids=1x128:int64`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from compressor.core.errors import InvalidOption

_ALLOWED = "AXIS x AXIS x ... with the batch first, as in 1x3x224x224, image=1x3x224x224 or input_ids=1x128:int64"
_DTYPES = {
    "float32": torch.float32,
    "int64": torch.int64,
    "int32": torch.int32,
    "bool": torch.bool,
    "uint8": torch.uint8,
}
_FORM = re.compile(r"(?:(?P<name>[^=:]*)=)?(?P<shape>[^=:]*)(?::(?P<dtype>[^=:]*))?")


@dataclass(frozen=True)
class InputSpec:
    """One input: its shape with the batch on axis 0, its kind of numbers, its name where the user gave one."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    name: str = ""

    def __str__(self) -> str:
        kind = "" if self.dtype is torch.float32 else f":{str(self.dtype).removeprefix('torch.')}"
        return f"{self.name}{'=' if self.name else ''}{'x'.join(map(str, self.shape))}{kind}"


def parse_inputs(texts: Sequence[str]) -> tuple[InputSpec, ...]:
    """Parses all `--input` options of one command.

    Raises:
        InvalidOption: one is not of that form, or only some bear names, or two bear the same.
    """
    specs = tuple(parse_input(text) for text in texts)
    names = [spec.name for spec in specs if spec.name]
    if names and len(names) < len(specs):
        raise InvalidOption("loading", "--input", "given with a name for each input or for none", list(texts))
    if len(set(names)) < len(names):
        raise InvalidOption("loading", "--input", "given once per name", list(texts))
    return specs


def parse_input(text: str) -> InputSpec:
    """Parses one `--input`.

    >>> str(parse_input("input_ids=1x128:int64"))
    'input_ids=1x128:int64'

    Raises:
        InvalidOption: not of that form.
    """
    form = _FORM.fullmatch(text.strip())
    if form is None:
        raise InvalidOption("loading", "--input", _ALLOWED, text)
    name, dtype = form["name"], form["dtype"]
    if name is not None and not name.strip().isidentifier():
        raise InvalidOption("loading", "--input", _ALLOWED, text, f"'{name}' cannot be the name of an argument.")
    if dtype is not None and dtype.strip() not in _DTYPES:
        raise InvalidOption("loading", "--input", _ALLOWED, text, f"After ':' there may be {', '.join(_DTYPES)}.")
    axes = [axis.strip() for axis in re.split(r"[xX×,]", form["shape"])]
    if not all(axis.isdecimal() and axis.isascii() and int(axis) > 0 for axis in axes):
        raise InvalidOption("loading", "--input", _ALLOWED, text, "Every axis must be a positive whole number.")
    return InputSpec(
        tuple(map(int, axes)), _DTYPES[dtype.strip()] if dtype else torch.float32, name.strip() if name else ""
    )
