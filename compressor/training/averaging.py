"""An average of the weights over the steps, which the model has in the end."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from compressor.training.checkpoint import tensors_of
from compressor.training.hooks import Hook, Moment


class WeightAveraging(Hook):
    """Exponential moving average: average <- d average + (1 - d) weights, with d = min(decay, (1 + t) / (10 + t)).

    The ramp lets early weights go soon; t is the number of steps. Running statistics of norms belong to the weights and
    are averaged with them.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> _ = layer.weight.data.fill_(1.0)
    >>> averaging = WeightAveraging(layer, 0.9)
    >>> _ = layer.weight.data.fill_(2.0)
    >>> averaging.after_step(Moment(step=0, n_steps=1, n_per_epoch=1, lr=0.1))
    >>> averaging.finish()
    >>> round(layer.weight.item(), 4)  # 0.1 * 1 + 0.9 * 2
    1.9
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """`decay` is above 0 and below 1."""
        self.options = decay
        self._decay = decay
        self._weights = {name: tensor for name, tensor in tensors_of(model).items() if tensor.is_floating_point()}
        self._averages = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def after_step(self, moment: Moment) -> None:
        """The weights as they are now go into the average."""
        decay = min(self._decay, (1 + moment.step) / (10 + moment.step))
        for name, weight in self._weights.items():
            self._averages[name].lerp_(weight, 1 - decay)

    @torch.no_grad()
    def finish(self) -> None:
        """The model has the average."""
        for name, weight in self._weights.items():
            weight.copy_(self._averages[name])

    def state(self) -> Mapping[str, Tensor]:
        """The averages by the names of the weights."""
        return self._averages

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Takes over the averages."""
        for name, average in self._averages.items():
            average.copy_(state[name])
