"""Every group is cut on a copy before anybody relies on it; what breaks is set aside with its reason."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compressor.core.errors import CompressionError
from compressor.core.groups import BlockedGroup, ChannelGroup
from compressor.core.progress import Progress, SilentProgress
from compressor.surgery.check import CutDoesNotRun, Reference, ShapeChanged
from compressor.surgery.suspects import blocked_group, culprits, explain, some_channels, suspects_at


def try_groups(
    reference: Reference,
    groups: Sequence[ChannelGroup],
    seed: int = 0,
    progress: Progress | None = None,
    groups_at: Sequence[frozenset[str]] = (),
    keep: dict[str, list[int]] | None = None,
) -> tuple[list[ChannelGroup], list[BlockedGroup]]:
    """Splits groups into those whose cut equals masking, and those whose cut does not.

    All are cut at once. Where the cut network stops at an operator, the groups that meet there are set aside, and the
    rest is tried again; where it runs and is wrong, groups are halved until the culprits stand alone. So a model whose
    graph is right costs two forward passes.

    Args:
        reference: the whole model; only copies are cut.
        groups: candidates from the graph.
        seed: draws the channels that are removed, where `keep` does not say which stay.
        progress: told of each trial.
        groups_at: per executed operator, the names of the groups whose channels it sees.
        keep: per group, the channels that stay.
    """
    listener = progress or SilentProgress()
    keep = keep or some_channels(groups, random.Random(seed))
    good, blocked = list(groups), []

    with listener.step("Trying every group on a copy") as step:

        def trial(subset: Sequence[ChannelGroup]) -> _Failure | None:
            step.advance(note=f"{len(subset)} groups")
            return _failure(reference, subset, keep)

        failure = trial(good)
        while failure is not None and good:
            suspects = suspects_at(failure.step, good, groups_at)
            if not suspects:
                good, found = _separate(good, trial)
                blocked += found
                failure = trial(good)
                if failure is not None and not found:  # right one by one, wrong together
                    good, found = _agreeing(good, trial)
                    blocked += found
                    break
                continue
            alone = culprits(suspects, trial)
            blocked += [(group, failure.reason) for group in alone]
            good = [group for group in good if group not in alone]
            failure = trial(good)
    return good, [blocked_group(group, reason) for group, reason in blocked]


@dataclass(frozen=True)
class _Failure:
    """Why a cut is wrong, and at which operator the cut network stopped (none if it ran)."""

    reason: str
    step: int | None = None


Trial = Callable[[Sequence[ChannelGroup]], "_Failure | None"]


def _separate(groups: list[ChannelGroup], trial: Trial) -> tuple[list[ChannelGroup], list[tuple[ChannelGroup, str]]]:
    if not groups:
        return [], []
    failure = trial(groups)
    if failure is None:
        return groups, []
    if len(groups) == 1:
        return [], [(groups[0], failure.reason)]
    half = len(groups) // 2
    good_a, bad_a = _separate(groups[:half], trial)
    good_b, bad_b = _separate(groups[half:], trial)
    return good_a + good_b, bad_a + bad_b


def _agreeing(groups: list[ChannelGroup], trial: Trial) -> tuple[list[ChannelGroup], list[tuple[ChannelGroup, str]]]:
    """Keeps the groups that agree with those before them."""
    good: list[ChannelGroup] = []
    blocked = []
    for group in groups:
        failure = trial([*good, group])
        if failure is None:
            good.append(group)
        else:
            blocked.append((group, failure.reason))
    return good, blocked


def _failure(reference: Reference, groups: Sequence[ChannelGroup], keep: dict[str, list[int]]) -> _Failure | None:
    """What is wrong with the cut of these groups; None if it is right."""
    try:
        difference = reference.compare(groups, keep)
    except ShapeChanged as error:
        return _Failure(f"its channels reach the model's outputs ({error}).")
    except CutDoesNotRun as error:
        return _Failure(explain(error.cause), error.step)
    except CompressionError as error:  # our own cut refuses
        return _Failure(f"the graph leads its channels to places that its layers do not have ({error}).")
    if difference.equal:
        return None
    return _Failure(
        f"the cut network runs, but its outputs differ from the masked one's by {difference.max_rel:.1e} of their "
        "size: an operator on the way mixes channels in a way that the graph does not follow."
    )
