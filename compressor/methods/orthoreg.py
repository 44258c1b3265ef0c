"""Squared first-order estimate over the whole data: the importance that adds up where filters are orthogonal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressor.core.errors import DataError
from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods._passes import as_found, loss_gradients
from compressor.methods._weights import channel_sums, producer_axes, score_groups


@dataclass(frozen=True)
class OrthoRegImportance:
    """A channel whose removal would, to first order and over all images together, change the loss least leaves first.

    Paper: Ekdeep Singh Lubana, Puja Trivedi, Conrad Hougen, Robert P. Dick, Alfred O. Hero, "OrthoReg: Robust Network
        Pruning Using Orthonormality Regularization", 2020, arXiv:2009.05014, importance estimation.

    Equations:
        I_i = (sum over s in S_i of w_s g_s)^2, g_s = 1/N sum over n of g_s(n)   -> `channel_sums`, then squared

    Notation:
        S_i: the parameters that make channel i, biases too; w_s: such a parameter.
        g_s(n): derivative of the loss on image n with respect to it; N: images.
        I_i: score of channel i, unit of the squared loss; over all layers at once, the smallest leave.

    Options: none.

    Returns:
        One score >= 0 per channel of every group.

    Deviations:
        - The importance only. That of several filters is the sum of theirs where filters are uncorrelated, which the
          paper's regulariser brings about in training; on a network that was trained without it, it is a first-order
          estimate like `taylor`, whose square is taken batch by batch instead of once for all images.
        - S_i of a coupled group holds the parameters of all producers: their sum is squared, so that importance still
          adds up. The paper's ResNets keep the stream whole.
        - As many images as the run hands over (the authors take 10,000); all channels leave at once, instead of in
          rounds with training between them; the share of each layer that the authors protect is left to the planner,
          which keeps one channel.

    Raises:
        DataError: there are no labelled images, or a batch's loss is infinite or not a number.

    Complexity: one forward and one backward pass per batch, memory for one gradient per weight of the groups.

    Example:
        One filter with weights 3 and 4; gradients (2, 0) and (0, -1) on two images. Their mean is (1, -1/2):
        (3 * 1 - 4 / 2)^2 = 1.

        >>> from compressor.core.groups import TensorAxis
        >>> every = TensorAxis("w", 0, (0,), (0,))
        >>> gradients = torch.tensor([[2.0, 0.0], [0.0, -1.0]]).mean(0)[None]
        >>> channel_sums([every], {"w": torch.tensor([[3.0, 4.0]])}, {"w": gradients}, 1).square().tolist()
        [1.0]
    """

    summary: ClassVar[str] = "squared change of the loss over all images, to first order; adds up over channels"
    paper: ClassVar[str] = "Lubana et al., OrthoReg, 2020, arXiv:2009.05014 (importance)"
    use_when: ClassVar[str] = "the model was trained with orthonormal filters, and there are labelled images"
    needs: ClassVar[frozenset[str]] = frozenset({"data", "labels"})
    comparable: ClassVar[bool] = True

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: squared mean gate gradients (n_channels,)}."""
        if context.batches is None:
            raise DataError("orthoreg: labelled images are needed, but there are none. Give --data with labels.")
        parameters = dict(context.model.named_parameters(remove_duplicate=False))
        axes = {group.name: producer_axes(group, parameters) for group in groups}
        used = {axis.tensor: parameters[axis.tensor] for found in axes.values() for axis in found}
        totals = {group.name: torch.zeros(group.n_channels, dtype=torch.float64) for group in groups}
        n_images = 0
        with as_found(context.model, context.seed, used.values()):
            for number, (inputs, labels) in enumerate(context.batches):
                gradients = loss_gradients("orthoreg", context, used, inputs, labels, f"batch {number}")
                for name, total in totals.items():  # the loss is a batch's mean
                    total += len(inputs) * channel_sums(axes[name], used, gradients, len(total))
                n_images += len(inputs)
        if not n_images:
            raise DataError("orthoreg: at least one labelled image is needed, but the data holds none. Check --data.")
        judged = [group for group in groups if axes[group.name]]
        return score_groups(judged, lambda group: (totals[group.name] / n_images).square())


PLUGIN = OrthoRegImportance
