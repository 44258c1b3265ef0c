"""Finds groups whose cuts fit together: the network is cut on shapes alone until every cut runs through.

The meta device computes shapes without numbers, so a trial costs a fraction of a forward pass. Where a trial stops,
either the block that it stopped in gets its equal axes tied (`compressor.graph.ties`), or the groups that meet there
are set aside.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from compressor.core.copies import share_tensors
from compressor.core.errors import CompressionError, UnsupportedModel
from compressor.core.groups import BlockedGroup, ChannelGroup
from compressor.graph.cost import evaluating
from compressor.graph.engine import Dependencies, follow
from compressor.graph.ties import Tie, kind_of
from compressor.surgery.check import Reference
from compressor.surgery.cut import cut
from compressor.surgery.expand import expand
from compressor.surgery.masking import StepCounter
from compressor.surgery.suspects import blocked_group, culprits, explain, some_channels, suspects_at
from exporters.signature import ExampleInputs

FEW = 16  # channels of a group; sizes of more hardly agree by chance
MIN_HALVES = 2  # random cuts of half of the groups that have to run beside the cut of all


def fit(reference: Reference, ignore: Sequence[str] = (), seed: int = 0) -> tuple[Dependencies, list[BlockedGroup]]:
    """The groups of `reference.model` whose cuts run, and those that stop it.

    Where the model cannot run without numbers, each trial is a forward pass.

    Raises:
        As `follow`.
    """
    whole = share_tensors(reference.model).to("meta")
    shapes = reference.inputs.to(device="meta")
    kinds: dict[str, Tie] = {}
    try:
        found = follow(whole, shapes, ignore, kinds)
    except UnsupportedModel:  # its code looks at numbers: it can only be tried with them
        whole, shapes = reference.model, reference.inputs
        found = follow(whole, shapes, ignore, kinds)
    hopeless: set[str] = set()
    blocked: dict[str, BlockedGroup] = {}
    while (failure := _first_failure(whole, shapes, _left(found, blocked), seed)) is not None:
        error, step = failure
        kind = found.owners[min(step, len(found.owners) - 1)]
        if kind not in hopeless:
            level = kinds.get(kind, Tie.NOTHING)
            if level is Tie.ALL or (not kind and level is Tie.COUNTED):  # what is in no block is never tied
                hopeless.add(kind)
            kinds[kind] = _next(level) if kind else Tie.COUNTED
            found, blocked = follow(whole, shapes, ignore, kinds), {}
            continue
        left = _left(found, blocked)
        suspects = suspects_at(step, left, found.groups_at)
        if isinstance(error, CompressionError) or not suspects:
            break  # numbers will tell
        alone = culprits(suspects, lambda groups: _first_failure(whole, shapes, groups, seed))
        blocked |= {group.name: blocked_group(group, explain(error)) for group in alone}
    found = follow(reference.model, reference.inputs, ignore, kinds)
    too_tight = (hopeless | {kind for kind, level in kinds.items() if level > Tie.COUNTED}) - {""}
    tied = tuple(layer for layer, module in reference.model.named_modules() if layer and kind_of(module) in too_tight)
    return replace(found, groups=tuple(_left(found, blocked)), tied=tied), list(blocked.values())


def _next(level: Tie) -> Tie:
    return Tie.NOTHING if level is Tie.ALL else Tie(level + 1)


def _left(found: Dependencies, blocked: Mapping[str, BlockedGroup]) -> list[ChannelGroup]:
    return [group for group in found.groups if group.name not in blocked]


def _first_failure(
    whole: nn.Module, shapes: ExampleInputs, groups: Sequence[ChannelGroup], seed: int
) -> tuple[Exception, int] | None:
    """What stops one of several random cuts, and the number of the operator it stopped at.

    Sizes that have to agree may do so by chance where two groups both lose channels, above all where they have few.
    So all groups are cut first, then about half of them; of any two groups with few channels, one is once cut without
    the other: in the nth draw, those are cut whose number has its nth bit set.
    """
    generator = random.Random(seed)
    numbers = {group.name: i for i, group in enumerate(g for g in groups if g.n_channels <= FEW)}
    for bit in range(-1, max(MIN_HALVES, len(numbers).bit_length())):
        some = [group for group in groups if bit < 0 or numbers.get(group.name, generator.getrandbits(32)) >> bit & 1]
        smaller, counter = share_tensors(whole), StepCounter()
        try:
            cut(smaller, *expand(some, some_channels(some, generator), smaller))
            with evaluating(smaller), counter:
                shapes.call(smaller)
        except Exception as error:  # a user's forward may raise anything
            return error, counter.step
    return None
