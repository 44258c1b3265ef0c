"""The constant that removed channels leave behind goes into the next bias."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressor.core.errors import InvalidOption
from compressor.core.groups import Role
from compressor.core.plan import PruningPlan
from compressor.core.protocols import RecoveryContext
from compressor.core.tensors import exact
from compressor.graph.cost import evaluating
from compressor.recovery._bias import LAYERS, add_to_outputs, norms_behind
from compressor.recovery._channels import CutGroup, cut_groups, spread
from compressor.recovery._gaussian import gaussian_means
from compressor.recovery._images import CalibrationImages
from compressor.recovery._reading import reading
from compressor.training.forward import borrowed

OWNER = "bias_absorption"
TRANSPOSED = nn.modules.conv._ConvTransposeNd


@dataclass(frozen=True)
class BiasAbsorption:
    """Each layer that read removed channels returns what they brought in on the average.

    Paper: none; the step is common. Without images, the mean behind a ReLU is that of a rectified Gaussian, as in
        Markus Nagel, Mart van Baalen, Tijmen Blankevoort, Max Welling, "Data-Free Quantization Through Weight
        Equalization and Bias Correction", ICCV 2019, arXiv:1906.04721 (bias correction).

    Equations:
        delta_o = sum over channels i and taps k of (V_oik - V'_oik) * c_i                  -> `constant_left_behind`
        c_i = mean of what the layer reads in the original, over images and positions      -> `_reading.reading`
        c_i = E f(beta_i + gamma_i z), z from a Gaussian; for f = relu and |gamma_i| > 0:
              |gamma_i| * phi(beta_i / |gamma_i|) + beta_i * Phi(beta_i / |gamma_i|)       -> `_gaussian.gaussian_means`

    Notation:
        V: the layer's weight in the original, (C_out, C_in, kH, kW); V': in the small model, with zeros where it was
        cut. c: (C_in,), delta: (C_out,), in the unit of the activation. beta, gamma: shift and scale of the batch norm
        behind channel i; f: what lies between it and the layer. phi, Phi: density and distribution of the Gaussian.

    Options:
        n_images: int, at least 1, default 512: read where there is data.
        batch_size: int, at least 1, default 64; only where a dataset is given, batches from Python stay as they are.

    Returns:
        The report's facts: layers, where the means are from, images; layers that have no place for a constant, and
        channels whose mean is not known.

    Deviations:
        - V' stands in the formula so that what another recovery has put into weights (merging) is not added twice.
          Apply it once, and before batch norms are re-estimated, which takes the same constant in.
        - Exact for channels that are constant, but for borders: where a layer pads with zeros, its outputs there miss
          some taps. A transposed convolution with a stride has taps that not every output sees; the mean is taken.
        - Without images: channels that several layers add up are taken to be independent of each other; a channel
          without a batch norm is known only if its weights are zero, and else left out.
        - The constant goes into the layer's bias, or into the running mean of a batch norm that is given exactly what
          the layer returns. A layer with neither is left out, for the model gets no new parameters.

    Raises:
        InvalidOption: an option out of range.
        DataError: batches that the model does not accept, or none.
        UnsupportedModel: a weight is not finite.

    Complexity: one pass over the images, or 33 passes of the example inputs.

    Example:
        One output, which reads 2 and 3 times two channels with the means 10 and 100. The second was removed:

        >>> layer = torch.nn.Linear(2, 1)
        >>> whole, cut = torch.tensor([[2.0, 3.0]]), torch.tensor([[2.0, 0.0]])
        >>> constant_left_behind(layer, whole - cut, torch.tensor([10.0, 100.0])).tolist()
        [300.0]
    """

    summary: ClassVar[str] = "the constant that removed channels leave behind goes into the next bias; no training"
    paper: ClassVar[str] = ""
    use_when: ClassVar[str] = "removed channels are nearly constant, as after network slimming; elsewhere it may harm"
    needs: ClassVar[frozenset[str]] = frozenset()

    n_images: int = 512
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.n_images < 1:
            raise InvalidOption(OWNER, "n_images", "at least 1", self.n_images)
        if self.batch_size < 1:
            raise InvalidOption(OWNER, "batch_size", "at least 1", self.batch_size)

    def apply(self, context: RecoveryContext, progress: Any) -> dict[str, float | int | str]:
        """Changes biases and running means of `context.model`, nothing else; no labels are read."""
        plan, inputs, original = context.plan, context.inputs, context.original
        if plan is None or inputs is None:
            reason = "it is not known what was cut, or with which example inputs the model runs"
            progress.note(f"{OWNER}: {reason}; nothing to do.")
            return {"skipped": reason}
        cuts = cut_groups(plan, context.groups)
        layers = _readers(original, cuts)
        with evaluating(context.model):
            norms = norms_behind(context.model, inputs)
        facts: dict[str, float | int | str] = {"layers": 0}
        if context.train is None and context.batches is None:
            means = gaussian_means(original, [cut.group for cut in cuts], layers, inputs, context.seed)
            facts["means_from"] = "batch norms"
        else:
            means, n_images = self._measured(context, layers, progress)
            facts |= {"means_from": "images", "images": n_images}
        no_place, n_unknown = [layer for layer in layers if layer not in means], 0
        for layer, (mean, known) in means.items():
            name = f"{layer}.weight"
            module = original.get_submodule(layer)
            missing = exact(original, name) - spread(exact(context.model, name), name, plan)
            n_unknown += int((~known & _removed(layer, cuts, len(known))).sum())
            constant = constant_left_behind(module, missing, torch.where(known, mean, 0.0))
            if add_to_outputs(context.model, layer, constant[_kept_outputs(module, name, plan)], norms):
                facts["layers"] = int(facts["layers"]) + 1
            else:
                no_place.append(layer)
        if no_place:
            facts["no_place"] = ", ".join(no_place)
            progress.note(
                f"{OWNER}: {', '.join(no_place)}: nothing is added, for lack of a bias and of a batch norm behind, or "
                "because the layer's weight is used without calling it. With images, use bn_reestimate instead."
            )
        if n_unknown:
            facts["inputs_unknown"] = n_unknown
            progress.note(
                f"{OWNER}: {n_unknown} inputs of layers from removed channels are left out: without images their mean "
                "is not known, as no batch norm stands behind them. Give images with --data."
            )
        return facts

    def _measured(
        self, context: RecoveryContext, layers: Sequence[str], progress: Any
    ) -> tuple[dict[str, tuple[Tensor, Tensor]], int]:
        """{layer: (mean (C_in,), all known)} over at most `n_images` images, and how many there were."""
        original, images = context.original, CalibrationImages.of(OWNER, context, self.n_images, self.batch_size)
        with (
            borrowed(original, context.device),
            progress.step("reading what channels bring in", len(images)) as step,
            torch.no_grad(),
            reading(original, layers) as found,
        ):
            for inputs in images:
                inputs.call(original)
                step.advance(inputs.batch_size)
        means = {layer: each.mean for layer, each in found.items()}
        known = {layer: (mean, torch.ones_like(mean, dtype=torch.bool)) for layer, mean in means.items()}
        return known, len(images)


def constant_left_behind(layer: nn.Module, missing: Tensor, mean: Tensor) -> Tensor:
    """What a layer would return more with the weights `missing` (as its weight's shape) on constants `mean` (C_in,)."""
    groups = int(getattr(layer, "groups", 1))
    taps = missing.flatten(2).sum(2) if missing.dim() > 2 else missing  # (C_out, C_in / groups)
    if isinstance(layer, TRANSPOSED):
        blocks = taps.unflatten(0, (groups, -1)).transpose(1, 2) / math.prod(layer.stride)  # (groups, C_out/g, C_in/g)
    else:
        blocks = taps.unflatten(0, (groups, -1))
    return torch.einsum("goi,gi->go", blocks, mean.to(blocks).unflatten(0, (groups, -1))).flatten()


def _readers(model: nn.Module, cuts: Sequence[CutGroup]) -> list[str]:
    modules = dict(model.named_modules())
    names = dict.fromkeys(member.layer for cut in cuts for member in cut.group.having(Role.CONSUMER))
    return [name for name in names if isinstance(modules.get(name), LAYERS)]


def _removed(layer: str, cuts: Sequence[CutGroup], n_inputs: int) -> Tensor:
    """Which of the layer's inputs are removed channels: (C_in,) bool."""
    removed = torch.zeros(n_inputs, dtype=torch.bool)
    for cut in cuts:
        gone = set(cut.gone.tolist())
        for member in cut.group.having(Role.CONSUMER):
            if member.layer == layer:
                places = [p for p, channel in zip(member.position, member.channel, strict=True) if channel in gone]
                removed[places] = True
    return removed


def _kept_outputs(layer: nn.Module, weight: str, plan: PruningPlan) -> Tensor | slice:
    """Which of the original layer's outputs the small one still has."""
    axis = 1 if isinstance(layer, TRANSPOSED) else 0
    for cut in plan.cuts:
        if cut.tensor == weight and cut.axis == axis:
            n_blocks = int(getattr(layer, "groups", 1)) if axis else 1  # axis 1 holds one block's outputs
            starts = torch.arange(n_blocks)[:, None] * cut.size
            return (starts + torch.tensor(cut.keep)).flatten()
    return slice(None)


PLUGIN = BiasAbsorption
