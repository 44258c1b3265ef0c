"""Batch-norm re-estimation: running means and variances of the small model itself, from unlabelled images.

After the cut, the activations that reach a batch norm have other statistics than those it remembers. That alone costs
much accuracy, and a few forward passes give it back.

Paper:
    Bailin Li, Bowen Wu, Jiang Su, Guangrun Wang, "EagleEye: Fast Sub-net Evaluation for Efficient Neural Network
    Pruning", ECCV 2020, arXiv 2007.02491, section on adaptive batch normalisation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from compressor.calibration.norms import collecting, norms_with_statistics
from compressor.core.errors import DataError, InvalidOption
from compressor.core.protocols import RecoveryContext
from compressor.data.batches import CalibrationBatches
from compressor.recovery._images import forward
from compressor.training.forward import borrowed
from exporters.signature import ExampleInputs


@dataclass(frozen=True)
class BatchNormReestimate:
    """Forgets the running statistics and averages them anew over `n_batches` batches.

    Equations:
        mean = 1/B sum_b mean_b, variance = 1/B sum_b var_b, with mean_b and var_b (unbiased) over batch b's images and
        positions: the cumulative average that PyTorch takes with momentum None.

    Notation:
        B: batches; mean_b, var_b: (C,) a layer, in the activation's unit.

    Options:
        n_batches: int, at least 1, default 32.
        batch_size: int, at least 2, default 64; only where a dataset is given, batches from Python stay as they are.

    Returns:
        The report's facts: layers, batches, images; or `skipped` with the reason.

    Deviations:
        The paper lets the old statistics fade with momentum 0.1; here they do not count at all. All layers are
        re-estimated at once, each fed by layers that use their own batch's statistics, as in the paper.

    Raises:
        InvalidOption: an option out of range.

    Complexity:
        `n_batches` forward passes; memory of one batch in training mode without gradients.

    Example:
        One channel, two batches of two values, (0, 2) and (4, 8): means 1 and 6, unbiased variances 2 and 8, so the
        running mean is 3.5 and the running variance 5.

        >>> import torch
        >>> norm = torch.nn.BatchNorm1d(1).eval()
        >>> batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [8.0]])]
        >>> from compressor.core.progress import SilentProgress
        >>> context = RecoveryContext(norm, torch.nn.Identity(), batches=batches)
        >>> BatchNormReestimate().apply(context, SilentProgress())
        {'layers': 1, 'batches': 2, 'images': 4}
        >>> norm.running_mean.item(), norm.running_var.item(), norm.training
        (3.5, 5.0, False)
    """

    summary: ClassVar[str] = "running statistics of batch norms from unlabelled images; no training"
    paper: ClassVar[str] = "Li, Wu, Su, Wang, ECCV 2020, arXiv 2007.02491 (adaptive batch normalisation)"
    use_when: ClassVar[str] = "there are unlabelled images and batch norms; it takes seconds"
    needs: ClassVar[frozenset[str]] = frozenset({"data", "norm"})

    n_batches: int = 32
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.n_batches < 1:
            raise InvalidOption("bn_reestimate", "n_batches", "at least 1", self.n_batches)
        if self.batch_size < 2:
            raise InvalidOption("bn_reestimate", "batch_size", "at least 2", self.batch_size)

    def apply(self, context: RecoveryContext, progress: Any) -> dict[str, float | int | str]:
        """Changes the running statistics of `context.model`, nothing else; no labels are read.

        Raises:
            DataError: no data, or batches that the model does not accept; the statistics are then as before.
        """
        norms = norms_with_statistics(context.model)
        if not norms:
            reason = "the model has no batch norm with running statistics"
            progress.note(f"bn_reestimate: {reason}; nothing to do.")
            return {"skipped": reason}
        n_batches, n_images = 0, 0
        batches = itertools.islice(self._batches(context), self.n_batches)
        with (
            borrowed(context.model, context.device),
            collecting(norms),
            progress.step("re-estimating batch norms", self.n_batches) as step,
            torch.no_grad(),
        ):
            for batch in batches:
                inputs = ExampleInputs.of(batch, context.model).to(context.device)
                forward("bn_reestimate", context.model, inputs)
                n_batches += 1
                n_images += inputs.batch_size
                step.advance()
            if not n_batches:
                raise DataError("bn_reestimate: needs at least one batch, but got none. Give images with --data.")
        return {"layers": len(norms), "batches": n_batches, "images": n_images}

    def _batches(self, context: RecoveryContext) -> Iterable[Any]:
        if context.train is not None:
            n_images = self.n_batches * self.batch_size
            chosen = CalibrationBatches(context.train, n_images, self.batch_size, context.seed, context.device)
            # A last batch of one image has no variance.
            return (inputs for inputs, _ in chosen if len(inputs) > 1 or len(chosen) == 1)
        return context.batches if context.batches is not None else ()


PLUGIN = BatchNormReestimate
