"""Saved training state: one safetensors file that is whole or not there, without pickle.

Tensors are named `model.<name>`, `optimizer.<parameter>.<state>` and `hook.<number>.<name>`; the rest is JSON in the
file's header.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from compressor.core.files import output_errors, write_atomically
from compressor.training.hooks import Hook

FILE_NAME = "training.safetensors"
_KEY = "compressor_training"


@dataclass
class Position:
    """How far a training run has come, and what it has measured so far."""

    step: int = 0  # steps done, over all epochs
    loss_sum: float = 0.0  # over the images of the current epoch
    n_correct: int = 0
    n_images: int = 0
    losses: list[float] = field(default_factory=list)  # mean of each finished epoch
    accuracies_percent: list[float] = field(default_factory=list)  # on augmented training images; empty without labels
    n_parts: int = 0  # in which a step's images go through the network; 0: not known yet
    compiled: list[bool] | None = None  # model and teacher, by `torch.compile`; None: not known yet
    seconds: float = field(default=0.0, compare=False)  # in the loop, with the loading of images
    n_trained: int = 0  # images in that time

    @property
    def images_per_s(self) -> float:
        """Of the whole run; 0 before the first step."""
        return self.n_trained / self.seconds if self.seconds else 0.0


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, shared ones once."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def fingerprint(description: str, *models: nn.Module) -> str:
    """Equal only for the same options and bitwise equal weights: tells whether a checkpoint belongs to this run."""
    digest = hashlib.sha256(description.encode())
    for model in models:
        for name, tensor in tensors_of(model).items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_checkpoint(
    folder: Path,
    mark: str,
    position: Position,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    hooks: Sequence[Hook] = (),
) -> None:
    """Replaces the folder's checkpoint; `mark` is the run's fingerprint.

    Raises:
        OutputError: the folder cannot be written; the former checkpoint stays.
    """
    tensors = {f"model.{name}": tensor for name, tensor in tensors_of(model).items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{name}.{key}"] = value
    for number, hook in enumerate(hooks):
        tensors |= {f"hook.{number}.{name}": tensor for name, tensor in hook.state().items()}
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"fingerprint": mark, "position": asdict(position)})
    write_atomically(folder / FILE_NAME, save(copies, {_KEY: header}))


def read_checkpoint(folder: Path, mark: str) -> tuple[Position, dict[str, Tensor]] | str:
    """The position and the tensors by name; or why there is nothing to go on from, empty if there is no file."""
    path = folder / FILE_NAME
    if not path.exists():
        return ""
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            position = Position(**header["position"])
            if header["fingerprint"] != mark:
                return f"{path} is of a training with other options or weights; this one starts from the beginning."
            return position, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return f"{path} is damaged; training starts from the beginning."


def hook_states(saved: Mapping[str, Tensor], n_hooks: int) -> list[dict[str, Tensor]]:
    """What each hook remembered."""
    prefixes = [f"hook.{number}." for number in range(n_hooks)]
    return [
        {name.removeprefix(prefix): tensor for name, tensor in saved.items() if name.startswith(prefix)}
        for prefix in prefixes
    ]


def restore_model(model: nn.Module, saved: dict[str, Tensor]) -> None:
    """Copies the saved weights and buffers into the model."""
    with torch.no_grad():
        for name, tensor in tensors_of(model).items():
            tensor.copy_(saved[f"model.{name}"])
