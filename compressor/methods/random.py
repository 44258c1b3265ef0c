"""Random channels: what every other method must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods._seeds import group_generator


@dataclass(frozen=True)
class RandomChannels:
    """Scores that are drawn, not computed.

    Paper: Deepak Mittal, Shweta Bhardwaj, Mitesh M. Khapra, Balaraman Ravindran, "Recovering from Random Pruning: On
        the Plasticity of Deep Convolutional Neural Networks", WACV 2018, arXiv:1801.10447. After fine-tuning, random
        filters came close to published criteria there, so a method is worth its cost only if it beats this one.

    Equations:
        u_i ~ U[0, 1)   -> `RandomChannels.scores`

    Notation:
        u_i: score of channel i, no unit.

    Options: none; the run's seed decides.

    Returns:
        One score in [0, 1) per channel of every group.

    Deviations: every channel of a coupled group gets one number; the paper draws filters layer by layer.

    Raises: nothing.

    Complexity: O(channels).

    Example:
        The scores of a group depend on the seed and its name, not on the groups beside it:

        >>> from torch import nn
        >>> one, two = (ChannelGroup(name, 3, ()) for name in ("conv1", "conv2"))
        >>> context = MethodContext(nn.Identity(), seed=5)
        >>> alone = RandomChannels().scores([two], context)
        >>> torch.equal(alone["conv2"], RandomChannels().scores([one, two], context)["conv2"])
        True
    """

    summary: ClassVar[str] = "random channels; the baseline that a method must beat"
    paper: ClassVar[str] = "Mittal et al., Recovering from Random Pruning, WACV 2018, arXiv:1801.10447"
    use_when: ClassVar[str] = "a baseline is needed that another method must beat"
    needs: ClassVar[frozenset[str]] = frozenset()
    comparable: ClassVar[bool] = True

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: uniform numbers (n_channels,)}."""
        drawn = {g.name: group_generator(context.seed, g.name).random(g.n_channels, "float32") for g in groups}
        return {name: torch.from_numpy(values) for name, values in drawn.items()}


PLUGIN = RandomChannels
