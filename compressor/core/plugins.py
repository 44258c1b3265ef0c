"""Finds plug-ins by file name, so that adding one means adding one file.

A plug-in folder is a package. Every module in it whose name does not begin with an underscore is a plug-in, bears the
plug-in's name, and ends with `PLUGIN = TheClass`. Listing names imports nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from typing import Any

from compressor.core.errors import ContractViolation, MissingDependency, UnknownPlugin


@dataclass(frozen=True)
class PluginFolder:
    """A package whose public modules are plug-ins of one kind.

    >>> methods = PluginFolder("compressor.methods", "pruning method")
    >>> "l1" in methods.names()
    True
    """

    package: str
    kind: str

    def names(self) -> list[str]:
        """The file names found, sorted; nothing is imported but the (empty) packages above them."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.submodule_search_locations is None:
            raise ContractViolation(f"{self.package}: must be a package that holds {self.kind}s, but it is not.")
        found = pkgutil.iter_modules(spec.submodule_search_locations)
        return sorted(module.name for module in found if not module.name.startswith("_"))

    def require(self, name: str) -> None:
        """Refuses a name that no file bears; imports nothing.

        Raises:
            UnknownPlugin: there is none; the nearest name is suggested.
        """
        known = self.names()
        if name not in known:
            raise UnknownPlugin(self.kind, name, known)

    def load(self, name: str) -> Any:
        """The plug-in class called `name`.

        Raises:
            UnknownPlugin: no file bears the name.
            MissingDependency: the file exists and a foreign package that it imports does not.
            ContractViolation: the file has no `PLUGIN`.
        """
        self.require(name)
        try:
            module = importlib.import_module(f"{self.package}.{name}")
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if not missing or missing in {"compressor", "exporters"}:
                raise
            raise MissingDependency(f"{self.kind} '{name}'", missing, missing.replace("_", "-")) from error
        if not hasattr(module, "PLUGIN"):
            raise ContractViolation(f"{self.package}.{name}: must end with `PLUGIN = ...`, but it does not.")
        return module.PLUGIN
