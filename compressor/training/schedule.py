"""Everything of a training run that is a pure function of the step number, so that a run can go on from any step."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import torch


def learning_rate(step: int, n_steps: int, peak: float, warmup: float) -> float:
    """One cycle: a straight warm-up to `peak` over the first share `warmup` of the steps, then half a cosine towards 0.

    >>> [round(learning_rate(step, 6, peak=1.0, warmup=1 / 3), 3) for step in range(6)]
    [0.5, 1.0, 0.905, 0.655, 0.345, 0.095]
    """
    n_warmup = round(warmup * n_steps)
    if step < n_warmup:
        return peak * (step + 1) / n_warmup
    position = (step - n_warmup + 1) / (n_steps - n_warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * position))


def seed_of(*parts: int | str) -> int:
    """A seed (63 bits) that depends on all parts, for one purpose at one step."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class EpochBatches:
    """Batches of indices of one epoch, in an order drawn from seed and epoch; an incomplete last batch is left out.

    Set `epoch` and `first` before each pass: `first` is the batch to start at, for a run that goes on in mid-epoch.
    Has the attributes of PyTorch's batch samplers that Accelerate reads to share each batch among processes.
    """

    drop_last = True

    def __init__(self, n_images: int, batch_size: int, seed: int) -> None:
        self.n_images, self.batch_size, self.seed = n_images, batch_size, seed
        self.epoch, self.first = 0, 0

    @property
    def n_per_epoch(self) -> int:
        """Batches in a whole epoch."""
        return self.n_images // self.batch_size

    def __len__(self) -> int:
        return self.n_per_epoch - self.first

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, "order", self.epoch))
        order = torch.randperm(self.n_images, generator=generator).tolist()
        for batch in range(self.first, self.n_per_epoch):
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size]
