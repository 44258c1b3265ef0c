"""The hooks in a training loop that is not ours: two calls an update, around the optimizer's step.

guide = compressor.regularize(model, images, "proximal_slimming", epochs=30, steps_per_epoch=len(loader))
for images, labels in loader:                     # of each epoch
    optimizer.zero_grad()
    loss(model(images), labels).backward()
    guide.before_step(optimizer)
    optimizer.step()
    guide.after_step(optimizer)
small = compressor.compress(model, images, importance=guide.channels(), macs=0.5)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.training.channel_hook import ChannelHook
from compressor.training.hooks import Hook, Moment

_STEP = "step"


class OwnLoop:
    """Counts updates and calls the hooks when their time has come; the run's last update finishes them.

    Example:
        A scale of 1 under an l1 penalty of 0.5 and no other loss, one update with a learning rate of 0.1:

        >>> from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis
        >>> from compressor.training.regularizers.network_slimming import NetworkSlimming
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(1))
        >>> axis = TensorAxis("0.weight", 0, (0,), (0,))
        >>> group = ChannelGroup("conv", 1, (GroupMember("0", "BatchNorm1d", Role.CHANNELWISE, (0,), (0,), (axis,)),))
        >>> hook = NetworkSlimming(strength=0.5).attach(model, [group], seed=0, n_images=1)
        >>> guide = OwnLoop([hook], epochs=1, steps_per_epoch=1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> model[0].weight.grad = torch.zeros(1)
        >>> guide.before_step(optimizer)
        >>> optimizer.step()
        >>> guide.after_step(optimizer)
        >>> round(model[0].weight.item(), 4), guide.finished
        (0.95, True)
    """

    def __init__(self, hooks: Sequence[Hook], epochs: int, steps_per_epoch: int) -> None:
        """
        Args:
            hooks: attached to the model, in the order in which they act.
            epochs, steps_per_epoch: of the whole training, at least 1; schedules and the end depend on them.

        Raises:
            InvalidOption: one of them is below 1.
        """
        for option, value in (("epochs", epochs), ("steps_per_epoch", steps_per_epoch)):
            if value < 1:
                raise InvalidOption("regularize", option, "at least 1", value)
        self._hooks, self._n_steps, self._n_per_epoch = tuple(hooks), epochs * steps_per_epoch, steps_per_epoch
        self._step = 0

    @property
    def finished(self) -> bool:
        """Whether the model is what the hooks make of it in the end."""
        return self._step >= self._n_steps

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Call it after `backward` (unscaled, where gradients are scaled) and before `optimizer.step`.

        Raises:
            InvalidOption: more updates than were said.
        """
        moment = self._moment(optimizer)
        penalties = [penalty for hook in self._hooks if (penalty := hook.penalty(moment)) is not None]
        if penalties:
            torch.stack(penalties).sum().backward()
        for hook in self._hooks:
            hook.before_step(moment)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Call it after `optimizer.step`; the last one of an epoch and of the run do what is due then."""
        moment = self._moment(optimizer)
        for hook in self._hooks:
            hook.after_step(moment)
        self._step += 1
        if self._step % self._n_per_epoch == 0:
            for hook in self._hooks:
                hook.end_epoch(moment)
        if self.finished:
            for hook in self._hooks:
                hook.finish()

    def channels(self) -> dict[str, Tensor]:
        """{group: importance (n_channels,)} as it is now, for `compressor.compress(..., importance=...)`.

        Raises:
            UnsupportedModel: none of the hooks says anything of channels.
        """
        for hook in self._hooks:
            if isinstance(hook, ChannelHook):
                return hook.channels()
        raise UnsupportedModel("regularize: what was chosen says nothing of channels. `compress methods` lists others.")

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that later updates depend on, to be saved with the model's and the optimizer's."""
        states = {_STEP: torch.tensor(self._step)}
        for number, hook in enumerate(self._hooks):
            states |= {f"{number}.{name}": tensor.detach().clone() for name, tensor in hook.state().items()}
        return states

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from there; the model's weights have to be loaded, too."""
        self._step = int(state[_STEP])
        for number, hook in enumerate(self._hooks):
            prefix = f"{number}."
            hook.restore({name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)})

    def _moment(self, optimizer: torch.optim.Optimizer) -> Moment:
        if self.finished:
            raise InvalidOption(
                "regularize",
                "epochs",
                f"the training's whole length ({self._n_steps} updates are over)",
                "more updates",
            )
        return Moment(self._step, self._n_steps, self._n_per_epoch, float(optimizer.param_groups[0]["lr"]))
