"""First-order Taylor estimate of what removing a channel does to the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from compressor.core.errors import DataError, InvalidOption
from compressor.core.groups import ChannelGroup, TensorAxis
from compressor.core.protocols import MethodContext
from compressor.methods._passes import as_found, loss_gradients
from compressor.methods._weights import channel_sums, norm_axes, producer_axes, score_groups


@dataclass(frozen=True)
class TaylorLoss:
    """A channel whose removal would, to first order, change the loss least leaves first.

    Paper: Pavlo Molchanov, Arun Mallya, Stephen Tyree, Iuri Frosio, Jan Kautz, "Importance Estimation for Neural
        Network Pruning", CVPR 2019, arXiv:1906.10771, section 3 (first-order expansion, joint importance of a set).

    Equations:
        I_i = mean over batches of (sum over s in S_i of g_s w_s)^2   -> `TaylorLoss.scores`
        sum over s of g_s w_s                                        -> `channel_sums`

    Notation:
        S_i: the parameters that make channel i.
        w_s, g_s: such a parameter, and the derivative of the batch's loss with respect to it.
        I_i: score of channel i, unit of the squared loss; over all layers at once, the smallest leave.

    Options:
        gate (str, default "filter"): whose parameters are S_i. "filter": weights and biases of the layers that make the
            channel. "norm": scale and shift of the norms that see it (the paper's gate behind batch norm, for ResNets);
            groups without such norms use the filters.

    Returns:
        One score >= 0 per channel of every group.

    Deviations:
        - The model is in evaluation mode. The paper takes the gradients while it fine-tunes, where a batch norm with
          batch statistics undoes any scaling of the filter before it, so that sum g w = 0 for every filter, whatever
          the filter does. With fixed statistics the sum is the derivative with respect to a gate on the channel.
        - S_i of a coupled group holds the parameters of all producers: one gate for the whole channel.
        - The plain mean over the given batches takes the place of a running mean with momentum during fine-tuning, and
          all channels leave in one step instead of a few per step.

    Raises:
        InvalidOption: `gate` is neither of the two.
        DataError: there are no labelled batches, or a batch's loss is infinite or not a number.

    Complexity: one forward and one backward pass per batch, memory for one gradient per weight of the groups.

    Example:
        One filter with weights 3 and 4, gradients 2 and -1: 3 * 2 - 4 = 2, so the batch adds 2^2 = 4.

        >>> every = TensorAxis("w", 0, (0,), (0,))
        >>> weights, gradients = torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, -1.0]])
        >>> channel_sums([every], {"w": weights}, {"w": gradients}, 1).square().tolist()
        [4.0]
    """

    summary: ClassVar[str] = "estimated change of the loss, from gradients on labelled batches"
    paper: ClassVar[str] = "Molchanov et al., Importance Estimation, CVPR 2019, arXiv:1906.10771"
    use_when: ClassVar[str] = "there are labelled images: a cheap estimate of what each channel is worth to the loss"
    needs: ClassVar[frozenset[str]] = frozenset({"data", "labels"})
    comparable: ClassVar[bool] = True

    gate: str = "filter"

    def __post_init__(self) -> None:
        if self.gate not in ("filter", "norm"):
            raise InvalidOption("taylor", "gate", "'filter' or 'norm'", self.gate)

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: mean squared gate gradients (n_channels,)}."""
        if context.batches is None:
            raise DataError("taylor: labelled batches are needed, but there are none. Give --data with labels.")
        parameters = dict(context.model.named_parameters(remove_duplicate=False))
        axes = {group.name: self._axes(context.model, group, parameters) for group in groups}
        used = {axis.tensor: parameters[axis.tensor] for found in axes.values() for axis in found}
        totals = {group.name: torch.zeros(group.n_channels, dtype=torch.float64) for group in groups}
        n_batches = 0
        with as_found(context.model, context.seed, used.values()):
            for inputs, labels in context.batches:
                gradients = loss_gradients("taylor", context, used, inputs, labels, f"batch {n_batches}")
                for name, total in totals.items():
                    total += channel_sums(axes[name], used, gradients, len(total)).square()
                n_batches += 1
        if not n_batches:
            raise DataError("taylor: at least one labelled batch is needed, but the data holds none. Check --data.")
        return score_groups([g for g in groups if axes[g.name]], lambda group: totals[group.name] / n_batches)

    def _axes(self, model: nn.Module, group: ChannelGroup, parameters: Mapping[str, Tensor]) -> list[TensorAxis]:
        norms = [axis for axis in norm_axes(model, group) if axis.tensor in parameters and axis.channel]
        return norms if norms and self.gate == "norm" else producer_axes(group, parameters)


PLUGIN = TaylorLoss
