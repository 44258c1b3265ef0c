"""The interface of the graph: a model and its inputs go in, groups of channels come out."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.conv import _ConvNd

from compressor.core.errors import InvalidOption
from compressor.core.groups import BlockedGroup, ChannelGroup, GroupMember, Role
from compressor.graph.axes import Footprint, NoRule, bare_parameter, is_depthwise, member_of, tied_blocks
from exporters.signature import ExampleInputs

if TYPE_CHECKING:
    from compressor.graph.torch_pruning_engine import RawGroup, Touch


def find_groups(
    model: nn.Module, inputs: ExampleInputs, ignore: Sequence[str] = ()
) -> tuple[list[ChannelGroup], list[BlockedGroup]]:
    """Groups that may lose channels as far as the graph can tell, and those that may not with the reason.

    The graph may be wrong: `compressor.surgery.trial` cuts every group on a copy before anybody relies on it.

    Args:
        model: left as it was found.
        inputs: traced once.
        ignore: glob patterns of layers whose output channels must stay ("layer1.*", "stem").

    Raises:
        InvalidOption: a pattern matches no layer.
        UnsupportedModel: the model cannot be traced.
    """
    # Imports torchvision and timm, which takes seconds: a wrong option should not wait for it.
    from compressor.graph.torch_pruning_engine import raw_groups

    modules = dict(model.named_modules())
    order = {name: i for i, name in enumerate([*modules, *dict(model.named_parameters())])}
    shared = _shared_tensors(model)
    ignored = _matching(modules, ignore)
    groups: list[ChannelGroup] = []
    blocked: list[BlockedGroup] = []
    owned: dict[tuple[str, int, int], str] = {}
    for raw in raw_groups(model, inputs):
        try:
            n_channels, members = _members(raw, modules, shared, ignored)
            _refuse_rivals(members, owned)
        except NoRule as reason:
            makers = tuple(sorted({raw.root, *(t.layer for t in raw.touches if t.is_output)}, key=order.__getitem__))
            name = next(layer for layer in makers if layer == raw.root or _makes_channels(modules.get(layer)))
            blocked.append(BlockedGroup(name, raw.n_channels, str(reason), layers=makers))
            continue
        members.sort(key=lambda member: order[member.layer])
        name = next(member.layer for member in members if member.role is Role.PRODUCER)
        groups.append(ChannelGroup(name, n_channels, tuple(members)))
        owned.update({(a.tensor, a.axis, p): name for m in members for a in m.axes for p in a.position})
    seen = {m.layer for g in groups for m in g.members if m.role is not Role.CONSUMER}
    blocked += _unseen(modules, seen.union(*(group.layers for group in blocked)))
    return sorted(groups, key=lambda g: order[g.name]), sorted(blocked, key=lambda b: order[b.name])


def _members(
    raw: RawGroup, modules: dict[str, nn.Module], shared: dict[str, str], ignored: dict[str, str]
) -> tuple[int, list[GroupMember]]:
    """How many channels can be chosen, and the layers that lose them."""
    if raw.failure:
        raise NoRule(f"{raw.failure}.")
    if raw.reaches_output:
        raise NoRule("its channels reach the model's outputs, which keep their shape.")
    for touch in raw.touches:
        if touch.is_output and touch.layer in ignored:
            raise NoRule(f"{touch.layer} is kept by --ignore {ignored[touch.layer]}.")
    if raw.n_channels < 2:
        raise NoRule("it has a single channel, which has to stay.")
    n_slots, slot_of, whole_norm_groups = _slots(raw, modules)
    if n_slots < 2:
        raise NoRule("its blocks (grouped convolution or GroupNorm) have one channel each, so none can leave alone.")
    members = [_member(touch, modules, slot_of, whole_norm_groups) for touch in raw.touches]
    for member in members:
        for axis in member.axes:
            if axis.tensor in shared:
                raise NoRule(f"{axis.tensor} is the same tensor as {shared[axis.tensor]}, which cannot follow.")
            owner, _, tensor = axis.tensor.rpartition(".")
            size = getattr(modules[owner], tensor).shape[axis.axis]
            if axis.position and max(axis.position) >= size:
                raise NoRule(f"an operator between it and {member.layer} mixes channels: fewer arrive than were made.")
    if not any(member.role is Role.PRODUCER for member in members):
        raise NoRule("no layer makes its channels.")
    return n_slots, members


def _refuse_rivals(members: list[GroupMember], owned: dict[tuple[str, int, int], str]) -> None:
    for member in members:
        for axis in member.axes:
            rival = next((owned[k] for p in axis.position if (k := (axis.tensor, axis.axis, p)) in owned), None)
            if rival:
                raise NoRule(f"it shares channels of {member.layer} with the group of {rival}.")


def _unseen(modules: dict[str, nn.Module], seen: set[str]) -> Iterator[BlockedGroup]:
    """Layers that the trace did not meet: they stay, and that is said."""
    reason = "no gradient reaches it, so its channels cannot be followed (not called, or called without gradients)."
    for name, module in modules.items():
        if any(name == other or name.startswith(f"{other}.") for other in seen):
            continue
        if isinstance(module, _ConvNd):
            yield BlockedGroup(name, module.out_channels, reason, layers=(name,))
        elif isinstance(module, nn.Linear):
            yield BlockedGroup(name, module.out_features, reason, layers=(name,))
        elif isinstance(module, nn.Embedding):
            yield BlockedGroup(name, module.embedding_dim, reason, layers=(name,))


def _slots(raw: RawGroup, modules: dict[str, nn.Module]) -> tuple[int, list[int], bool]:
    """How many channels can be chosen independently, and which of them each root channel belongs to.

    A grouped convolution must lose the same channels in each of its blocks, a GroupNorm as many in each of its groups.
    """
    n = raw.n_channels
    touched = [(t, modules[t.layer]) for t in raw.touches if t.parameter_axis is None]
    divided = [(t, m) for t, m in touched if tied_blocks(m) > 1 and not is_depthwise(m)]
    for touch, module in divided:
        if touch.position != touch.channel or len(touch.position) != n:
            raise NoRule(f"{touch.layer} ({type(module).__name__}) divides a part of its channels into blocks.")
    blocks = {tied_blocks(module) for _, module in divided}
    if not blocks:
        return n, list(range(n)), False
    together = math.lcm(*blocks)
    if n % together:
        raise NoRule(f"its {n} channels do not divide into {together} blocks.")
    only_norms = all(isinstance(module, nn.GroupNorm) for _, module in divided)
    if only_norms and len(blocks) == 1 and together >= n // together:
        # Whole norm groups may leave: finer than one channel of every group, and the others' statistics stay.
        return together, [channel // (n // together) for channel in range(n)], True
    n_slots = n // together
    return n_slots, [channel % n_slots for channel in range(n)], False


def _member(touch: Touch, modules: dict[str, nn.Module], slot_of: list[int], whole_norm_groups: bool) -> GroupMember:
    footprint = Footprint(touch.position, tuple(slot_of[channel] for channel in touch.channel))
    if touch.parameter_axis is not None:
        owner = modules[touch.layer.rpartition(".")[0]]
        return bare_parameter(touch.layer, touch.parameter_axis, owner, footprint)
    module = modules[touch.layer]
    role = Role.PRODUCER if touch.is_output else Role.CONSUMER
    if not _makes_channels(module):
        role = Role.CHANNELWISE
    return member_of(module, touch.layer, role, footprint, whole_norm_groups)


def _makes_channels(module: nn.Module | None) -> bool:
    return isinstance(module, (_ConvNd, nn.Linear, nn.Embedding)) and not is_depthwise(module)


def _shared_tensors(model: nn.Module) -> dict[str, str]:
    """Names of parameters that are one tensor under several names, each with another of its names."""
    first: dict[int, str] = {}
    shared: dict[str, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        other = first.setdefault(id(parameter), name)
        if other != name and not _same_module(model, name, other):
            shared[name], shared[other] = other, name
    return shared


def _same_module(model: nn.Module, name: str, other: str) -> bool:
    """Whether two names lead to one module that is registered twice (then one cut serves both)."""
    (path_a, _, leaf_a), (path_b, _, leaf_b) = name.rpartition("."), other.rpartition(".")
    return leaf_a == leaf_b and model.get_submodule(path_a) is model.get_submodule(path_b)


def _matching(modules: dict[str, nn.Module], patterns: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pattern in patterns:
        hits = [
            name for name in modules if name and (fnmatch.fnmatchcase(name, pattern) or name.startswith(f"{pattern}."))
        ]
        if not hits:
            some = ", ".join([name for name in modules if name][:5])
            raise InvalidOption(
                "inspect", "--ignore", "a pattern that matches a layer", pattern, f"Layers are named {some}, ..."
            )
        found.update(dict.fromkeys(hits, pattern))
    return found
