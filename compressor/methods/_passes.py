"""Passes through a model that is left as it was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from compressor.core.errors import DataError
from compressor.core.protocols import MethodContext


@contextmanager
def as_found(model: nn.Module, seed: int, parameters: Iterable[nn.Parameter] = ()) -> Iterator[None]:
    """Evaluation mode with gradients for `parameters`; modes, buffers and random state are put back afterwards."""
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]  # some layers write them in evaluation mode too
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(list(devices)), torch.enable_grad():
        torch.manual_seed(seed)  # a model may draw numbers in evaluation mode too
        model.eval()
        try:
            for parameter in frozen:
                parameter.requires_grad_(True)
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            for module, training in modes.items():
                module.training = training


def loss_gradients(
    method: str,
    context: MethodContext,
    parameters: Mapping[str, nn.Parameter],
    inputs: Tensor,
    labels: Tensor,
    what: str,
) -> dict[str, Tensor]:
    """The derivative of the loss on `inputs` with respect to each of `parameters`; `.grad` is not touched.

    Raises:
        DataError: the loss is infinite or not a number; `what` says on which inputs.
    """
    device = next(context.model.parameters()).device
    loss_of = context.loss or nn.functional.cross_entropy
    loss = loss_of(context.model(inputs.to(device)), labels.to(device))
    if not bool(loss.isfinite()):
        raise DataError(
            f"{method}: the loss must be a finite number, but on {what} it is {loss.item()}. "
            "Check the labels and the normalisation of the inputs."
        )
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))
