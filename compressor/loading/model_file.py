"""From a model file to a module that is ready to be cut: what the command line and the Python interface call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from compressor.core.errors import InvalidOption, ModelFileError
from compressor.core.files import sha256_of
from compressor.loading.allow_list import AllowList
from compressor.loading.architecture import build, parse_arch_args, rebuild_note
from compressor.loading.describe import describe_tensors, guess_architecture
from compressor.loading.example_inputs import example_inputs
from compressor.loading.infer_inputs import preprocessing_of
from compressor.loading.programs.load import load_program
from compressor.loading.recognise import FileKind, recognise, refuse_damaged_records
from compressor.loading.safe_pickle import read_pickle, read_trusted_pickle
from compressor.loading.state_dict import find_weights, put_into
from exporters.signature import ExampleInputs

Note = Callable[[str], None]
_PROGRAMS = (FileKind.ONNX, FileKind.TORCHSCRIPT, FileKind.EXPORTED_PROGRAM)


@dataclass(frozen=True)
class LoadedModel:
    """A module in eval mode on the CPU with float32 weights, and what is known of it."""

    module: nn.Module
    inputs: ExampleInputs  # with which the module was run once
    inputs_from: str  # where their shapes come from: "--input", "timm's configuration of the model", ...
    source_sha256: str
    description: str  # what is in the file
    rebuild: str = ""  # the options that build the module again; empty for a whole module
    preprocessing: Mapping[str, object] = field(default_factory=dict)  # mean, std, size, where the model records them

    def __str__(self) -> str:
        pairs = zip(self.inputs.names, self.inputs.tensors, strict=True)
        shapes = ", ".join(f"{name} {'x'.join(map(str, tensor.shape))}" for name, tensor in pairs)
        return f"{self.description}; input {shapes} (from {self.inputs_from})"


def load_model(
    path: Path | str,
    *,
    arch: str | None = None,
    arch_args: Sequence[str] | Mapping[str, object] | None = None,
    allow: Sequence[str] = (),
    trust: bool = False,
    inputs: Sequence[str] = (),
    data_sample_shape: Sequence[int] | None = None,
    note: Note = lambda sentence: None,
) -> LoadedModel:
    """Reads a module, a program, or a state dict into the architecture `arch`. Runs no code from it unless `trust`.

    Args:
        path: what torch.save wrote (module, state dict or checkpoint), .safetensors, or a program with its weights
            (torch.export, TorchScript, ONNX), which becomes a module that computes the same.
        arch: "torchvision:NAME", "timm:NAME", "transformers:FOLDER", "model.py:FUNCTION" or "pkg.module:FUNCTION".
        arch_args: what it is called with, as texts ("num_classes=10") or as values.
        allow: packages whose classes a pickle may use, beyond torch.nn, torchvision, timm and transformers.
        trust: read the pickle without protection.
        inputs: shapes as on the command line ("1x3x32x32"); inferred where empty.
        data_sample_shape: shape of one sample of the data, without the batch axis.
        note: receives sentences that people should read.

    Raises:
        InvalidOption: no such file, wrong `arch` or `inputs`, or a state dict without `arch`.
        MissingDependency: the package of `arch` is not installed.
        RefusedPickle: the pickle asks for code that is not allowed.
        WeightsMismatch: the weights do not fit `arch`.
        ModelFileError: it is no model file, it is damaged, or its weights are not numbers.
        UnsupportedModel: an operator of a program has no counterpart in PyTorch here.
    """
    path = Path(path)
    options = dict(arch_args) if isinstance(arch_args, Mapping) else parse_arch_args(arch_args or ())
    if options and arch is None:
        raise InvalidOption("loading", "--arch-args", "given together with --arch", sorted(options))
    kind = recognise(path)
    if kind in _PROGRAMS:
        return _load_program(path, kind, arch, inputs, data_sample_shape, note)
    found, where = _read(path, kind, AllowList(allow), trust)
    module, description, rebuild = _module_of(found, path, arch, options, note)
    if where:
        description += f", under the key '{where}'"
        note(f"{path}: used what is under the key '{where}'.")
    module = _ready(module, path, note)
    made, inputs_from = example_inputs(module, inputs, data_sample_shape)
    return LoadedModel(module, made, inputs_from, sha256_of(path), description, rebuild, preprocessing_of(module))


def _load_program(
    path: Path,
    kind: FileKind,
    arch: str | None,
    inputs: Sequence[str],
    data_sample_shape: Sequence[int] | None,
    note: Note,
) -> LoadedModel:
    if arch is not None:
        note(f"{path} holds a whole program, so --arch {arch} was not needed and not used.")
    if kind is not FileKind.ONNX:
        refuse_damaged_records(path)
    program = load_program(path, kind, inputs=inputs, data_sample_shape=data_sample_shape, note=note)
    module = _ready(program.module, path, note)
    return LoadedModel(module, program.inputs, program.inputs_from, sha256_of(path), program.description)


def _read(path: Path, kind: FileKind, allow: AllowList, trust: bool) -> tuple[nn.Module | dict[str, Tensor], str]:
    if kind is FileKind.SAFETENSORS:
        try:
            value: Any = safetensors.torch.load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelFileError(
                f"{path}: a safetensors file that is damaged or cut short ({error}). Copy it or save it again."
            ) from error
    else:
        if kind is FileKind.TORCH_ZIP:
            refuse_damaged_records(path)
        value = read_trusted_pickle(path) if trust else read_pickle(path, kind, allow)
    return find_weights(value, path)


def _module_of(
    found: nn.Module | dict[str, Tensor], path: Path, arch: str | None, options: Mapping[str, object], note: Note
) -> tuple[nn.Module, str, str]:
    """The module, what the file held, and how to build it again."""
    if isinstance(found, nn.Module):
        if arch is not None:
            note(f"{path} holds a whole module, so --arch {arch} was not needed and not used.")
        if isinstance(found, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            found = cast(nn.Module, found.module)
        return found, f"a whole module ({type(found).__name__})", ""
    if arch is None:
        guess = guess_architecture(found)
        step = f"The file holds a state dict: {describe_tensors(found)}. "
        step += (
            f"Its names look like those of {guess}: try --arch {guess}"
            if guess
            else "Pass --arch torchvision:NAME or model.py:FUNCTION."
        )
        raise InvalidOption(
            "loading",
            "--arch",
            f"given for {path.name}, since a state dict holds weights without their model",
            None,
            step,
        )
    module = build(arch, options)
    put_into(module, found, path, arch, note)
    return module, f"a state dict for {arch}", rebuild_note(arch, options)


def _ready(module: nn.Module, path: Path, note: Note) -> nn.Module:
    """Eval mode, CPU, float32, and every weight a number."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    if any(tensor.is_meta for _, tensor in tensors):
        raise ModelFileError(f"{path}: the module is on the meta device, so it has no weights. Save it from the CPU.")
    for name, tensor in tensors:
        _check_finite(name, tensor, path)
    kinds = {tensor.dtype for _, tensor in tensors if tensor.is_floating_point()} - {torch.float32}
    if kinds:
        names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        note(f"{path}: {names} weights were converted to float32.")
        module = module.float()
    return module.cpu().eval()


def _check_finite(name: str, tensor: Tensor, path: Path) -> None:
    """Infinity is an error, too, save in buffers, which may be masks; but batch norm's statistics must be finite."""
    if not tensor.is_floating_point() or tensor.is_quantized:
        return
    values = tensor.detach()
    strict = isinstance(tensor, nn.Parameter) or name.endswith(("running_mean", "running_var"))
    bad = ~torch.isfinite(values) if strict else torch.isnan(values)
    if bad.any():
        raise ModelFileError(
            f"{path}: {int(bad.sum())} of the {tensor.numel()} values of '{name}' are not numbers (NaN or infinite). "
            "The training went wrong, or the file is damaged. Use an earlier checkpoint."
        )
