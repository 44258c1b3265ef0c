"""Says in a few words what a state dict looks like, for a user who did not say which architecture it belongs to."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

# One or two of each family; the names of their tensors tell families and depths apart.
_CANDIDATES = {
    "torchvision": (
        "resnet18 resnet34 resnet50 resnet101 mobilenet_v3_small mobilenet_v3_large mobilenet_v2 vgg16 vgg16_bn "
        "alexnet densenet121 efficientnet_b0 convnext_tiny vit_b_16 swin_t shufflenet_v2_x1_0 squeezenet1_1 mnasnet1_0"
    ),
    "timm": (
        "convnext_atto efficientnet_b0 vit_tiny_patch16_224 mobilenetv3_small_100 resnetv2_50 mixer_s32_224 "
        "inception_v4 swin_tiny_patch4_window7_224"
    ),
}
_CERTAIN = 0.98  # the same names, and nearly all shapes
_ENOUGH = 0.6  # share of common names from which on a family is worth naming


def describe_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Numbers of tensors and parameters, first and last layer, guessed channels and classes."""
    n_params = sum(tensor.numel() for name, tensor in tensors.items() if not _is_statistic(name))
    text = f"{len(tensors)} tensors with {_in_words(n_params)} parameters"
    weights = [
        (name, tuple(tensor.shape)) for name, tensor in tensors.items() if name.endswith("weight") and tensor.ndim >= 2
    ]
    if not weights:
        return text
    (first, first_shape), (last, last_shape) = weights[0], weights[-1]
    text += f", first layer {first} {first_shape}, last layer {last} {last_shape}"
    guesses = []
    if len(first_shape) in (3, 4, 5):
        guesses.append(f"{first_shape[1]} input channels")
    if len(last_shape) == 2 or (len(last_shape) == 4 and last_shape[2:] == (1, 1)):
        guesses.append(f"{last_shape[0]} outputs")
    return f"{text} ({', '.join(guesses)})" if guesses else text


def guess_architecture(tensors: Mapping[str, Tensor]) -> str:
    """The `--arch` whose tensors' names are nearest, or "" where none is near; built on the meta device (no memory)."""
    names = _stripped(tensors)
    best, best_share = "", 0.0
    for package, candidates in _CANDIDATES.items():
        with suppress(ImportError):  # no package, no guess
            library = importlib.import_module(package)
            for candidate in candidates.split():
                share = _similarity(names, _names_on_meta(library, package, candidate))
                if share > best_share:
                    best, best_share = f"{package}:{candidate}", share
                if share > _CERTAIN:
                    return best
    return best if best_share >= _ENOUGH else ""


def _names_on_meta(library: Any, package: str, name: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: nn.Module = (
            library.models.get_model(name, weights=None) if package == "torchvision" else library.create_model(name)
        )
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


def _similarity(a: Mapping[str, tuple[int, ...]], b: Mapping[str, tuple[int, ...]]) -> float:
    """Common names over all names, a little less where shapes differ: names tell the family, shapes its width."""
    common = a.keys() & b.keys()
    equal = sum(a[name] == b[name] for name in common)
    return (0.9 * len(common) + 0.1 * equal) / len(a.keys() | b.keys())


def _stripped(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    names = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for prefix in ("module.", "_orig_mod.", "model."):
        if all(name.startswith(prefix) for name in names):
            names = {name.removeprefix(prefix): shape for name, shape in names.items()}
    return names


def _is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def _in_words(n: int) -> str:
    return f"{n / 1e6:.1f} million" if n >= 1e6 else f"{n:,}"
