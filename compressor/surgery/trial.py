"""Every group is cut on a copy before anybody relies on it; what breaks is set aside with its reason."""

from __future__ import annotations

import linecache
import random
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from compressor.core.errors import CompressionError
from compressor.core.groups import BlockedGroup, ChannelGroup
from compressor.core.progress import Progress, SilentProgress
from compressor.surgery.check import Reference, ShapeChanged
from exporters.signature import ExampleInputs


def try_groups(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    inputs: ExampleInputs,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[list[ChannelGroup], list[BlockedGroup]]:
    """Splits groups into those whose cut equals masking on `model`, and those whose cut does not.

    All are cut at once first; only where that fails are they halved until the culprits stand alone, so a model whose
    graph is right costs two forward passes and one with k wrong groups of n some k log n.

    Args:
        model: left as it was found.
        groups: candidates from the graph.
        inputs: run through the copies.
        seed: draws the channels that are removed.
        progress: told of each trial.
    """
    listener = progress or SilentProgress()
    reference = Reference(model, inputs)
    generator = random.Random(seed)
    keep = {group.name: _some(group.n_channels, generator) for group in groups}

    with listener.step("Trying every group on a copy") as step:

        def failure(subset: Sequence[ChannelGroup]) -> str:
            step.advance(note=f"{len(subset)} groups")
            return _failure(reference, subset, keep)

        good, blocked = _separate(list(groups), failure)
        if blocked and failure(good):
            # Right alone, wrong together: keep those that agree with the ones before them.
            agreeing: list[ChannelGroup] = []
            for group in good:
                reason = failure([*agreeing, group])
                if reason:
                    blocked.append((group, reason))
                else:
                    agreeing.append(group)
            good = agreeing
    return good, [_blocked(group, reason) for group, reason in blocked]


def _separate(
    groups: list[ChannelGroup], failure: Callable[[Sequence[ChannelGroup]], str]
) -> tuple[list[ChannelGroup], list[tuple[ChannelGroup, str]]]:
    if not groups:
        return [], []
    reason = failure(groups)
    if not reason:
        return groups, []
    if len(groups) == 1:
        return [], [(groups[0], reason)]
    half = len(groups) // 2
    good_a, bad_a = _separate(groups[:half], failure)
    good_b, bad_b = _separate(groups[half:], failure)
    if not bad_a and not bad_b:  # the halves are right and the whole is wrong: the later half gives way
        return good_a, [(group, reason) for group in good_b]
    return good_a + good_b, bad_a + bad_b


def _failure(reference: Reference, groups: Sequence[ChannelGroup], keep: dict[str, list[int]]) -> str:
    """Why the cut of these groups is wrong; empty if it is right."""
    try:
        difference = reference.compare(groups, keep)
    except ShapeChanged as error:
        return f"its channels reach the model's outputs ({error})."
    except CompressionError:  # our own cut refuses
        return "the graph leads its channels to places that its layers do not have."
    except Exception as error:  # a user's forward may raise anything
        return _explain(error)
    if difference.equal:
        return ""
    return (
        f"the cut network runs, but its outputs differ from the masked one's by {difference.max_rel:.1e} of their "
        "size: an operator on the way mixes channels in a way that the graph does not follow."
    )


def _explain(error: Exception) -> str:
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
    return f"after the cut, `{line[:100]}` ({_short(last.filename)}:{last.lineno}) fails: {message}."


def _short(filename: str) -> str:
    parts = Path(filename).parts
    if "site-packages" in parts:
        return "/".join(parts[parts.index("site-packages") + 1 :])
    return "/".join(parts[-2:])


def _some(n_channels: int, generator: random.Random) -> list[int]:
    """A random kept set of about half the channels, never none and never all."""
    return sorted(generator.sample(range(n_channels), max(1, n_channels // 2)))


def _blocked(group: ChannelGroup, reason: str) -> BlockedGroup:
    layers = tuple(m.layer for m in group.members if m.role is not m.role.CONSUMER)
    return BlockedGroup(group.name, group.n_channels, reason, layers=layers)
