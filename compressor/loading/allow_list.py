"""Which names a pickle may ask for, and what it may do with them.

By default: layers (nn.Module classes), enumerations and configurations that are really defined in torch.nn,
torchvision, timm or transformers, functions of torch.nn.functional, and a few harmless helpers of Python. Layers are
made without running their constructors. Packages that the user names with `--allow` may be used freely.
"""

from __future__ import annotations

import argparse
import collections
import enum
import functools
import importlib
import inspect
import pathlib
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch._weights_only_unpickler
from torch import nn

from compressor.core.errors import InvalidOption, ModelFileError, RefusedPickle
from compressor.loading.import_path import working_folder_importable
from compressor.loading.pickle_audit import PickleUse

DEFAULT_PREFIXES = ("torch.nn", "torchvision", "timm", "transformers")
_FUNCTION_MODULES = ("torch.nn.functional", "torch._C._nn")
# Constructors in transformers follow strings of their configuration to the hub, so they are never wrapped to be called.
_MAY_BE_WRAPPED = ("torch.nn", "torchvision.ops", "torchvision.models", "timm.layers", "timm.models", "torch._C._nn")
_CONFIGURATIONS = {"PreTrainedConfig", "PretrainedConfig", "GenerationConfig"}
_HELPERS: dict[str, Any] = {
    "functools.partial": functools.partial,
    "collections.defaultdict": collections.defaultdict,
    "argparse.Namespace": argparse.Namespace,
    "pathlib.PurePosixPath": pathlib.PurePosixPath,
    "pathlib.PureWindowsPath": pathlib.PureWindowsPath,
    f"pathlib.{type(pathlib.Path()).__name__}": type(pathlib.Path()),
    **{
        f"builtins.{kind.__name__}": kind
        for kind in (bool, dict, float, frozenset, int, list, range, slice, str, tuple)
    },
}
# torch allows it because it only wraps; its first argument is a class whose own methods run from then on.
_NOT_CALLED = frozenset({"torch._utils._rebuild_wrapper_subclass"})
_MAIN = "__main__."


@dataclass(frozen=True)
class Refusal:
    """A name and why it may not be used."""

    name: str
    reason: str


class AllowList:
    """Turns the names of a pickle into the objects that it may use."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self.prefixes = tuple(_checked_prefix(prefix) for prefix in allow)

    def resolve(self, use: PickleUse, owner: str) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
        """The objects behind the names, as torch.serialization.safe_globals takes them: (object, dotted name).

        Raises:
            RefusedPickle: a name is not allowed, or may not be used in the way that the file uses it.
        """
        builtin = torch._weights_only_unpickler._get_allowed_globals()  # tensors, storages, dtypes, OrderedDict
        found: dict[str, Any] = {}
        refused = [Refusal(what, "a call that hides what is called") for what in sorted(use.hidden)]
        with working_folder_importable(bool(self.prefixes)):
            for path in sorted(use.names - builtin.keys()):
                value, reason = self._find(path)
                if reason:
                    refused.append(Refusal(path, reason))
                else:
                    found[path] = value
        known = {item.name for item in refused}
        for path in sorted(use.called - known):
            if self._bad_call(path, found, builtin):
                refused.append(Refusal(path, "called while loading"))
        for path in sorted(use.wrapped - known):
            if self._bad_wrap(path, found):
                refused.append(Refusal(path, "wrapped to be called later"))
        if refused:
            raise RefusedPickle(_sentence(owner, refused))
        return [(value, path) for path, value in found.items()]

    def allows(self, value: object) -> bool:
        """Whether `value` (a class or a function) is defined in a package that the user named."""
        module, name = getattr(value, "__module__", None) or "", getattr(value, "__qualname__", "")
        return any(_covers(prefix, f"{module}.{name}") for prefix in self.prefixes)

    def _find(self, path: str) -> tuple[Any, str]:
        """The object of this name, or the reason why not."""
        if path in _HELPERS:
            return _HELPERS[path], ""
        if path.startswith(_MAIN):
            return self._find_in_script(path)
        mine = any(_covers(prefix, path) for prefix in self.prefixes)
        if not mine and not any(_covers(prefix, path) for prefix in (*DEFAULT_PREFIXES, *_FUNCTION_MODULES)):
            return None, "not on the allow-list"
        module, _, name = path.rpartition(".")
        value = _defined(module, name)
        if value is None:
            return None, "not found, or not defined there"
        if mine or _is_harmless(value, module):
            return value, ""
        return None, "no layer, enumeration or configuration"

    def _find_in_script(self, path: str) -> tuple[Any, str]:
        """A class of the script that saved the file, looked up in the modules that the user names."""
        for prefix in self.prefixes:
            value = _defined(prefix, path.removeprefix(_MAIN))
            if value is not None:
                return value, ""
        return None, "defined in the script that saved the file"

    def _bad_call(self, path: str, found: dict[str, Any], builtin: dict[str, Any]) -> bool:
        if path in builtin or path in _HELPERS:
            return path in _NOT_CALLED
        value = found[path]
        return not (self.allows(value) or (isinstance(value, type) and issubclass(value, enum.Enum)))

    def _bad_wrap(self, path: str, found: dict[str, Any]) -> bool:
        value = found.get(path)
        return not (self.allows(value) or any(_covers(prefix, path) for prefix in _MAY_BE_WRAPPED))


def _covers(prefix: str, path: str) -> bool:
    return path == prefix or path.startswith(prefix + ".")


def _checked_prefix(prefix: str) -> str:
    cleaned = prefix.strip().removesuffix("*").rstrip(".")
    parts = cleaned.split(".")
    if not all(part.isidentifier() for part in parts):
        raise InvalidOption("loading", "--allow", "the name of a package or module (my_pkg.)", prefix)
    if parts[0] in sys.stdlib_module_names or cleaned == "torch":
        next_step = "If you trust the file entirely, read it with --trust."
        raise InvalidOption(
            "loading", "--allow", "a package that defines layers, not one that can run anything", prefix, next_step
        )
    return cleaned


def _defined(module: str, name: str) -> Any:
    """The class or function `name` that `module` itself defines; None if there is none.

    Names that the module merely imported do not count, so `torchvision.utils.os.system` leads nowhere.

    Raises:
        ModelFileError: the module exists, and importing it fails.
    """
    if not name.isidentifier() or module.rpartition(".")[2] == "__main__":
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # what a third-party package says while it is imported is not about the file
            value = vars(importlib.import_module(module)).get(name)
    except ImportError:
        return None
    except Exception as error:  # the package is somebody else's code
        raise ModelFileError(
            f"loading: importing '{module}' raised {type(error).__name__}: {error}. Mend it first."
        ) from error
    if not inspect.isclass(value) and not inspect.isroutine(value):
        return None
    return value if value.__module__ == module and value.__qualname__ == name else None


def _is_harmless(value: Any, module: str) -> bool:
    if not isinstance(value, type):
        return module in _FUNCTION_MODULES
    if issubclass(value, (torch.fx.GraphModule, torch.jit.ScriptModule)):  # they compile source text that they carry
        return False
    is_configuration = any(
        base.__name__ in _CONFIGURATIONS and _covers("transformers", base.__module__) for base in value.__mro__
    )
    return issubclass(value, (nn.Module, enum.Enum)) or is_configuration


def _sentence(owner: str, refused: Sequence[Refusal]) -> str:
    shown = "; ".join(f"{item.name} ({item.reason})" for item in refused[:8])
    more = f"; and {len(refused) - 8} more" if len(refused) > 8 else ""
    start = f"{owner}: the pickle asks for names that are not allowed: {shown}{more}. Nothing of it was run."
    if any(item.name.startswith(_MAIN) for item in refused):
        return (
            f"{start} The class was defined in the script that saved the model, so only that script knows it. Save "
            "model.state_dict() there and read it with --arch path/to/model.py:Net, or name the module that defines "
            "the class (--allow my_module.)."
        )
    package = refused[0].name.split(".")[0]
    example = (
        package
        if package.isidentifier() and package not in sys.stdlib_module_names and package != "torch"
        else "my_pkg"
    )
    return (
        f"{start} If you know the code, allow its package (--allow {example}.); if you trust the whole file, read it "
        "with --trust, which runs whatever it asks for. A state dict with --arch needs neither."
    )
