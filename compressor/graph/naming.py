"""Layers by the patterns that people type."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

from torch import nn

from compressor.core.errors import InvalidOption


def layers_matching(modules: Mapping[str, nn.Module], patterns: Sequence[str]) -> dict[str, str]:
    """{layer: the pattern that it matches}: by its whole name, or as part of a module that is named.

    Raises:
        InvalidOption: a pattern matches no layer.

    >>> modules = dict(nn.Sequential(nn.Sequential(nn.ReLU()), nn.ReLU()).named_modules())
    >>> layers_matching(modules, ["0"]), layers_matching(modules, ["?"])
    ({'0': '0', '0.0': '0'}, {'0': '?', '1': '?'})
    """
    found: dict[str, str] = {}
    for pattern in patterns:
        hits = [
            name for name in modules if name and (fnmatch.fnmatchcase(name, pattern) or name.startswith(f"{pattern}."))
        ]
        if not hits:
            some = ", ".join([name for name in modules if name][:5])
            raise InvalidOption(
                "inspect", "--ignore", "a pattern that matches a layer", pattern, f"Layers are named {some}, ..."
            )
        found.update(dict.fromkeys(hits, pattern))
    return found
