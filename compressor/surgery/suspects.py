"""What trials of cuts have in common: random kept sets, who is at fault, and the sentence that says so."""

from __future__ import annotations

import linecache
import random
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from compressor.core.groups import BlockedGroup, ChannelGroup
from compressor.graph.source_lines import short

NEAREST = 4  # sets of groups that meet before the operator where a cut network stops


def some_channels(groups: Sequence[ChannelGroup], generator: random.Random) -> dict[str, list[int]]:
    """Random kept sets of a quarter to three quarters of the channels, never none and never all.

    Groups of one size keep different numbers as long as there are any left: code that takes two sizes to be one, or
    divides one by another, works by chance where both groups keep as many.
    """
    keep = {}
    left: dict[int, list[int]] = {}  # size of a group -> numbers to keep that no group of this size has yet
    for group in groups:
        n = group.n_channels
        if not left.get(n):
            left[n] = list(range(max(1, n // 4), min(n - 1, n - n // 4) + 1))
            generator.shuffle(left[n])
        keep[group.name] = sorted(generator.sample(range(n), left[n].pop()))
    return keep


def suspects_at(
    step: int | None, groups: Sequence[ChannelGroup], groups_at: Sequence[frozenset[str]]
) -> list[list[ChannelGroup]]:
    """The groups that meet at the operator, then those at the nearest ones before it; none if the network ran.

    The operator's number is only nearly right: a cut network may execute one more or less on its way there.
    """
    if step is None:
        return []
    names = {group.name for group in groups}
    met = dict.fromkeys(found for at in reversed(groups_at[: step + 1]) if (found := at & names))
    return [[group for group in groups if group.name in some] for some in [*met][:NEAREST]]


def culprits(
    suspects: Sequence[Sequence[ChannelGroup]], failure: Callable[[Sequence[ChannelGroup]], object | None]
) -> list[ChannelGroup]:
    """Those of the nearest suspects that fail by themselves.

    Where each is right by itself, those that are not needed for the failure are let go, and of the rest the one with
    the fewest channels is named: without it the others may be right. All of the nearest, if none fail without groups
    elsewhere.
    """
    innocent: set[str] = set()
    for some in suspects:
        alone = [group for group in some if group.name not in innocent and failure([group]) is not None]
        if alone:
            return alone
        innocent.update(group.name for group in some)
        if len(some) == 1 or failure(some) is None:
            continue
        needed = list(some)
        for group in some:
            rest = [other for other in needed if other is not group]
            if len(rest) > 1 and failure(rest) is not None:
                needed = rest
        return [min(needed, key=lambda group: group.n_channels)]
    return list(suspects[0])


def explain(error: Exception) -> str:
    """The error of the cut network with the operator's place in the user's code."""
    message = (str(error).splitlines() or [type(error).__name__])[0][:160]
    frames = traceback.extract_tb(error.__traceback__)
    torch_root = str(Path(torch.__file__).parent)
    ours = str(Path(__file__).parent.parent)
    user = [f for f in frames if not f.filename.startswith((torch_root, ours)) and "/exporters/" not in f.filename]
    if not user:
        return f"the cut network does not run: {message}."
    last = user[-1]
    line = linecache.getline(last.filename, last.lineno or 0).strip()
    # A program that was read from a file has its code in memory.
    place = "the loaded program" if last.filename.startswith("<") else f"{short(last.filename)}:{last.lineno}"
    return f"after the cut, `{line.partition(';')[0][:100]}` ({place}) fails: {message}."


def blocked_group(group: ChannelGroup, reason: str) -> BlockedGroup:
    """A group that is set aside."""
    layers = tuple(m.layer for m in group.members if m.role is not m.role.CONSUMER)
    return BlockedGroup(group.name, group.n_channels, reason, layers=layers)
