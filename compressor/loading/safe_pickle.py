"""Reads what torch.save wrote, without running code from it."""

from __future__ import annotations

import io
import pickle
import warnings
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from compressor.core.errors import ModelFileError, RefusedPickle
from compressor.loading.allow_list import AllowList
from compressor.loading.import_path import working_folder_importable
from compressor.loading.pickle_audit import PickleUse, UnreadablePickle, audit
from compressor.loading.recognise import FileKind

_N_LEGACY_PICKLES = 5  # magic number, protocol, system facts, the object, the names of its storages


def read_pickle(path: Path, kind: FileKind, allow: AllowList) -> Any:
    """The object in the file: a module, a state dict, or a checkpoint that holds one.

    Raises:
        RefusedPickle: it asks for names that `allow` does not cover, or the module carries callables of its own.
        ModelFileError: damaged, or written with another pickle protocol.
    """
    with path.open("rb") as file:
        try:
            use = _audit_file(file, kind)
        except UnreadablePickle as error:
            raise ModelFileError(
                f"{path}: its pickle cannot be followed ({error}). It is damaged or was not written by torch.save with "
                "default options. Save it again; if you trust the file, --trust reads any pickle."
            ) from error
        except RuntimeError as error:
            raise _damaged(path, error) from error
        allowed = allow.resolve(use, str(path))
        if use.sourced:
            raise RefusedPickle(
                f"{path}: a whole module in the format before torch 1.6, which torch cannot read without running code. "
                "Open it where it was made and save it with a newer torch, or save a state dict and use --arch; if you "
                "trust the file, read it with --trust."
            )
        file.seek(0)
        try:
            # The warnings are torch's about formats that it will drop one day.
            with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
                warnings.simplefilter("ignore")
                value = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise RefusedPickle(
                f"{path}: refused while it was read: {_first_line(error)}. Nothing of it was run."
            ) from error
        except Exception as error:  # damaged bytes make the reader raise nearly anything, even AssertionError
            raise _damaged(path, error) from error
    _check_modules(path, value, allow)
    return value


def read_trusted_pickle(path: Path) -> Any:
    """Reads with Python's own unpickler: the file may run anything. Only after the user said `--trust`.

    Raises:
        ModelFileError: the code that it asks for cannot be imported, or raised.
    """
    with working_folder_importable(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(path, map_location="cpu", weights_only=False)
        except (AttributeError, ImportError) as error:
            hint = " Run the command in the folder that holds the code, or save a state dict and use --arch."
            raise ModelFileError(
                f"{path}: the code that it asks for is not there ({_first_line(error)}).{hint}"
            ) from error
        except Exception as error:  # the file runs code of its own, which may raise anything
            raise _damaged(path, error) from error


def _audit_file(file: IO[bytes], kind: FileKind) -> PickleUse:
    use = PickleUse()
    if kind is FileKind.TORCH_ZIP:
        # torch's own zip reader: another one might pick another record out of a file made to deceive.
        record = torch._C.PyTorchFileReader(file).get_record("data.pkl")
        audit(io.BytesIO(record), use)
    else:
        for _ in range(_N_LEGACY_PICKLES):
            audit(file, use)
    return use


def _check_modules(path: Path, value: Any, allow: AllowList) -> None:
    """Layers must be plain: no hooks, no methods replaced by values from the file, no strangers among the children.

    Raises:
        RefusedPickle: one is not.
    """
    for root in _modules_in(value):
        _check_tree(path, root)
        for name, module in root.named_modules():
            if allow.allows(type(module)):
                continue
            where = f"{type(module).__name__} '{name}'" if name else type(module).__name__
            for key, attribute in vars(module).items():
                if (
                    key.endswith("_hooks")
                    and isinstance(attribute, dict)
                    and any(not allow.allows(hook) for hook in attribute.values())
                ):
                    raise _refused_attribute(path, where, f"hooks ({key})")
                if callable(attribute) and callable(getattr(type(module), key, None)):
                    raise _refused_attribute(path, where, f"its own '{key}' in place of the class's")
        for name, parameter in root.named_parameters():
            if getattr(parameter, "_backward_hooks", None):
                raise _refused_attribute(path, f"the parameter '{name}'", "hooks")


def _check_tree(path: Path, root: nn.Module) -> None:
    """Every layer has the tables that nn.Module makes, with layers and tensors in them."""
    stack, seen = [root], {id(root)}
    while stack:
        module = stack.pop()
        for table, kind in (("_modules", nn.Module), ("_parameters", Tensor), ("_buffers", Tensor)):
            entries = vars(module).get(table)
            if not isinstance(entries, dict) or not all(isinstance(key, str) for key in [*vars(module), *entries]):
                raise ModelFileError(f"{path}: a {type(module).__name__} in it is not complete. Save the model again.")
            for key, entry in entries.items():
                if entry is not None and not isinstance(entry, kind):
                    what = f"'{key}' among its {table.strip('_')}, which is a {type(entry).__name__}"
                    raise _refused_attribute(path, type(module).__name__, what)
                if isinstance(entry, nn.Module) and id(entry) not in seen:
                    seen.add(id(entry))
                    stack.append(entry)


def _modules_in(value: Any) -> list[nn.Module]:
    if isinstance(value, nn.Module):
        return [value]
    return [item for item in value.values() if isinstance(item, nn.Module)] if isinstance(value, dict) else []


def _refused_attribute(path: Path, where: str, what: str) -> RefusedPickle:
    return RefusedPickle(
        f"{path}: {where} carries {what}, which would run when the model runs. Save the model without them, save "
        "a state dict and use --arch, or read the file with --trust."
    )


def _damaged(path: Path, error: BaseException) -> ModelFileError:
    return ModelFileError(
        f"{path}: cannot be read ({_first_line(error)}). It is damaged or cut short; copy it or save it again."
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
