"""Running statistics of batch norms, averaged anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

BatchNorm = nn.modules.batchnorm._BatchNorm  # the base of all batch norms; its public subclasses are one per dimension


def norms_with_statistics(model: nn.Module) -> list[BatchNorm]:
    """Every batch norm of the model that remembers running statistics."""
    return [layer for layer in model.modules() if isinstance(layer, BatchNorm) and layer.track_running_stats]


@contextmanager
def collecting(norms: Sequence[BatchNorm]) -> Iterator[None]:
    """These layers average anew inside, every batch counting the same; an error brings their statistics back."""
    former = [
        (norm.momentum, norm.training, {name: buffer.clone() for name, buffer in norm.named_buffers(recurse=False)})
        for norm in norms
    ]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        yield
    except BaseException:
        for norm, (_, _, buffers) in zip(norms, former, strict=True):
            for name, buffer in norm.named_buffers(recurse=False):
                buffer.copy_(buffers[name])
        raise
    finally:
        for norm, (momentum, training, _) in zip(norms, former, strict=True):
            norm.momentum = momentum
            norm.train(training)
