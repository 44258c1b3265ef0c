"""Targets by the names that people type: onnxruntime:cpu is the file onnxruntime_cpu.py."""

from __future__ import annotations

from typing import Any

from compressor.core.errors import UnknownPlugin
from compressor.core.plugins import PluginFolder

TARGETS = PluginFolder("compressor.targets", "target")


def target_names() -> list[str]:
    """All that there are, whether they can be used here or not."""
    return [module.replace("_", ":", 1) for module in TARGETS.names()]


def target_factory(name: str) -> str:
    """Where the plug-in of target `name` is found, for the processes that time.

    Raises:
        UnknownPlugin: there is none; the nearest is suggested.
    """
    if name not in target_names():
        raise UnknownPlugin("target", name, target_names())
    return f"{TARGETS.package}.{name.replace(':', '_')}:PLUGIN"


def load_target(name: str) -> Any:
    """The target's plug-in, made.

    Raises:
        UnknownPlugin: there is none; the nearest is suggested.
    """
    target_factory(name)
    return TARGETS.load(name.replace(":", "_"))()
