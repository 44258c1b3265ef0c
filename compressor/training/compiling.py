"""`torch.compile` where it pays: before the first step, a pass is timed compiled and as it is, in turns.

What it gives is fused element-wise work around the convolutions; what it costs is a second or two a layer, once. So
short trainings are left alone, and so are several processes, and losses on feature maps, whose hooks it would have to
break at.
"""

from __future__ import annotations

import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from compressor.core.errors import InvalidOption
from compressor.core.progress import Progress
from compressor.training.forward import class_scores
from compressor.training.recipe import ALWAYS

OWNER = "training"
_WORTH_S = 15.0  # of training a layer with parameters, below which compiling cannot pay
_ROUNDS = 5
_FASTER = 0.95  # of the time, at most
_NEAR = 1e-2  # of the largest score: more is another function

Context = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Calls:
    """What is called in the place of the model, and of the teacher where there is one."""

    model: nn.Module
    teacher: nn.Module | None
    compiled: tuple[bool, ...] = (False, False)


def worth_trying(model: nn.Module, step_s: float, n_steps: int) -> bool:
    """Whether the training is so long that compiling may pay.

    >>> worth_trying(nn.Linear(2, 2), step_s=0.1, n_steps=100), worth_trying(nn.Linear(2, 2), step_s=0.1, n_steps=200)
    (False, True)
    """
    n_layers = sum(1 for module in model.modules() if any(True for _ in module.parameters(recurse=False)))
    return step_s * n_steps >= _WORTH_S * n_layers


def as_before(model: nn.Module, teacher: nn.Module | None, compiled: Sequence[bool]) -> Calls:
    """The same as a run that this one goes on from had; nothing is timed."""
    made = model if not compiled[0] else _compiled(model)
    taught = teacher if teacher is None or not compiled[1] else _compiled(teacher)
    return Calls(made, taught, tuple(compiled))


def try_compiled(
    model: nn.Module,
    teacher: nn.Module | None,
    inputs: Tensor,
    context: Context,
    n_steps: int,
    wish: str,
    listener: Progress,
) -> Calls:
    """Compiles where that is faster, and tells; the models' weights and buffers are left as they are.

    Args:
        model: in training mode.
        teacher: in eval mode.
        inputs: as many images as go through the network at once.
        context: what passes run in (autocast).
        n_steps: passes still to come.
        wish: "auto", or "always": compiled without a look at the time.

    Raises:
        InvalidOption: "always", and it cannot be compiled here.
    """
    with _left_alone(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about itself
        backward = _Pass(model, inputs, context, backward=True)
        if wish != ALWAYS and not worth_trying(model, min(backward.seconds() for _ in range(3)), n_steps):
            return Calls(model, teacher)
        with listener.step("trying torch.compile"):
            made, found = _tried(backward, wish)
            if made is None and wish == ALWAYS:
                raise InvalidOption(OWNER, "--compile", "possible here", wish, f"{found} Leave --compile out.")
            listener.note(f"torch.compile is {'not ' if made is None else ''}used: {found}")
            if made is None:
                return Calls(model, teacher)
            taught = None
            if teacher is not None:
                taught, _ = _tried(_Pass(teacher, inputs, context, backward=False), wish)
    return Calls(made, taught or teacher, (True, taught is not None))


def _compiled(model: nn.Module) -> nn.Module:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no GPU is no news
    return cast(nn.Module, torch.compile(model))


def _tried(eager: _Pass, wish: str) -> tuple[nn.Module | None, str]:
    """The compiled module, or None where it is no gain; and what was found."""
    try:
        module = _compiled(eager.module)
        compiled = _Pass(module, eager.inputs, eager.context, eager.backward)
        scores = [each.run() for each in (eager, compiled, eager)]
    except Exception as error:  # no C++ compiler, an operator that the compiler does not know, ...
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return None, f"it failed ({reason})."
    repeats = torch.equal(scores[0], scores[2])  # else dropout or the like is in it
    if repeats and (scores[0] - scores[1]).abs().max() > _NEAR * scores[0].abs().max():
        return None, "it computes something else."
    pairs = [(eager.seconds(), compiled.seconds()) for _ in range(_ROUNDS)]
    gain = statistics.median(before / after for before, after in pairs)
    return (module if wish == ALWAYS or gain >= 1 / _FASTER else None), f"a pass is {gain:.2f} times as fast with it."


@dataclass(frozen=True)
class _Pass:
    """One pass of a module, forward and, of what is trained, backward."""

    module: nn.Module
    inputs: Tensor
    context: Context
    backward: bool

    def run(self) -> Tensor:
        """The scores, (N, K) float32."""
        with torch.set_grad_enabled(self.backward):
            with self.context():
                scores = class_scores(self.module(self.inputs), OWNER)
            scores = scores.float()
            if self.backward:
                scores.square().mean().backward()
        if self.inputs.device.type == "cuda":
            torch.cuda.synchronize(self.inputs.device)
        return scores.detach()

    def seconds(self) -> float:
        """Of one run."""
        begin = time.perf_counter()
        self.run()
        return time.perf_counter() - begin


@contextmanager
def _left_alone(model: nn.Module) -> Iterator[None]:
    """Buffers (running statistics) are put back, gradients and random numbers go."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = [buffer.device for buffer in model.parameters() if buffer.device.type == "cuda"][:1]
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            model.zero_grad()
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    buffer.copy_(before[name])
