"""Which inputs a model takes, by what is known of it: candidates, the likeliest first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from compressor.loading.input_spec import InputSpec

_SMALL_IMAGES, _LARGE_IMAGES = (32, 64, 28, 96, 224, 299), (224, 299, 256, 128, 64, 32, 28)
FROM_DATA = "a sample of the data"
_LARGE_STRIDE = 16  # nets for large images shrink them at least so much
_N_TOKENS = 16
_PATCHES = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Candidate:
    """Inputs to try, and where they come from."""

    inputs: tuple[InputSpec, ...]
    source: str


def candidates(module: nn.Module, data_sample_shape: Sequence[int] | None) -> Iterator[Candidate]:
    """Inputs with a batch of 1. The caller runs the model with one after another until one works.

    What the model itself records comes first, then the data's shape (one sample, without the batch axis), then what the
    package or the first layer suggests.
    """
    yield from _from_timm(module)
    yield from _from_transformers(module)
    if data_sample_shape is not None:
        yield Candidate((InputSpec((1, *data_sample_shape)),), FROM_DATA)
    yield from _from_torchvision(module)
    yield from _from_first_layer(module)


def preprocessing_of(module: nn.Module) -> dict[str, object]:
    """What timm's configuration says of the images: mean, std and size; empty for other models."""
    config = _timm_config(module)
    facts: dict[str, object] = {key: list(config[key]) for key in ("mean", "std") if key in config}
    if facts and "input_size" in config:
        facts["size"] = list(config["input_size"])[1:]
    return facts


def vocabulary_size(module: nn.Module) -> int:
    """How many token ids the model knows: its configuration's number, or the first embedding's rows; 2 without both."""
    size = getattr(getattr(module, "config", None), "vocab_size", None)
    if isinstance(size, int):
        return size
    first = next((layer for layer in module.modules() if isinstance(layer, nn.Embedding)), None)
    return first.num_embeddings if first is not None else 2


def _timm_config(module: nn.Module) -> dict[str, Any]:
    config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    return config if isinstance(config, dict) else {}


def _from_timm(module: nn.Module) -> Iterator[Candidate]:
    size = _timm_config(module).get("input_size")
    if not size:
        return
    first = first_layer(module)
    channels = first.in_channels if isinstance(first, nn.Conv2d) else size[0]
    built_for = getattr(getattr(module, "patch_embed", None), "img_size", None)  # vit and its kin accept only this one
    if built_for and tuple(built_for) != tuple(size[1:]):
        yield Candidate((InputSpec((1, channels, *built_for)),), "the size that the timm model was built for")
    yield Candidate((InputSpec((1, channels, *size[1:])),), "timm's configuration of the model")


def _from_transformers(module: nn.Module) -> Iterator[Candidate]:
    config = getattr(module, "config", None)
    if not hasattr(config, "model_type"):
        return
    source = "the transformers configuration"
    pixels, tokens = _pixels(config), _tokens(config)
    if pixels and tokens:
        yield Candidate((tokens, pixels), source)
    if pixels:
        yield Candidate((pixels,), source)
    if tokens:
        yield Candidate((tokens,), source)
        yield Candidate((tokens, InputSpec(tokens.shape, torch.int64, "decoder_input_ids")), source)


def _pixels(config: Any) -> InputSpec | None:
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", None)
    if size is None and hasattr(vision, "num_channels"):  # convolutional nets record none
        size = 224
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    return InputSpec((1, getattr(vision, "num_channels", 3), height, width), torch.float32, "pixel_values")


def _tokens(config: Any) -> InputSpec | None:
    text = getattr(config, "text_config", config)
    if not getattr(text, "vocab_size", None):
        return None
    longest = getattr(text, "max_position_embeddings", None) or _N_TOKENS
    return InputSpec((1, min(_N_TOKENS, longest)), torch.int64, "input_ids")


def _from_torchvision(module: nn.Module) -> Iterator[Candidate]:
    family = type(module)
    if not family.__module__.startswith("torchvision.models"):
        return
    first = first_layer(module)
    channels = first.in_channels if isinstance(first, nn.Conv2d) else 3
    built_for = getattr(module, "image_size", None)
    if isinstance(built_for, int):
        yield Candidate(
            (InputSpec((1, channels, built_for, built_for)),), "the size that the torchvision model was built for"
        )
    size = 299 if family.__name__ == "Inception3" else 224
    yield Candidate((InputSpec((1, channels, size, size)),), f"torchvision's usual size for {family.__name__}")


def _from_first_layer(module: nn.Module) -> Iterator[Candidate]:
    first = first_layer(module)
    if isinstance(first, nn.Conv2d):
        channels = first.in_channels
        small = _total_stride(module) < _LARGE_STRIDE
        sizes = [28, *_SMALL_IMAGES] if small and channels == 1 else _SMALL_IMAGES if small else _LARGE_IMAGES
        for size in dict.fromkeys(sizes):
            yield Candidate((InputSpec((1, channels, size, size)),), _of_layer(module, first, f"{size}x{size} runs"))
    elif isinstance(first, nn.Conv1d):
        for length in (128, 1024, 16000):
            yield Candidate(
                (InputSpec((1, first.in_channels, length)),), _of_layer(module, first, f"length {length} runs")
            )
    elif isinstance(first, nn.Conv3d):
        for depth, size in ((16, 112), (16, 32), (32, 224)):
            yield Candidate(
                (InputSpec((1, first.in_channels, depth, size, size)),),
                _of_layer(module, first, f"{depth}x{size}x{size} runs"),
            )
    elif isinstance(first, nn.Linear):
        n = first.in_features
        yield Candidate((InputSpec((1, n)),), _of_layer(module, first, f"{n} features"))
        yield Candidate((InputSpec((1, _N_TOKENS, n)),), _of_layer(module, first, f"{_N_TOKENS} steps of {n} features"))
        for channels in (1, 3):  # a flattened image in front
            side = math.isqrt(n // channels)
            if channels * side * side == n:
                yield Candidate(
                    (InputSpec((1, channels, side, side)),),
                    _of_layer(module, first, f"{channels}x{side}x{side} flattened"),
                )
    elif isinstance(first, nn.Embedding):
        yield Candidate((InputSpec((1, _N_TOKENS), torch.int64),), _of_layer(module, first, f"{_N_TOKENS} token ids"))
    elif isinstance(first, (nn.RNNBase, nn.MultiheadAttention)):
        n = first.input_size if isinstance(first, nn.RNNBase) else first.embed_dim
        yield Candidate((InputSpec((1, _N_TOKENS, n)),), _of_layer(module, first, f"{_N_TOKENS} steps of {n} features"))


def first_layer(module: nn.Module) -> nn.Module | None:
    """The first layer, in the order of definition, that tells what the input looks like."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)
    return next((layer for layer in module.modules() if isinstance(layer, kinds)), None)


def _of_layer(module: nn.Module, layer: nn.Module, what: str) -> str:
    name = next(name for name, item in module.named_modules() if item is layer)
    return f"the first layer ({type(layer).__name__}{f' {name!r}' if name else ''}; {what})"


def _total_stride(module: nn.Module) -> int:
    """How much the net shrinks an image along its main path; 1x1 convolutions with a stride are shortcuts beside it."""
    total = 1
    for layer in module.modules():
        if isinstance(layer, _PATCHES) and _first_of(layer.kernel_size) > 1:
            total *= _first_of(layer.stride or layer.kernel_size)
    return total


def _first_of(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)
