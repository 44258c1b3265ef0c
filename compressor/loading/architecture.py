"""Builds the module that `--arch` names, without any weights and without the network."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import shlex
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from compressor.core.errors import InvalidOption, MissingDependency
from compressor.loading.import_path import working_folder_importable

_FORMS = "torchvision:NAME, timm:NAME, transformers:FOLDER, path/to/model.py:FUNCTION or pkg.module:FUNCTION"


def parse_arch_args(texts: Sequence[str]) -> dict[str, object]:
    """`["num_classes=10,act=relu"]` to `{"num_classes": 10, "act": "relu"}`: Python literals, and strings otherwise.

    Raises:
        InvalidOption: a piece is not NAME=VALUE, or a name comes twice.
    """
    values: dict[str, object] = {}
    for text in texts:
        for name, value in _pieces(text):
            if name in values:
                raise InvalidOption("loading", "--arch-args", "given once per name", text)
            values[name] = value
    return values


def _pieces(text: str) -> list[tuple[str, object]]:
    source = f"f({text})"
    try:
        call = ast.parse(source, mode="eval").body
    except SyntaxError:
        call = None
    if isinstance(call, ast.Call) and not call.args and call.keywords and all(item.arg for item in call.keywords):
        return [(str(item.arg), _literal(ast.get_source_segment(source, item.value) or "")) for item in call.keywords]
    name, separator, value = text.partition("=")
    if not separator or not name.strip().isidentifier():
        raise InvalidOption("loading", "--arch-args", "NAME=VALUE, as in num_classes=10", text)
    return [(name.strip(), _literal(value.strip()))]


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def build(arch: str, arch_args: Mapping[str, object]) -> nn.Module:
    """The module that `arch` names, called with `arch_args`, with random weights.

    Raises:
        InvalidOption: no such architecture, file or function, or it does not accept the arguments.
        MissingDependency: torchvision, timm or transformers is not installed.
    """
    source, separator, name = arch.rpartition(":")
    if not separator or not source or not name:
        raise InvalidOption("loading", "--arch", _FORMS, arch)
    if source == "torchvision":
        factory = _torchvision(arch, name)
    elif source == "timm":
        factory = _timm(arch, name)
    elif source == "transformers" or arch.startswith("transformers:"):
        factory = _transformers(arch, arch.partition(":")[2])
    elif source.endswith(".py"):
        return _build_own(arch, arch_args, Path(source), name)
    else:
        return _build_own(arch, arch_args, None, name)
    return _call(factory, arch, arch_args)


def rebuild_note(arch: str, arch_args: Mapping[str, object]) -> str:
    """What to write on the command line to build it again: `--arch torchvision:resnet18 --arch-args num_classes=10`."""
    options = "".join(f" --arch-args {shlex.quote(f'{name}={value}')}" for name, value in arch_args.items())
    return f"--arch {shlex.quote(arch)}{options}"


def _call(factory: Callable[..., Any], arch: str, arch_args: Mapping[str, object]) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # constructors' own notices, which say nothing about the file
            module = factory(**arch_args)
    except (Exception, SystemExit) as error:  # the constructor is somebody else's code
        shown = " ".join(f"{name}={value!r}" for name, value in arch_args.items()) or "no arguments"
        text = f"It raised {type(error).__name__}: {str(error).strip()[:200]}".rstrip(".")
        raise InvalidOption(
            "loading", "--arch", f"something that can be called with {shown}", arch, f"{text}. See --arch-args."
        ) from error
    if not isinstance(module, nn.Module):
        kind = type(module).__name__
        raise InvalidOption(
            "loading", "--arch", "a function or class that gives a torch.nn.Module", arch, f"It gave a {kind}."
        )
    return module


def _package(arch: str, name: str, extra: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependency(f"--arch {arch}", name, f"'compressor[{extra}]'") from error


def _unknown(arch: str, package: str, name: str, known: Sequence[str]) -> InvalidOption:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"Did you mean {' or '.join(f'{package}:{item}' for item in near)}?" if near else ""
    return InvalidOption("loading", "--arch", f"one of {package}'s {len(known)} models", arch, hint)


def _torchvision(arch: str, name: str) -> Callable[..., Any]:
    models = _package(arch, "torchvision", "vision").models
    known = models.list_models()
    if name not in known:
        raise _unknown(arch, "torchvision", name, known)
    builder = models.get_model_builder(name)
    fixed: dict[str, object] = {"weights": None}
    if "weights_backbone" in inspect.signature(builder).parameters:
        fixed["weights_backbone"] = None
    if name in ("inception_v3", "googlenet"):
        fixed["init_weights"] = False  # slow, and the weights are replaced
    return lambda **options: builder(**{**fixed, **options, "weights": None})


def _timm(arch: str, name: str) -> Callable[..., Any]:
    timm = _package(arch, "timm", "vision")
    base = name.partition(".")[0]  # "resnet50.a1_in1k" names the architecture and weights of it
    if not timm.is_model(base):
        raise _unknown(arch, "timm", base, timm.list_models())
    return lambda **options: timm.create_model(name, **{**options, "pretrained": False})


def _transformers(arch: str, folder: str) -> Callable[..., Any]:
    if not (Path(folder) / "config.json").is_file():
        raise InvalidOption("loading", "--arch", "transformers:FOLDER where FOLDER holds a config.json", arch)
    transformers = _package(arch, "transformers", "transformers")

    def make(**options: object) -> Any:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **options
        )
        kinds = [getattr(transformers, name, None) for name in getattr(config, "architectures", None) or ()]
        return kinds[0](config) if kinds and kinds[0] else transformers.AutoModel.from_config(config)

    return make


def _build_own(arch: str, arch_args: Mapping[str, object], file: Path | None, name: str) -> nn.Module:
    if file is not None and not file.is_file():
        raise InvalidOption("loading", "--arch", "FILE.py:FUNCTION of a file that exists", arch)
    folder = file.parent if file is not None else None
    with working_folder_importable(), working_folder_importable(folder=folder):
        try:
            module = _import_file(file) if file is not None else importlib.import_module(arch.rpartition(":")[0])
        except (Exception, SystemExit) as error:  # the user's code, which may do anything while it is imported
            raise InvalidOption(
                "loading", "--arch", _FORMS, arch, f"Importing it raised {type(error).__name__}: {error}."
            ) from error
        factory = getattr(module, name, None)
        if not callable(factory):
            own = [
                key
                for key, value in vars(module).items()
                if callable(value) and getattr(value, "__module__", "") == module.__name__
            ]
            hint = f"It defines: {', '.join(own[:8])}." if own else ""
            near = difflib.get_close_matches(name, own, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else hint
            raise InvalidOption("loading", "--arch", "the name of a function or class in that module", arch, hint)
        return _call(factory, arch, arch_args)


def _import_file(file: Path) -> Any:
    """Imports a file under its own name, so that what it defines can be found again."""
    path = file.resolve()
    name = path.stem
    loaded = sys.modules.get(name)
    if loaded is not None:
        if getattr(loaded, "__file__", None) == str(path):
            return loaded
        name = f"arch_{name}"  # another module has the name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
