"""Filters that are orthonormal, so that what several of them are worth is the sum of what each is worth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.groups import ChannelGroup, Role
from compressor.training.hooks import Hook, Moment

OWNER = "orthoreg"
NO_MATRIX = "no trained weight makes its channels."


@dataclass(frozen=True)
class OrthoReg:
    """Rows of each layer's matrix are pushed to length 1 and right angles before channels are judged and removed.

    Paper: Ekdeep Singh Lubana, Puja Trivedi, Conrad Hougen, Robert P. Dick, Alfred O. Hero, "OrthoReg: Robust Network
        Pruning Using Orthonormality Regularization", 2020, arXiv:2009.05014.

    Equations:
        M_l = [W_l | b_l]                                                           -> `Filters.matrices`
        R_l = sum over i, j of |M_l M_l^T - I|_ij, or of |M_l^T M_l - I|_ij where M_l has more rows than columns
                                                                                    -> `distance`
        a_l = sqrt(d_l) / sum over layers of sqrt(d), penalty lambda sum over l of a_l R_l   -> `OrthoReg.attach`
        Share that round r of R removes of what is left, for p in all: p / (r p + R (1 - p))  -> `round_ratio`

    Notation:
        W_l: filters of layer l, one a row, (C_out, C_in*kH*kW); b_l: its bias, a column, if it has one.
        d_l: the smaller side of M_l; I: identity; lambda: `strength`. Sums are over entries, no unit.

    Options:
        strength (float, default 0.01): above 0. The authors: 0.01, and 0.001 for MobileNet. Smaller for layers that are
            much wider than theirs, as R_l grows with the square of the width.

    Returns:
        `attach`: the hook. It has no `channels`, as every filter is kept at length 1: the method `orthoreg` scores them
        after this training.

    Deviations:
        - The layers that make channels of the given groups; depthwise kernels are left out. Transposing is by shape,
          where the authors name the layers.
        - A grouped convolution is one matrix for each of its blocks, as filters of different blocks read different
          channels.
        - The authors train without weight decay meanwhile; a hook cannot turn it off, so set it to 0 in the recipe.

    Raises:
        InvalidOption: an option is out of range.
        UnsupportedModel: no trained weight makes channels of any group.

    Complexity: O(C_out^2 C_in kH kW) a layer and step.

    Example:
        Rows (1, 0) and (0, 2) are orthogonal, and the second is too long: M M^T - I = diag(0, 3).

        >>> distance(torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])).item()
        3.0
        >>> left = 1.0
        >>> for number in (1, 2, 3):
        ...     left *= 1 - round_ratio(0.75, number, 3)
        >>> round(left, 6)
        0.25
    """

    summary: ClassVar[str] = "orthonormal filters, so that the importance of channels adds up"
    paper: ClassVar[str] = "Lubana et al., OrthoReg, 2020, arXiv:2009.05014"
    use_when: ClassVar[str] = "many channels leave at once, and the method orthoreg will choose them"
    needs: ClassVar[frozenset[str]] = frozenset()

    strength: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.strength < math.inf:
            raise InvalidOption(OWNER, "strength", "a finite number above 0", self.strength)

    def attach(self, model: nn.Module, groups: Sequence[ChannelGroup], *, seed: int, n_images: int) -> OrthonormalHook:
        """The hook at work on `model`."""
        layers: dict[int, Filters] = {}
        left_alone = {}
        for group in groups:
            found = {id(each.weight): each for each in _filters(model, group)}
            layers.update(found)
            if not found:
                left_alone[group.name] = NO_MATRIX
        if not layers:
            raise UnsupportedModel(
                f"{OWNER}: a trained weight must make the channels of some group, but none does "
                f"(looked at: {', '.join(left_alone) or 'no groups at all'}). Set requires_grad on the filters."
            )
        roots = {key: math.sqrt(each.smaller_side) for key, each in layers.items()}
        weighted = [(self.strength * roots[key] / sum(roots.values()), each) for key, each in layers.items()]
        return OrthonormalHook(self, weighted, left_alone)


@dataclass(frozen=True, eq=False)
class Filters:
    """The filters of one layer."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    axis: int  # of the weight, along which the layer's channels lie
    n_blocks: int  # of a grouped convolution

    def matrices(self) -> Tensor:
        """One filter a row, one matrix a block, with gradient: (n_blocks, filters, entries)."""
        if self.n_blocks == 1:
            rows = self.weight.movedim(self.axis, 0).flatten(1)[None]  # (1, filters, entries)
        else:
            rows = self.weight.unflatten(0, (self.n_blocks, -1)).movedim(self.axis + 1, 1).flatten(2)
        if self.bias is None:
            return rows
        return torch.cat([rows, self.bias.view(self.n_blocks, -1, 1)], dim=2)

    @property
    def smaller_side(self) -> int:
        """Of all matrices together."""
        return self.n_blocks * min(self.matrices().shape[1:])


def distance(matrices: Tensor) -> Tensor:
    """How far rows (or columns, if they are fewer) are from orthonormal: (n, rows, columns) -> scalar."""
    narrow = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    products = narrow @ narrow.mT  # (n, side, side)
    return (products - torch.eye(narrow.shape[1], dtype=products.dtype, device=products.device)).abs().sum()


def round_ratio(ratio: float, number: int, n_rounds: int) -> float:
    """Share of the channels still there that round `number` (from 1) removes, for `ratio` of all after `n_rounds`.

    Raises:
        InvalidOption: the ratio is not from 0 to 1, or there is no such round.
    """
    if not 0 <= ratio <= 1:
        raise InvalidOption(OWNER, "ratio", "from 0 to 1", ratio)
    if not 1 <= number <= n_rounds:
        raise InvalidOption(OWNER, "number", f"a round from 1 to {n_rounds}", number)
    return ratio / (number * ratio + n_rounds * (1 - ratio))


def _filters(model: nn.Module, group: ChannelGroup) -> Iterator[Filters]:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for member in group.having(Role.PRODUCER):
        for axis in member.axes:
            weight = parameters.get(axis.tensor)
            if weight is None or weight.dim() < 2 or not weight.requires_grad or not axis.channel:
                continue
            layer, _, leaf = axis.tensor.rpartition(".")
            module = model.get_submodule(layer)
            n_blocks = module.groups if isinstance(module, _ConvNd) else 1
            bias = parameters.get(axis.tensor.removesuffix("weight") + "bias") if leaf.endswith("weight") else None
            n_filters = weight.shape[axis.axis] * (n_blocks if axis.axis else 1)
            yield Filters(weight, bias if bias is not None and len(bias) == n_filters else None, axis.axis, n_blocks)


class OrthonormalHook(Hook):
    """The penalty at work on one model.

    Attributes:
        options: the regulariser that it is of.
        left_alone: {group: why nothing is asked of it}.
    """

    def __init__(
        self, options: OrthoReg, weighted: Sequence[tuple[float, Filters]], left_alone: Mapping[str, str]
    ) -> None:
        self.options, self.left_alone = options, dict(left_alone)
        self._weighted = weighted

    def penalty(self, moment: Moment) -> Tensor:
        """lambda sum of a_l R_l, scalar."""
        return torch.stack([factor * distance(layer.matrices()) for factor, layer in self._weighted]).sum()


PLUGIN = OrthoReg
