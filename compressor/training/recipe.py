"""How a training run goes, apart from what it minimises."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.core.errors import InvalidOption

AUTO, ALWAYS, NEVER = "auto", "always", "never"
PRECISIONS = (AUTO, "float32", "bfloat16")
COMPILING = (AUTO, ALWAYS, NEVER)


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum under a one-cycle learning rate.

    Options:
        epochs: passes over the data, at least 1.
        lr: peak learning rate, above 0.
        batch_size: images a step, over all processes together, at least 2 (batch norm needs two).
        momentum: 0 to below 1.
        weight_decay: at least 0; not applied to biases and norm layers (parameters with one axis).
        warmup: share of all steps in which the learning rate rises, 0 to below 1.
        accumulate: parts in which a step's images go through the network, at least 1, for those that do not fit into
            memory together; norm layers see a part at a time. 0: as few as the free memory allows.
        clip_norm: largest length of all gradients together, above 0; 0: as they are.
        averaging: of the weights over the steps, as `averaging.WeightAveraging` does it, 0 to below 1; 0: none.
        precision: of the forward and backward passes, "float32", "bfloat16", or "auto": bfloat16 where the device
            multiplies it faster. Weights and updates stay float32.
        compile: whether `torch.compile` makes the passes: "auto" where it was timed and is faster, and the training is
            long enough for it to pay; "always" or "never". Its results differ from the others in the last digits.
        seed: orders and augmentations follow from it.
        checkpoint_minutes: between checkpoints inside an epoch, at least 0; each epoch ends with one anyway.
    """

    epochs: int = 3
    lr: float = 0.05
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.1
    accumulate: int = 0
    clip_norm: float = 0.0
    averaging: float = 0.0
    precision: str = AUTO
    compile: str = AUTO
    seed: int = 0
    checkpoint_minutes: float = 5.0

    def __post_init__(self) -> None:
        limits: tuple[tuple[str, bool, str], ...] = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("lr", 0 < self.lr < float("inf"), "above 0"),
            ("batch_size", self.batch_size >= 2, "at least 2"),
            ("momentum", 0 <= self.momentum < 1, "from 0 to below 1"),
            ("weight_decay", 0 <= self.weight_decay < float("inf"), "at least 0"),
            ("warmup", 0 <= self.warmup < 1, "from 0 to below 1"),
            ("accumulate", self.accumulate >= 0, "at least 0"),
            ("clip_norm", 0 <= self.clip_norm < float("inf"), "at least 0"),
            ("averaging", 0 <= self.averaging < 1, "from 0 to below 1"),
            ("precision", self.precision in PRECISIONS, " or ".join(PRECISIONS)),
            ("compile", self.compile in COMPILING, " or ".join(COMPILING)),
            ("checkpoint_minutes", self.checkpoint_minutes >= 0, "at least 0"),
        )
        for option, holds, allowed in limits:
            if not holds:
                raise InvalidOption("training", option, allowed, getattr(self, option))
