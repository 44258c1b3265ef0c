"""Finds the state dict in what a file holds, and puts it into a module."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from compressor.core.errors import ModelFileError, WeightsMismatch
from compressor.loading.describe import guess_architecture

# Where training scripts put the weights, the plainest first; averaged weights (EMA) only where there are no others.
_PLAIN = "state_dict model_state_dict model net module network model_state net_state_dict weights params"
_AVERAGED = "ema model_ema ema_state_dict state_dict_ema ema_model params_ema"
_KEYS = (*_PLAIN.split(), *_AVERAGED.split())
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
# Counters that MAC-counting tools leave in a model; and one that torch before 0.4 did not have.
_COUNTERS = ("total_ops", "total_params")
_NEW_BUFFER = "num_batches_tracked"
Note = Callable[[str], None]


def find_weights(value: Any, path: Path) -> tuple[nn.Module | dict[str, Tensor], str]:
    """The module or the tensors in a loaded object, and the key under which they were ("" at the top).

    Raises:
        ModelFileError: neither a module nor tensors are in it.
    """
    found = _search(value, "", depth=3)
    if found is not None:
        return found
    if isinstance(value, Tensor):
        raise ModelFileError(
            f"{path}: one tensor of shape {tuple(value.shape)}, not a model. Pass a model or its state dict."
        )
    if not isinstance(value, Mapping):
        raise ModelFileError(f"{path}: a {type(value).__name__}, not a model. Pass a model or its state dict.")
    if "param_groups" in value or any("optim" in str(key) for key in value):
        raise ModelFileError(f"{path}: the state of an optimizer only, no weights. Pass the file that holds the model.")
    keys = ", ".join(str(key) for key in list(value)[:8]) or "nothing"
    raise ModelFileError(f"{path}: no tensors in it (it holds: {keys}). Pass a model or its state dict.")


def _search(value: Any, where: str, depth: int) -> tuple[nn.Module | dict[str, Tensor], str] | None:
    if isinstance(value, nn.Module):
        return value, where
    if not isinstance(value, Mapping) or not depth:
        return None
    for key in _KEYS:
        if key in value and not isinstance(value[key], Tensor):
            found = _search(value[key], f"{where}.{key}" if where else key, depth - 1)
            if found is not None:
                return found
    if "param_groups" in value:
        return None
    tensors = OrderedDict(
        (key, item) for key, item in value.items() if isinstance(key, str) and isinstance(item, Tensor)
    )
    if not tensors:
        return None
    if hasattr(value, "_metadata"):  # versions of layers, by which old files are read correctly
        tensors._metadata = value._metadata  # type: ignore[attr-defined]
    return tensors, where


@dataclass(frozen=True)
class _Difference:
    missing: tuple[str, ...]  # the module wants them
    unexpected: tuple[str, ...]  # the file has them
    shapes: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]  # name, in the file, in the module

    @property
    def size(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.shapes)


def put_into(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, arch: str, note: Note) -> None:
    """Copies the tensors into `module`, without the prefixes that wrappers put before their names.

    Raises:
        WeightsMismatch: names or shapes differ; the first few are named. The module is then untouched.
    """
    wanted = module.state_dict()
    variants = _without_prefixes(tensors)
    differences = [_compare(variant, wanted) for _, variant in variants]
    best = min(range(len(variants)), key=lambda i: differences[i].size)
    prefix, fitting = variants[best]
    if differences[best].size:
        raise WeightsMismatch(_sentence(path, arch, differences[best], fitting, wanted))
    if prefix:
        note(f"The weights' names begin with '{prefix}', which was taken off.")
    chosen = OrderedDict((name, tensor) for name, tensor in fitting.items() if name in wanted)
    converted = {str(t.dtype).removeprefix("torch.") for name, t in chosen.items() if t.dtype != wanted[name].dtype}
    if converted:
        note(f"{path}: {', '.join(sorted(converted))} weights were converted to the model's numbers.")
    own = getattr(tensors, "_metadata", None)
    chosen._metadata = own if own and not prefix else wanted._metadata  # type: ignore[attr-defined]
    try:
        module.load_state_dict(chosen, strict=False)  # compared above; strict would insist on old batch norms' counters
    except RuntimeError as error:  # quantised or sparse tensors, which cannot be copied into dense ones
        text = str(error).strip().split("\n")[-1].strip()
        raise WeightsMismatch(
            f"{path}: the weights cannot be copied into {arch} ({text[:200]}). Save dense weights."
        ) from error


def _without_prefixes(tensors: Mapping[str, Tensor]) -> list[tuple[str, dict[str, Tensor]]]:
    """The names as they are, then with one prefix after another taken off where all names bear it."""
    variants = [("", dict(tensors))]
    while True:
        taken, names = variants[-1]
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in names)), None)
        if prefix is None:
            return variants
        variants.append((taken + prefix, {name.removeprefix(prefix): tensor for name, tensor in names.items()}))


def _compare(tensors: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> _Difference:
    real = {name: item for name, item in wanted.items() if isinstance(item, Tensor)}
    missing = [name for name in real if name not in tensors and not name.endswith(_NEW_BUFFER)]
    unexpected = [name for name in tensors if name not in wanted and name.rpartition(".")[2] not in _COUNTERS]
    shapes = [
        (name, tuple(tensor.shape), tuple(real[name].shape))
        for name, tensor in tensors.items()
        if name in real and tensor.shape != real[name].shape
    ]
    return _Difference(tuple(missing), tuple(unexpected), tuple(shapes))


def _sentence(
    path: Path, arch: str, difference: _Difference, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> str:
    parts = []
    for what, names in (("missing in the file", difference.missing), ("unknown to the model", difference.unexpected)):
        if names:
            parts.append(f"{len(names)} {what} ({_first(names)})")
    if difference.shapes:
        shown = [f"{name} is {have} in the file, {want} in the model" for name, have, want in difference.shapes]
        parts.append(f"{len(shown)} of another shape ({_first(shown)})")
    n_equal = len(tensors) - len(difference.unexpected) - len(difference.shapes)
    start = f"{path}: the weights do not fit {arch}: {'; '.join(parts)}; {n_equal} of {len(wanted)} fit."
    return f"{start} {_hint(difference, tensors)}"


def _first(items: tuple[str, ...] | list[str]) -> str:
    return ", ".join(items[:3]) + (", ..." if len(items) > 3 else "")


def _hint(difference: _Difference, tensors: Mapping[str, Tensor]) -> str:
    only_shapes = not difference.missing and not difference.unexpected
    layers = {name.rpartition(".")[0] for name, _, _ in difference.shapes}
    if only_shapes and len(layers) == 1 and all(have[1:] == want[1:] for _, have, want in difference.shapes):
        n_classes = difference.shapes[0][1][0]
        return f"Only the classifier differs; it has {n_classes} classes: try --arch-args num_classes={n_classes}"
    if only_shapes:
        return "The layers are the same and their sizes differ: give the sizes with --arch-args, or another --arch."
    guess = guess_architecture(tensors)
    like = f" Their names look like those of {guess}." if guess else ""
    return f"Give the --arch that the weights were trained with.{like}"
