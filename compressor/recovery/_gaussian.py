"""What layers read on the average, without data: batch norms remember the mean and deviation of their results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from compressor.calibration.norms import BatchNorm
from compressor.core.groups import ChannelGroup, Role
from compressor.graph.cost import evaluating
from compressor.recovery._reading import reading
from exporters.signature import ExampleInputs

N_SLICES = 32
TOLERANCE = 1e-5  # of the largest value: what a channel may differ between inputs that it does not depend on


def gaussian_means(
    model: nn.Module, groups: Sequence[ChannelGroup], layers: Sequence[str], inputs: ExampleInputs, seed: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """What each of `layers` reads if the groups' batch norms return beta + gamma * z with z from a Gaussian.

    Each norm returns a constant per channel, of which the whole model makes what the layers read; the mean is over
    `N_SLICES` such constants, one for each equal slice of the Gaussian, in an order of its own for every norm, so that
    what is added up is independent.

    Returns:
        {layer: (mean (C_in,), known (C_in,) bool)}: a channel is known if it does not depend on the model's inputs. So
        is one that no batch norm stands behind, if its weights are zero.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = {
        member.layer: model.get_submodule(member.layer)
        for group in groups
        for member in group.having(Role.CHANNELWISE)
        if _is_norm(model, member.layer)
    }
    slices = slice_means(N_SLICES)
    order = {name: slices[torch.randperm(N_SLICES, generator=generator)] for name in norms}
    with evaluating(model), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        means = [
            _means(model, {name: _constant(norm, order[name][k]) for name, norm in norms.items()}, layers, inputs)
            for k in range(N_SLICES)
        ]
        first = {name: _constant(norm, order[name][0]) for name, norm in norms.items()}
        other = _means(model, first, layers, inputs.random(inputs.batch_size, seed))
    found = {}
    for layer, value in means[0].items():
        scale = torch.maximum(value.abs(), other[layer].abs())
        known = (value - other[layer]).abs() <= TOLERANCE * scale
        found[layer] = torch.stack([mean[layer] for mean in means]).mean(0), known
    return found


def slice_means(n: int) -> Tensor:
    """The mean of a standard Gaussian in each of n slices that are equally likely: (n,) double, ascending."""
    gaussian = torch.distributions.Normal(torch.tensor(0.0).double(), torch.tensor(1.0).double())
    edges = gaussian.icdf(torch.arange(n + 1).double() / n)  # from -inf to inf
    density = torch.exp(-edges.square() / 2) / math.sqrt(2 * math.pi)
    return (density[:-1] - density[1:]) * n


def _is_norm(model: nn.Module, layer: str) -> bool:
    modules = dict(model.named_modules())
    return isinstance(modules.get(layer), BatchNorm) and modules[layer].running_mean is not None


def _constant(norm: nn.Module, z: Tensor) -> Tensor:
    """beta + gamma * z of every channel: (C,)."""
    gamma, beta = norm.weight, norm.bias
    if not isinstance(gamma, Tensor) or not isinstance(beta, Tensor):  # affine=False
        return torch.full_like(torch.as_tensor(norm.running_mean), float(z))
    return beta.detach() + gamma.detach() * z.to(gamma)


def _means(
    model: nn.Module, constants: Mapping[str, Tensor], layers: Sequence[str], inputs: ExampleInputs
) -> dict[str, Tensor]:
    with _returning(model, constants), reading(model, layers) as found:
        inputs.call(model)
    return {layer: each.mean for layer, each in found.items()}


@contextmanager
def _returning(model: nn.Module, constants: Mapping[str, Tensor]) -> Iterator[None]:
    """These norms return these constants, whatever they are given."""
    handles = []
    for name, constant in constants.items():

        def replace(_module: nn.Module, _args: object, output: Tensor, constant: Tensor = constant) -> Tensor:
            return constant.reshape(-1, *[1] * (output.dim() - 2)).expand_as(output).clone()

        handles.append(model.get_submodule(name).register_forward_hook(replace))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
