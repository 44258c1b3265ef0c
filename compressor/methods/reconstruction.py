"""The channels whose loss the layers that read them can best make up for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from compressor.calibration.calls import watched
from compressor.calibration.ridge import Sums
from compressor.calibration.rows import inputs_of, is_linear, n_rows_of, n_unknowns, weight_rows
from compressor.core.errors import DataError, InvalidOption
from compressor.core.groups import ChannelGroup, GroupMember, Role
from compressor.core.protocols import MethodContext
from compressor.methods._passes import as_found
from compressor.methods._weights import filter_scores, score_groups

SUMS_BYTES = 2**30  # of the sums that are collected in one pass over the images
WIDEST = 8192  # numbers that an output reads; a layer with more has no say, since the square of this is half a GiB
N_STEPS = 64  # channels leave in at most as many portions


@dataclass(frozen=True)
class Reconstruction:
    """Takes channels away one after the other, always the one that a refit of its readers misses least.

    Paper: Jian-Hao Luo, Jianxin Wu, Weiyao Lin, "ThiNet: A Filter Level Pruning Method for Deep Neural Network
        Compression", ICCV 2017, arXiv:1707.06342 (greedy, judged by what the next layer returns); Elias Frantar,
        Sidak Pal Singh, Dan Alistarh, "Optimal Brain Compression", NeurIPS 2022, arXiv:2208.11580 (removal of a block
        of inputs with the rest refitted, in closed form).

    Equations:
        E_P = tr(W_P' ([H^-1]_PP)^-1 W_P)                                   -> `_Reader.costs`
        W <- W - [H^-1]_:P ([H^-1]_PP)^-1 W_P                               -> `_Reader.remove`
        H^-1 <- H^-1 - [H^-1]_:P ([H^-1]_PP)^-1 [H^-1]_P:                   -> `_Reader.remove`
        score_i = max over what left up to i of (sum over readers of E / tr(W_0' H_0 W_0))   -> `_eliminate`

    Notation:
        H: covariance of what an output position of a reader reads, (d, d), d = C_in / groups * kH * kW, plus `ridge`
            times its mean diagonal; H_0, W_0: before anything left.
        W: the reader's weights, (d, C_out); P: the entries of d that come from one channel.
        E_P: squared error per position that the reader's outputs have once P has left and the rest is refitted.

    Options:
        positions (int, default 20): output positions that are drawn from each image for every reader.
        ridge (float, default 0.001): as a share of the mean variance of what is read.

    Returns:
        {group: share of its readers' output variance that the channel's removal costs}. A group whose readers are no
        convolutions or linear layers (queries and keys), or read more than 8192 numbers at a place, gets the sums of
        its filters' absolute weights instead, as by `l1`, and that is noted.

    Deviations:
        - ThiNet looks at the sum over the removed channels without a refit; here the refit is part of the cost, as
          in Optimal Brain Compression, which removes single weights or blocks of one row. Any channels can be blocks.
        - Channels leave in at most 64 portions; in a portion, each is judged as if it left alone.
        - Coupled groups: a channel leaves every reader, and their relative errors add up. Entries of a reader that
          belong to other groups stay and help.
        - Readers see the original's activations; what was lost upstream is seen by `least_squares`, not here.

    Raises:
        InvalidOption: an option out of range.
        DataError: no images.

    Complexity: one pass over the images for every GiB of covariances; O(d^3) a reader. ResNet-50: minutes.

    Example:
        Three channels, the third the sum of the other two, read with weights 1, 1, 1. Whichever leaves, the others
        make up for it (score 0); after it, the two that are left differ, and each costs something.

        >>> x = torch.eye(2).repeat(8, 1) * torch.tensor([1.0, 2.0])
        >>> x = torch.cat([x, x.sum(1, keepdim=True)], 1)
        >>> sums = Sums()
        >>> sums.add(x[:, None], x.new_zeros(16, 1, 0))
        >>> reader = _Reader(sums.covariance()[0], torch.ones(3, 1), torch.tensor([[0], [1], [2]]), 1e-9)
        >>> [round(float(cost), 6) for cost in reader.costs(torch.arange(3))]
        [0.0, 0.0, 0.0]
    """

    summary: ClassVar[str] = "channels whose loss the layers that read them can best make up for when refitted"
    paper: ClassVar[str] = "Luo, Wu, Lin, ThiNet, ICCV 2017, arXiv:1707.06342; Frantar et al., OBC, NeurIPS 2022"
    use_when: ClassVar[str] = "there are unlabelled images, and least_squares repairs what was cut"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})
    comparable: ClassVar[bool] = False

    positions: int = 20
    ridge: float = 1e-3

    def __post_init__(self) -> None:
        if self.positions < 1:
            raise InvalidOption("reconstruction", "positions", "at least 1", self.positions)
        if not 0 < self.ridge < float("inf"):
            raise InvalidOption("reconstruction", "ridge", "above 0", self.ridge)

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: float32 (n_channels,)}."""
        if context.batches is None:
            raise DataError("reconstruction: images are needed, but there are none. Give --data; labels are not read.")
        found: dict[str, Tensor] = {}
        for portion in _portions(groups, context.model):
            sums = self._collect([name for names in portion.values() for name in names], context)
            for group, names in portion.items():
                members = [m for m in group.having(Role.CONSUMER) if m.layer in names and sums[m.layer].n_rows]
                readers = [r for m in members for r in _readers(context.model, m, sums[m.layer], group, self.ridge)]
                score = _eliminate(readers, group.n_channels)
                if score is not None:
                    found[group.name] = score.float()
        others = [group for group in groups if group.name not in found]
        by_weights = score_groups(others, lambda group: filter_scores(context.model, group, _absolute_sums))
        for name in by_weights:
            context.note(name, "no layer that can be refitted reads it; its channels are chosen by l1 instead.")
        return found | by_weights

    def _collect(self, names: Sequence[str], context: MethodContext) -> dict[str, Sums]:
        """{reader: sums over what it reads at the drawn positions}."""
        sums = {name: Sums() for name in names}
        generator = torch.Generator().manual_seed(context.seed)
        n_images = 0

        def called(name: str, module: nn.Module, given: Tensor, output: Tensor) -> None:
            n = n_rows_of(module, output)
            rows = torch.randperm(n, generator=generator)[: self.positions * n_images].to(output.device)
            x = inputs_of(module, given, output, rows)
            sums[name].add(x, x.new_zeros(*x.shape[:2], 0))

        with as_found(context.model, context.seed), torch.no_grad(), watched(context.model, [*sums], called):
            for item in context.batches or ():
                inputs = item if isinstance(item, Tensor) else item[0]
                n_images = len(inputs)
                context.model(inputs.to(next(context.model.parameters()).device))
        if not n_images:
            raise DataError("reconstruction: at least one image is needed, but the data holds none. Check --data.")
        return sums


def _absolute_sums(rows: Tensor) -> Tensor:
    """Of each filter: (n, features) -> (n,)."""
    return rows.abs().sum(1)


@dataclass
class _Reader:
    """One block of one layer that reads the group: its weights, refitted whenever something leaves."""

    covariance: Tensor  # (d, d)
    weight: Tensor  # (d, k)
    columns: Tensor  # (n_channels, p): entries of d that come from each channel; -1 where it has fewer
    ridge: float
    energy: float = field(init=False)  # variance of its outputs, before anything left

    def __post_init__(self) -> None:
        variance = self.covariance.diagonal()  # (d,)
        dead = variance <= 1e-12 * variance.max()  # a constant goes into the bias: the ridge alone would make it count
        self.weight = self.weight.double().masked_fill(dead[:, None], 0.0)
        self.energy = float((self.weight * (self.covariance @ self.weight)).sum())
        level = self.ridge * variance.mean().clamp_min(1e-30)
        self.inverse = torch.linalg.inv(self.covariance + level * torch.eye(len(self.covariance)).to(self.covariance))

    def costs(self, channels: Tensor) -> Tensor:
        """What it costs, as a share of the energy, if one of these leaves: (n,)."""
        columns = self.columns[channels]  # (n, p)
        there = columns >= 0
        block = self.inverse[columns[:, :, None], columns[:, None, :]] * (there[:, :, None] & there[:, None, :])
        block = block + torch.diag_embed((~there).to(block))
        weight = self.weight[columns] * there[:, :, None]  # (n, p, k)
        return (weight * torch.linalg.solve(block, weight)).sum((1, 2)) / max(self.energy, 1e-30)

    def remove(self, channels: Tensor) -> None:
        """Refits without them."""
        gone = self.columns[channels].flatten()
        gone = gone[gone >= 0]
        if not len(gone):
            return
        solved = torch.linalg.solve(self.inverse[gone][:, gone], self.inverse[gone])  # (n, d)
        self.weight = self.weight - solved.T @ self.weight[gone]
        self.inverse = self.inverse - self.inverse[:, gone] @ solved
        stays = torch.ones(len(self.inverse), dtype=torch.bool)
        stays[gone] = False
        self.weight, self.inverse = self.weight[stays], self.inverse[stays][:, stays]
        number = torch.full((len(stays) + 1,), -1)  # the last: of what is not there
        number[:-1][stays] = torch.arange(int(stays.sum()))
        self.columns = number[self.columns]


def _eliminate(readers: Sequence[_Reader], n_channels: int) -> Tensor | None:
    """The cost of each channel as it left, never less than that of one before it: (n_channels,)."""
    if not readers:
        return None
    scores, left, highest = torch.zeros(n_channels, dtype=torch.float64), torch.arange(n_channels), 0.0
    n_at_once = -(-n_channels // N_STEPS)
    while len(left):
        costs = torch.stack([reader.costs(left) for reader in readers]).sum(0)
        order = costs.argsort(stable=True)[:n_at_once]
        for i in order:
            highest = max(highest, float(costs[i]))
            scores[left[i]] = highest
        for reader in readers:
            reader.remove(left[order])
        stays = torch.ones(len(left), dtype=torch.bool)
        stays[order] = False
        left = left[stays]
    return scores


def _readers(model: nn.Module, member: GroupMember, sums: Sums, group: ChannelGroup, ridge: float) -> Iterator[_Reader]:
    """One per block of a grouped convolution; blocks that read none of the group are left out."""
    weights = weight_rows(model.get_submodule(member.layer)).cpu()  # (blocks, d, k)
    covariances = sums.covariance().cpu()
    n_inputs = _n_inputs(model.get_submodule(member.layer)) // len(weights)  # of a block
    n_taps = weights.shape[1] // n_inputs
    for block, (covariance, weight) in enumerate(zip(covariances, weights, strict=True)):
        columns: list[list[int]] = [[] for _ in range(group.n_channels)]
        for position, channel in zip(member.position, member.channel, strict=True):
            if position // n_inputs == block:
                first = position % n_inputs * n_taps
                columns[channel] += range(first, first + n_taps)
        longest = max(map(len, columns))
        if longest:
            padded = [each + [-1] * (longest - len(each)) for each in columns]
            yield _Reader(covariance, weight, torch.tensor(padded), ridge)


def _portions(groups: Sequence[ChannelGroup], model: nn.Module) -> Iterator[dict[ChannelGroup, list[str]]]:
    """Groups with the readers that can be judged, as many at a time as their sums may be kept."""
    modules = dict(model.named_modules())
    portion: dict[ChannelGroup, list[str]] = {}
    n_bytes = 0
    for group in groups:
        layers = dict.fromkeys(member.layer for member in group.having(Role.CONSUMER))
        names = [n for n in layers if n in modules and is_linear(modules[n]) and n_unknowns(modules[n]) <= WIDEST]
        if not names:
            continue
        needed = sum(8 * n_unknowns(modules[n]) ** 2 * len(weight_rows(modules[n])) for n in names)
        if portion and n_bytes + needed > SUMS_BYTES:
            yield portion
            portion, n_bytes = {}, 0
        portion[group] = names
        n_bytes += needed
    if portion:
        yield portion


def _n_inputs(module: nn.Module) -> int:
    return module.in_features if isinstance(module, nn.Linear) else cast(nn.Conv2d, module).in_channels


PLUGIN = Reconstruction
