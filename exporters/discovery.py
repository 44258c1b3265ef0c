"""Finds the formats by file name. Imports neither torch nor a runtime."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass

import exporters.formats
from exporters.errors import InvalidExportOption, MissingRuntime
from exporters.format import Format


@dataclass(frozen=True)
class FormatInfo:
    """A line of `compress formats`."""

    name: str
    suffix: str
    summary: str
    missing: tuple[str, ...]  # packages that are not installed; empty: it can be used

    @property
    def installed(self) -> bool:
        """Whether every package that the format needs is there."""
        return not self.missing


def format_names() -> list[str]:
    """The names that `export` accepts, sorted.

    >>> "onnx" in format_names()
    True
    """
    return sorted(m.name for m in pkgutil.iter_modules(exporters.formats.__path__) if not m.name.startswith("_"))


def format_class(name: str) -> type[Format]:
    """The plug-in called `name`, whether or not its packages are installed.

    Raises:
        InvalidExportOption: no format bears the name.
    """
    known = format_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        raise InvalidExportOption(
            f"export: `formats` must be of {', '.join(known)}, but got '{name}'. {hint}`compress formats` lists them."
        )
    plugin: type[Format] = importlib.import_module(f"exporters.formats.{name}").PLUGIN
    return plugin


def missing_packages(plugin: type[Format]) -> tuple[str, ...]:
    """The packages that the format needs and that are not installed."""
    return tuple(package for package in plugin.requires if importlib.util.find_spec(package) is None)


def require_installed(plugin: type[Format]) -> None:
    """Refuses a format that cannot be written here.

    Raises:
        MissingRuntime: a package is missing; the sentence has the command that installs it.
    """
    if missing := missing_packages(plugin):
        raise MissingRuntime(
            f"export: format '{plugin.name}' needs {', '.join(missing)}, which is not installed. "
            f"Run: pip install {' '.join(missing)}"
        )


def available_formats() -> tuple[FormatInfo, ...]:
    """Every format, sorted by name, with what it lacks."""
    plugins = [format_class(name) for name in format_names()]
    return tuple(FormatInfo(p.name, p.suffix, p.summary, missing_packages(p)) for p in plugins)
