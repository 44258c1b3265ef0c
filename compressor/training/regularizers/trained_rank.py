"""Trained rank pruning: weights are cut to a low rank again and again while they are trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from compressor.core.errors import InvalidOption, UnsupportedModel, WeightsMismatch
from compressor.core.groups import ChannelGroup
from compressor.decompositions.channel import ChannelWise
from compressor.decompositions.depthwise import DepthwiseSeparable
from compressor.decompositions.layers import Convolution, weight_refusal
from compressor.decompositions.matrices import MatrixDecomposition
from compressor.decompositions.replace import layer_named
from compressor.decompositions.spatial import SpatialWise
from compressor.decompositions.truncation import truncate
from compressor.training.hooks import Hook, Moment

OWNER = "trained_rank"
_KINDS: dict[str, type[MatrixDecomposition]] = {
    kind.name: kind for kind in (ChannelWise, SpatialWise, DepthwiseSeparable)
}


@dataclass(frozen=True)
class TrainedRankPruning:
    """Every few steps weights become the nearest ones of low rank, and are pulled towards lower ranks still.

    Paper: Yuhui Xu, Yuxi Li, Shuai Zhang, Wei Wen, Botao Wang, Yingyong Qi, Yiran Chen, Weiyao Lin, Hongkai Xiong,
        "TRP: Trained Rank Pruning for Efficient Deep Neural Networks", IJCAI 2020, arXiv:2004.14566; before that
        "Trained Rank Pruning for Efficient DNNs", EMC2 workshop at NeurIPS 2019, arXiv:1812.02402.

    Equations:
        at steps t = 0, m, 2m, ...:  W <- W_r = U_r S_r V_r', r the smallest with sum_{i<=r} s_i^2 >= e sum_i s_i^2
                                                                                     -> `truncate`
        at these steps:              gradient(W) <- gradient(W) + lambda U_r V_r'    -> `TruncatingHook.before_step`
        at the others:               plain steps of the optimizer

    Notation:
        W: a layer's weight as matrices, which depend on `kind`; s_i: singular values, the largest first.
        e: `energy`; m: `every`; lambda: `nuclear`, the weight of the nuclear norm, sum_i s_i, in the loss.
        r: one rank for all matrices of a layer (groups; of "depthwise" filters), the highest that one of them needs.

    Options:
        kind: "channel" (default), "spatial" or "depthwise": the decomposition that is to replace the layers.
        energy: float, above 0 up to 1, default 0.9; the share of the squared singular values that stays.
        every: int, at least 1, default 20, steps; the paper's code cuts at each, which an SVD of all layers makes slow.
        nuclear: float, at least 0, default 3e-4, no unit.
        layers: dotted names, default (): every convolution that the kind can split, has a kernel above 1 and more than
            one rank, but the first one of the model.

    Returns:
        From `attach`, a `TruncatingHook`. What it leaves behind has low rank: `decompose(model, inputs, kind=kind,
        energy=1.0)` of `compressor.decompositions.decompose` replaces the layers by those of these ranks.

    Deviations:
        - `attach` makes the cut of step 0, and the others are made at the end of the step before: there is no place
          between, and no forward pass sees a difference.
        - After the last step weights are cut to the ranks of the last cut. The authors keep the singular values of
          at least 0.05 there, for which there is `decompose(..., threshold=0.05)`.
        - The subgradient leaves out singular values that are 0, in whose directions it might be anything up to 1.
        - Layers with a stride are cut too; the authors' code replaces those without one only.

    Raises:
        InvalidOption: an option is out of range; from `attach`, a name that is not in the model.
        UnsupportedModel: from `attach`, nothing can be cut, or a layer that was named cannot be; later, weights that
            are no longer finite numbers.

    Complexity: at each cut one SVD a layer, O(N C K min(N, C K)) for "channel"; between a cut and the end of the
        following step a second copy of the weights, which a checkpoint then holds too.

    Example:
        A 1x1 convolution with the matrix diag(3, 1): 9 of 10 parts of the energy are in the 3.

        >>> model = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False))
        >>> _ = model[0].weight.data.copy_(torch.diag(torch.tensor([3.0, 1.0]))[:, :, None, None])
        >>> hook = TrainedRankPruning(nuclear=0.5, layers=("0",)).attach(model, [], seed=0, n_images=1)
        >>> model[0].weight.flatten().tolist(), hook.sparsity()
        ([3.0, 0.0, 0.0, 0.0], 0.5)
        >>> model[0].weight.grad = torch.zeros(2, 2, 1, 1)
        >>> hook.before_step(Moment(step=0, n_steps=100, n_per_epoch=10, lr=0.1))
        >>> model[0].weight.grad.flatten().tolist()
        [0.5, 0.0, 0.0, 0.0]
    """

    summary: ClassVar[str] = "weights are cut to a low rank again and again while they are trained"
    paper: ClassVar[str] = "Xu et al., TRP, IJCAI 2020, arXiv:2004.14566"
    use_when: ClassVar[str] = "layers are to be split in two, and there is time for a whole training"
    needs: ClassVar[frozenset[str]] = frozenset()

    kind: str = ChannelWise.name
    energy: float = 0.9
    every: int = 20
    nuclear: float = 3e-4
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InvalidOption(OWNER, "kind", f"one of {', '.join(_KINDS)}", self.kind)
        if not 0 < self.energy <= 1:
            raise InvalidOption(OWNER, "energy", "above 0 and at most 1", self.energy)
        if self.every < 1:
            raise InvalidOption(OWNER, "every", "at least 1", self.every)
        if not 0 <= self.nuclear < math.inf:
            raise InvalidOption(OWNER, "nuclear", "a finite number, at least 0", self.nuclear)

    def attach(self, model: nn.Module, groups: Sequence[ChannelGroup], *, seed: int, n_images: int) -> TruncatingHook:
        """Makes the first cut. A checkpoint's weights, and then `restore`, come after it.

        Args:
            groups, seed, n_images: not looked at; ranks are a layer's own, and nothing is random.
        """
        decomposition = _KINDS[self.kind]()
        if self.layers:
            found = {name: _usable(decomposition, name, layer_named(model, name)) for name in self.layers}
        else:
            found = _default_layers(model, decomposition)
        if not found:
            raise UnsupportedModel(
                f"{OWNER}: the model must have a convolution with a kernel above 1 beside its first, which {self.kind} "
                "can split, but has none. Name the layers to cut in `layers`."
            )
        return TruncatingHook(self, decomposition, found)


class TruncatingHook(Hook):
    """Trained rank pruning at work on some layers of one model."""

    def __init__(
        self, options: TrainedRankPruning, decomposition: MatrixDecomposition, layers: Mapping[str, Convolution]
    ) -> None:
        self.options: TrainedRankPruning = options
        self._decomposition, self._layers = decomposition, layers
        self.ranks: dict[str, int] = {}  # of the last cut, by layer
        self._max_ranks = {name: decomposition.max_rank(layer) for name, layer in layers.items()}
        self._subgradients: dict[str, Tensor] = {}  # of the last cut, until the step after it
        self._cut()

    def before_step(self, moment: Moment) -> None:
        """Adds the nuclear norm's subgradient, in the steps that follow a cut."""
        for name, subgradient in self._subgradients.items():
            gradient = self._layers[name].weight.grad
            if gradient is not None:
                gradient.add_(subgradient, alpha=self.options.nuclear)
        self._subgradients = {}

    def after_step(self, moment: Moment) -> None:
        """Cuts, if the coming step is one that begins with a cut."""
        coming = moment.step + 1
        if coming % self.options.every == 0 and coming < moment.n_steps:
            self._cut()

    def finish(self) -> None:
        """Cuts to the ranks that the weights have had last, but for the steps since."""
        self._cut(self.ranks)
        self._subgradients = {}

    def state(self) -> Mapping[str, Tensor]:
        """Ranks, and the subgradients that the coming step adds."""
        ranks = {f"{name}.rank": torch.tensor(rank) for name, rank in self.ranks.items()}
        return ranks | {f"{name}.subgradient": value for name, value in self._subgradients.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `Hook`.

        Raises:
            WeightsMismatch: the state is of other layers.
        """
        ranks = {name.removesuffix(".rank") for name in state if name.endswith(".rank")}
        if ranks != set(self._layers):
            raise WeightsMismatch(
                f"{OWNER}: the saved state must be of the layers {', '.join(self._layers)}, but is not. "
                "Start the training anew, or pass the model and the options that it began with."
            )
        self.ranks = {name: int(state[f"{name}.rank"]) for name in self._layers}
        self._subgradients = {
            name: state[f"{name}.subgradient"].to(layer.weight)
            for name, layer in self._layers.items()
            if f"{name}.subgradient" in state
        }

    def sparsity(self) -> float:
        """Share of all ranks that the last cut has left out."""
        return 1 - sum(self.ranks.values()) / sum(self._max_ranks.values())

    @torch.no_grad()
    def _cut(self, ranks: Mapping[str, int] | None = None) -> None:
        view, options = self._decomposition, self.options
        for name, layer in self._layers.items():
            weight = layer.weight
            if not bool(weight.isfinite().all()):
                raise UnsupportedModel(
                    f"{OWNER}: the weights of {name} must be finite numbers, but no longer are. "
                    "Use a lower learning rate."
                )
            precise = weight.float() if torch.finfo(weight.dtype).bits < 32 else weight
            matrices = view.matrices(precise, layer.groups)
            cut = truncate(matrices, energy=options.energy, rank=ranks[name] if ranks else None)
            weight.copy_(view.weight(cut.matrices, weight.shape, layer.groups))
            self.ranks[name] = cut.rank
            if options.nuclear:
                subgradient = view.weight(cut.subgradient, weight.shape, layer.groups)
                self._subgradients[name] = subgradient.to(weight.dtype).contiguous()


def _default_layers(model: nn.Module, decomposition: MatrixDecomposition) -> dict[str, Convolution]:
    convolutions = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, Convolution)]
    found: dict[nn.Parameter, tuple[str, Convolution]] = {}  # a weight that layers share is cut once
    for name, layer in convolutions[1:]:
        fits = (
            not weight_refusal(layer, decomposition.layers)
            and layer.weight.requires_grad
            and math.prod(layer.kernel_size) > 1
        )
        if fits and decomposition.max_rank(layer) > 1:
            found.setdefault(cast(nn.Parameter, layer.weight), (name, layer))
    return dict(found.values())


def _usable(decomposition: MatrixDecomposition, name: str, layer: nn.Module) -> Convolution:
    reason = weight_refusal(layer, decomposition.layers)
    if not reason and not cast(nn.Parameter, layer.weight).requires_grad:
        reason = "A weight to cut must be trained, but this one is frozen. Leave it out, or let gradients flow to it."
    if reason:
        raise UnsupportedModel(f"{OWNER}: {name}: {reason}")
    return cast(Convolution, layer)


PLUGIN = TrainedRankPruning
