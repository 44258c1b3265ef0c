"""In how many parts a step's images have to go through the network, so that what backward needs fits into memory."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from compressor.calibration.norms import norms_with_statistics

FEW = 16  # images: what norm layers estimate from fewer is noise
_USABLE = 0.6  # of the free memory; gradients of feature maps, temporary results and the allocator take the rest
_CGROUP = Path("/sys/fs/cgroup")


def saved_bytes(model: nn.Module, inputs: Tensor) -> float:
    """What autograd keeps of a forward pass for backward, in bytes an image; parameters and buffers do not count.

    The model is left as it is if it is in eval mode. Norms keep the same then as in training.

    >>> saved_bytes(nn.Sequential(nn.Linear(10, 5), nn.Sigmoid()), torch.zeros(4, 10))  # 10 + 5 numbers
    60.0
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        results = model(inputs)  # noqa: F841 (keeps the graph, so that no address is used twice)
    return sum(kept.values()) / len(inputs)


def free_bytes(device: torch.device) -> int | None:
    """Memory that nobody uses yet; None where it cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    free = psutil.virtual_memory().available
    try:  # a container's own limit
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # there is none
        return free
    return min(free, max(0, limit - used))


def parts_needed(n_images: int, bytes_an_image: float, free: int | None) -> int:
    """The smallest power of two of parts, of two images at least, that fit.

    >>> parts_needed(128, 10e6, 10**9), parts_needed(128, 10e6, 10**10), parts_needed(128, 1e9, 10**9)
    (4, 1, 64)
    """
    n_parts = 1
    while free is not None and n_images >= 4 * n_parts and n_images / n_parts * bytes_an_image > _USABLE * free:
        n_parts *= 2
    return n_parts


def told(n_images: int, n_parts: int, bytes_an_image: float, free: int | None, model: nn.Module) -> str:
    """For people: why there are several parts, and what it means; empty if there is one."""
    if n_parts == 1 or free is None:
        return ""
    some = n_images // n_parts
    sentence = (
        f"{n_images} images a step would keep {n_images * bytes_an_image / 2**30:.1f} GiB for the gradients, and "
        f"{free / 2**30:.1f} GiB are free: they go through the network in {n_parts} parts."
    )
    if some < FEW and norms_with_statistics(model):
        sentence += f" Norm layers see {some} images at a time, which is little: give smaller images or more memory."
    return sentence
