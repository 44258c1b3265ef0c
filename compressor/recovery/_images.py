"""The few hundred images that a recovery reads more than once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from compressor.core.errors import DataError
from compressor.core.protocols import RecoveryContext
from compressor.data.dataset import ImageDataset
from compressor.training.forward import borrowed
from exporters.signature import ExampleInputs

FEWEST_BATCHES = 8  # so that some can be set aside


@dataclass(frozen=True)
class CalibrationImages:
    """Decoded once; each round over them yields the same batches, ready for the model, on its device."""

    batches: Sequence[ExampleInputs]  # of a dataset: pixels that are not yet normalised
    dataset: ImageDataset | None
    device: str

    @classmethod
    def of(cls, owner: str, context: RecoveryContext, n_images: int, batch_size: int) -> CalibrationImages:
        """The first `n_images` of the calibration batches, or as many drawn from the dataset by the run's seed.

        Raises:
            DataError: there are none, or the model does not accept them.
        """
        model = context.model
        if context.train is not None:
            order = torch.randperm(len(context.train), generator=torch.Generator().manual_seed(context.seed))
            chosen = order[:n_images]
            parts = [part.tolist() for part in chosen.split(min(batch_size, max(1, len(chosen) // FEWEST_BATCHES)))]
            batches = [ExampleInputs.of(context.train.batch(part)[0], model) for part in parts]
        else:
            batches = list(_first(context.batches or (), model, n_images))
        if not batches:
            raise DataError(f"{owner}: at least one image is needed, but there is none. Give images with --data.")
        images = cls(batches, context.train, context.device)
        with borrowed(context.original, context.device), torch.no_grad():
            forward(owner, context.original, next(iter(images)))
        return images

    def after(self, n_batches: int) -> CalibrationImages:
        """Without the first ones."""
        return replace(self, batches=self.batches[n_batches:])

    def __len__(self) -> int:
        return sum(batch.batch_size for batch in self.batches)

    def __iter__(self) -> Iterator[ExampleInputs]:
        for batch in self.batches:
            inputs = batch.to(self.device)
            yield inputs if self.dataset is None else ExampleInputs.of(self.dataset.prepare(inputs.tensors[0]), _NAMED)


_NAMED = nn.Identity()  # images are one tensor, given by position


def _first(batches: object, model: nn.Module, n_images: int) -> Iterator[ExampleInputs]:
    left = n_images
    for item in batches:  # type: ignore[attr-defined]  # RecoveryContext.batches is an iterable of anything
        labelled = isinstance(item, tuple | list) and len(item) == 2 and not item[1].is_floating_point()
        inputs = ExampleInputs.of(item[0] if labelled else item, model)
        yield inputs if inputs.batch_size <= left else inputs.tiled(left)
        left -= inputs.batch_size
        if left <= 0:
            return


def forward(owner: str, model: nn.Module, inputs: ExampleInputs) -> None:
    """One pass without a result.

    Raises:
        DataError: the model does not accept the inputs.
    """
    try:
        inputs.call(model)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs.tensors)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{owner}: the model does not accept a batch of shape {shapes} ({reason}). "
            "Give at least two inputs a batch, of the size and channels that it was trained with."
        ) from error
