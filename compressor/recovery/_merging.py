"""Lets consumers read kept channels in place of removed ones, and finds out where that can be exact.

It can where a channel that is S > 0 times another one when it is made is still S times that one when it is read. That
holds behind ReLU, LeakyReLU, pooling, flattening and additions that take part in full; it does not behind SiLU or GELU,
a clipping ReLU6, a norm over channels, or a depthwise convolution, which treats each channel in its own way. So it is
tried out: removed channels are made such multiples of kept ones, and merging them must leave the outputs alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.core.groups import ChannelGroup, Role, TensorAxis
from compressor.core.tensors import tensor_named
from compressor.graph.cost import evaluating
from compressor.recovery._channels import CutGroup, positions, weight_axes
from compressor.surgery.check import TOLERANCE, Reference
from exporters.signature import ExampleInputs, flatten_outputs

STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class Maker:
    """A layer that makes the group's channels, and the batch norm that is given exactly what it returns."""

    layer: str
    weight: TensorAxis
    bias: TensorAxis | None
    norm: Mapping[str, TensorAxis]  # "weight", "bias", "running_mean", "running_var"; empty if there is none
    eps: float = 0.0

    @property
    def axes(self) -> list[TensorAxis]:
        """All tensors that say what a channel is."""
        return [self.weight, *([self.bias] if self.bias else []), *self.norm.values()]

    @property
    def last_step(self) -> list[TensorAxis]:
        """The tensors that a channel is proportional to."""
        if self.norm:
            return [axis for leaf, axis in self.norm.items() if leaf not in STATISTICS]
        return [self.weight, *([self.bias] if self.bias else [])]


def makers(model: nn.Module, group: ChannelGroup, norms: Mapping[str, str]) -> list[Maker]:
    """The layers that make the group's channels, each weight once; `norms` as `norms_behind` gives them."""
    inside = {member.layer: member for member in group.having(Role.CHANNELWISE)}
    found = []
    for axis in weight_axes(model, group, Role.PRODUCER):
        layer = axis.tensor.rpartition(".")[0]
        member = next(m for m in group.having(Role.PRODUCER) if axis in m.axes)
        biases = [a for a in member.axes if a.channel and tensor_named(model, a.tensor).dim() == 1]
        norm = inside.get(norms.get(layer, ""))
        leaves = {a.tensor.rpartition(".")[2]: a for a in norm.axes} if norm else {}
        eps = float(getattr(model.get_submodule(norm.layer), "eps", 0.0)) if norm else 0.0
        found.append(Maker(layer, axis, biases[0] if biases else None, leaves, eps))
    return found


def obstacle(model: nn.Module, group: ChannelGroup, made_by: Sequence[Maker]) -> str:
    """Why the group's weights cannot be merged channel by channel; empty if they can."""
    if not made_by:
        return "no weight of a convolution or a linear layer makes its channels"
    for maker in made_by:
        if maker.norm and maker.norm.keys() != {"weight", "bias", *STATISTICS}:
            return f"the batch norm behind {maker.layer} has no scale and shift"
        if len([other for other in made_by if other.layer == maker.layer]) > 1:
            return f"{maker.layer} makes its channels by several weights"
    read_by = list(weight_axes(model, group, Role.CONSUMER))
    if not read_by:
        return "no weight reads its channels"
    axes = [axis for maker in made_by for axis in maker.axes] + read_by
    if any(positions(axis, group.n_channels) is None for axis in axes):
        return "its channels do not all stand for as many positions of every layer"
    return ""


def merged(weight: Tensor, axis: TensorAxis, cut: CutGroup, scales: Tensor) -> Tensor:
    """The consumer's whole weight after V_m += sum_i Z_im V_i and V_i = 0, for kept m and removed i.

    Args:
        weight: of the consumer, in the original's shape.
        axis: where the group's channels lie on it.
        cut: kept and removed channels.
        scales: Z, (n_gone, n_kept).
    """
    places = positions(axis, cut.group.n_channels)
    assert places is not None  # `obstacle` has looked
    result = weight.movedim(axis.axis, 0).clone()  # (C_in, ...)
    kept, gone = places[cut.kept], places[cut.gone]  # (n_kept, n_positions), (n_gone, n_positions)
    result[kept] += torch.einsum("im,ip...->mp...", scales.to(result), result[gone])
    result[gone] = 0
    return result.movedim(0, axis.axis)


class CopyTest:
    """Tries merging on a copy of the model whose removed channels are multiples of kept ones."""

    def __init__(self, model: nn.Module, inputs: ExampleInputs, norms: Mapping[str, str], seed: int) -> None:
        self._reference = Reference(model, inputs)
        self._inputs = (self._reference.inputs, self._reference.inputs.random(inputs.batch_size, seed))
        self._norms = norms

    def passed(self, cuts: Iterable[CutGroup]) -> list[CutGroup]:
        """Those groups where merging copies leaves the outputs as they are. All are tried at once, then each alone.

        Of many groups that are made of the same kinds of layers three are tried first, and where none of them passes
        the others are taken to be like them: a network of GELUs has dozens.
        """
        cuts = list(cuts)
        if not cuts or self._exact(cuts):
            return cuts
        kinds: dict[tuple[tuple[str, Role], ...], list[CutGroup]] = {}
        for cut in cuts:
            kinds.setdefault(tuple((member.kind, member.role) for member in cut.group.members), []).append(cut)
        exact: dict[str, bool] = {}
        for alike in kinds.values():
            samples = {0, len(alike) // 2, len(alike) - 1}  # activations often change with the depth
            exact |= {alike[i].group.name: self._exact([alike[i]]) for i in samples}
            if any(exact[alike[i].group.name] for i in samples):
                others = [cut for cut in alike if cut.group.name not in exact]
                exact |= {cut.group.name: self._exact([cut]) for cut in others}
        return [cut for cut in cuts if exact.get(cut.group.name, False)]

    def _exact(self, cuts: Sequence[CutGroup]) -> bool:
        tolerance = TOLERANCE[self._reference.dtype]
        with self._put_back():
            for cut in cuts:
                self._make_copies(cut)
            moved, effect = 0.0, 0.0
            for inputs in self._inputs:
                copies = self._outputs(inputs)
                scale = max((float(output.abs().max()) for output in copies if output.numel()), default=0.0) or 1.0
                with self._put_back():
                    self._read_anew(cuts, merge=True)
                    moved = max(moved, _distance(copies, self._outputs(inputs)) / scale)
                if moved > tolerance:
                    return False
                with self._put_back():
                    self._read_anew(cuts, merge=False)
                    effect = max(effect, _distance(copies, self._outputs(inputs)) / scale)
        # A network that hardly looks at these channels would hide a difference: compared with what cutting does.
        return effect > 0 and moved <= max(1e-6 * effect, 1e-13)

    @contextmanager
    def _put_back(self) -> Iterator[None]:
        """The model's tensors are afterwards as they were before."""
        tensors = self._reference.model.state_dict()
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        try:
            yield
        finally:
            for name, tensor in tensors.items():
                tensor.copy_(before[name])

    def _make_copies(self, cut: CutGroup) -> None:
        """Every removed channel becomes `_factor` times a kept one."""
        model = self._reference.model
        partner = cut.kept[torch.arange(len(cut.gone)) % len(cut.kept)]
        for maker in makers(model, cut.group, self._norms):
            for axis in maker.axes:
                places = positions(axis, cut.group.n_channels)
                assert places is not None  # `obstacle` has looked
                rows = tensor_named(model, axis.tensor).movedim(axis.axis, 0)
                copied = rows[places[partner]]  # (n_gone, n_positions, ...)
                if axis in maker.last_step:
                    copied = copied * _factors(cut).to(copied).reshape(-1, *[1] * (copied.dim() - 1))
                rows[places[cut.gone]] = copied

    def _read_anew(self, cuts: Sequence[CutGroup], merge: bool) -> None:
        model = self._reference.model
        for cut in cuts:
            scales = torch.zeros(len(cut.gone), len(cut.kept))
            rows = torch.arange(len(cut.gone))
            scales[rows, rows % len(cut.kept)] = _factors(cut)
            for axis in weight_axes(model, cut.group, Role.CONSUMER):
                weight = tensor_named(model, axis.tensor)
                weight.copy_(merged(weight, axis, cut, scales if merge else 0 * scales))

    def _outputs(self, inputs: ExampleInputs) -> list[Tensor]:
        model = self._reference.model
        with evaluating(model), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            found = flatten_outputs(inputs.call(model))
        return [output.clone() for output in found if output.is_floating_point()]


def _factors(cut: CutGroup) -> Tensor:
    """Powers of two, which no rounding hides: (n_gone,)."""
    return torch.tensor([2.0, 0.5]).repeat(len(cut.gone))[: len(cut.gone)]


def _distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    distance = max((float((a - b).abs().max()) for a, b in zip(first, second, strict=True) if a.numel()), default=0.0)
    return distance if distance == distance else float("inf")  # NaN is no agreement
