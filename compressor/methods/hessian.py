"""Second-order estimate of what removing a channel does to the loss."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressor.core.errors import DataError, InvalidOption
from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods._passes import as_found, loss_gradients
from compressor.methods._weights import channel_sums, producer_axes, score_groups


@dataclass(frozen=True)
class DiagonalHessian:
    """A channel whose weights the loss would, to second order, miss least leaves first.

    Paper: Yann LeCun, John Denker, Sara Solla, "Optimal Brain Damage", NIPS 1989, equation 5 (saliency); the curvature
        by squared gradients as in Lucas Theis, Iryna Korshunova, Alykhan Tejani, Ferenc Huszar, "Faster gaze prediction
        with dense networks and Fisher pruning", 2018, arXiv:1801.05787.

    Equations:
        score of channel i = 1/2 sum over s in S_i of h_s w_s^2   -> `channel_sums`
        h_s = 1/N sum over n of g_s(n)^2                          -> `DiagonalHessian.scores`

    Notation:
        S_i: the parameters that make channel i; w_s: such a parameter.
        g_s(n): derivative of the loss on image n alone; h_s: diagonal of the empirical Fisher matrix, which stands for
        that of the Hessian at a minimum; N: images. The score's unit is that of the loss.

    Options:
        n_images (int, default 128): how many labelled images are looked at, one by one.

    Returns:
        One score >= 0 per channel of every group.

    Deviations:
        - Optimal Brain Damage computes the second derivatives themselves and removes single weights; here the Fisher
          matrix stands for them, and the saliencies of a channel's weights are added up, which takes them for
          independent.
        - S_i of a coupled group holds the parameters of all producers.
        - The model is in evaluation mode, so that no image's gradient depends on another.

    Raises:
        InvalidOption: `n_images` is below 1.
        DataError: there are no labelled images, or an image's loss is infinite or not a number.

    Complexity: one forward and one backward pass per image; two numbers per weight of the groups.

    Example:
        Weights 3 and 4; gradients (2, 0) on one image and (0, 1) on another: h = (2, 1/2), 1/2 (2 * 9 + 1/2 * 16) = 13.

        >>> from compressor.core.groups import TensorAxis
        >>> gradients = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> every = TensorAxis("w", 0, (0,), (0,))
        >>> half = {"w": gradients.square().mean(0)[None] / 2}
        >>> channel_sums([every], {"w": torch.tensor([[9.0, 16.0]])}, half, 1).tolist()
        [13.0]
    """

    summary: ClassVar[str] = "estimated change of the loss, from squared gradients on single labelled images"
    paper: ClassVar[str] = "LeCun et al., Optimal Brain Damage, NIPS 1989; Theis et al., 2018, arXiv:1801.05787"
    use_when: ClassVar[str] = "there are labelled images, and the model is so well trained that gradients have vanished"
    needs: ClassVar[frozenset[str]] = frozenset({"data", "labels"})
    comparable: ClassVar[bool] = True

    n_images: int = 128

    def __post_init__(self) -> None:
        if self.n_images < 1:
            raise InvalidOption("hessian", "n_images", "at least 1", self.n_images)

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: saliencies (n_channels,)}."""
        parameters = dict(context.model.named_parameters(remove_duplicate=False))
        axes = {group.name: producer_axes(group, parameters) for group in groups}
        used = {axis.tensor: parameters[axis.tensor] for found in axes.values() for axis in found}
        fisher = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in used.items()}
        n_images = 0
        with as_found(context.model, context.seed, used.values()):
            for image, label in itertools.islice(_single_images(context), self.n_images):
                found = loss_gradients("hessian", context, used, image, label, f"image {n_images}")
                for name, gradient in found.items():
                    fisher[name] += gradient.float().square()
                n_images += 1
        if not n_images:
            raise DataError("hessian: at least one labelled image is needed, but the data holds none. Check --data.")
        squares = {name: weight.detach().float().square() for name, weight in used.items()}
        judged = [group for group in groups if axes[group.name]]
        return score_groups(
            judged, lambda g: channel_sums(axes[g.name], squares, fisher, g.n_channels) / (2 * n_images)
        )


def _single_images(context: MethodContext) -> Iterator[tuple[Tensor, Tensor]]:
    if context.batches is None:
        raise DataError("hessian: labelled images are needed, but there are none. Give --data with labels.")
    for inputs, labels in context.batches:
        yield from zip(inputs.split(1), labels.split(1), strict=True)


PLUGIN = DiagonalHessian
