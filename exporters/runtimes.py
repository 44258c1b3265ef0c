"""Imports of runtimes that need care."""

from __future__ import annotations

import sys
from typing import Any


def openvino() -> Any:
    """The package openvino, imported without reporting its use to its maker over the network.

    It does so through `openvino_telemetry`; where that cannot be imported, it takes a silent stub of its own.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as package

    return package
