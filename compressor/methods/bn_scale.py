"""Batch-norm scales: the selection of network slimming."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods._weights import norm_scales, score_groups


@dataclass(frozen=True)
class NormScale:
    """A channel that its batch norm multiplies by little carries little, so it leaves first.

    Paper: Zhuang Liu, Jianguo Li, Zhiqiang Shen, Gao Huang, Shoumeng Yan, Changshui Zhang, "Learning Efficient
        Convolutional Networks through Network Slimming", ICCV 2017, arXiv:1708.06519, section 3.

    Equations:
        z_out = gamma * (z_in - mu) / sqrt(sigma^2 + eps) + beta; score |gamma|   -> `norm_scales`

    Notation:
        gamma, beta: the norm's scale and shift, (n_channels,), no unit.
        |gamma_i|: score of channel i; over all layers at once, the smallest leave.

    Options: none.

    Returns:
        One score >= 0 per channel of every group in which a norm with a scale sees each channel; others are absent.

    Deviations:
        - The paper trains with an L1 penalty on gamma first. Without such training the scales say less.
        - Any norm with a scale per channel counts (GroupNorm, LayerNorm, RMSNorm, ...), not batch norm alone.
        - Where several norms see a channel (residual streams, dense blocks), the score is the mean of |gamma|. The
          paper leaves residual streams whole and gives every reader of a dense block a mask of its own.
        - The shift beta of a channel that leaves is dropped with it, as in the paper.

    Raises:
        UnsupportedModel: a scale is infinite or not a number.

    Complexity: O(channels).

    Example:
        >>> import torch
        >>> from compressor.core.groups import GroupMember, Role, TensorAxis
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
        >>> _ = model[0].weight.data.copy_(torch.tensor([-2.0, 0.5, 1.0]))
        >>> every = (0, 1, 2)
        >>> axis = TensorAxis("0.weight", 0, every, every)
        >>> group = ChannelGroup("conv", 3, (GroupMember("0", "BatchNorm2d", Role.CHANNELWISE, every, every, (axis,)),))
        >>> NormScale().scores([group], MethodContext(model))["conv"].tolist()
        [2.0, 0.5, 1.0]
    """

    summary: ClassVar[str] = "size of the batch-norm scale (network slimming)"
    paper: ClassVar[str] = "Liu et al., Network Slimming, ICCV 2017, arXiv:1708.06519"
    use_when: ClassVar[str] = "the model was trained with sparse batch-norm scales (network slimming)"
    needs: ClassVar[frozenset[str]] = frozenset({"norm"})
    comparable: ClassVar[bool] = True

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: |gamma| (n_channels,)}; groups without a norm are absent."""
        return score_groups(groups, lambda group: norm_scales(context.model, group))


PLUGIN = NormScale
