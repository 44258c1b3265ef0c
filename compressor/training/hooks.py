"""What may act inside a training run besides its losses, and when.

    forward pass -> losses + `penalty` -> backward -> `before_step` -> optimizer -> `after_step` ... -> `end_epoch`
    ... -> `finish`

The training loop calls these, and users with a loop of their own call the same ones from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Moment:
    """Where a training run is."""

    step: int  # 0 at the first update
    n_steps: int  # of the whole run
    n_per_epoch: int  # updates an epoch
    lr: float  # of this update

    @property
    def epoch(self) -> int:
        """0 in the first."""
        return self.step // self.n_per_epoch


class Hook:
    """One regulariser, proximal step or schedule at work on one model; does nothing where nothing is overridden.

    Everything that it remembers is in `state`, so that a run that was killed goes on to the same result.

    Attributes:
        options: what tells this hook from others of its kind, with a `repr` that is equal for equal options: a run goes
            on only with the hooks that it began with.
    """

    options: object = None

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}({self.options!r})"

    def penalty(self, moment: Moment) -> Tensor | None:
        """A scalar that is added to the loss after the forward pass, with gradient."""
        return None

    def before_step(self, moment: Moment) -> None:
        """Gradients of the losses are there and may be changed; the optimizer has not stepped."""

    def after_step(self, moment: Moment) -> None:
        """The optimizer has stepped: proximal maps and projections act on the weights."""

    def end_epoch(self, moment: Moment) -> None:
        """After the last step of an epoch: schedules and changes of the structure."""

    def finish(self) -> None:
        """After the last step of the run: the model becomes what the method says that it is."""

    def state(self) -> Mapping[str, Tensor]:
        """Everything that later steps depend on, by name; copies are not needed."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Takes over what `state` gave in a run of the same options."""

    def sparsity(self) -> float | None:
        """Share of the channels (or ranks) that could leave now, 0 to 1, for the progress bar; None: no such thing."""
        return None
