"""Where latency is measured: one file per runtime and device, found by file name.

A target is called "onnxruntime:cpu" and its file `onnxruntime_cpu.py`. This module translates between the two and
imports no runtime. What measures is `compressor.profiling`, which gets a target as the string from `factory_of`.
"""

from __future__ import annotations

from typing import Any

from compressor.core.errors import UnknownPlugin
from compressor.core.plugins import PluginFolder

TARGETS = PluginFolder("compressor.targets", "target")


def target_names() -> list[str]:
    """Every target there is, usable here or not: ["onnxruntime:cpu", ...]."""
    return [name.replace("_", ":", 1) for name in TARGETS.names()]


def load_target(name: str) -> Any:
    """The plug-in class called "onnxruntime:cpu".

    Raises:
        UnknownPlugin: there is no such target; the nearest name is suggested.
    """
    return TARGETS.load(_file_of(name))


def factory_of(name: str) -> str:
    """Where a fresh process finds the target: "compressor.targets.onnxruntime_cpu:PLUGIN".

    Raises:
        UnknownPlugin: there is no such target; the nearest name is suggested.
    """
    return f"{TARGETS.package}.{_file_of(name)}:PLUGIN"


def _file_of(name: str) -> str:
    known = target_names()
    if name not in known:
        raise UnknownPlugin(TARGETS.kind, name, known)
    return name.replace(":", "_")
