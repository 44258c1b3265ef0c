"""Imports of runtimes that need care."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any


def openvino() -> Any:
    """The package openvino, imported without reporting its use to its maker over the network.

    It does so through `openvino_telemetry`; where that cannot be imported, it takes a silent stub of its own.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as package

    return package


@cache
def openvino_core() -> Any:
    """This process's only `openvino.Core`, kept to its end.

    The CPU plug-in gives the thread that loads it a stack for signals, and takes its memory back when the last user of
    the plug-in goes. Where that is another thread (any, once the garbage collector does it), the process dies at the
    next signal that Python handles, such as a child's end under a data loader. So the plug-in stays.

    Raises:
        RuntimeError: OpenVINO does not start.
    """
    return openvino().Core()
