"""Which channels must leave together, as plain data that no graph library is needed to read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum


class Role(str, Enum):
    """How a layer meets the group: it makes the channels, passes them on one by one, or reads them."""

    PRODUCER = "producer"  # convolution, linear, embedding: its output axis
    CHANNELWISE = "channelwise"  # norm, depthwise convolution, PReLU, bare parameter: each channel for itself
    CONSUMER = "consumer"  # convolution, linear: its input axis


# Kinds of dimensions, as --prune names them.
CONV = "conv"  # channels that convolutions make
MLP = "mlp"  # inner width of two linear layers
HEADS = "heads"  # attention heads
HEAD_DIM = "head_dim"  # size of a head: of queries and keys, or of values
EMBED = "embed"  # the stream that blocks read and add to
KINDS = (CONV, MLP, HEADS, HEAD_DIM, EMBED)


@dataclass(frozen=True)
class TensorAxis:
    """One axis of one parameter or buffer, and which group channel each of its positions belongs to."""

    tensor: str  # dotted name, as in the state dict
    axis: int
    position: tuple[int, ...]  # positions on this axis
    channel: tuple[int, ...]  # group channel of each position, same length


@dataclass(frozen=True)
class LayerSize:
    """An integer attribute of a module that shrinks with the group (out_channels, groups, num_heads, ...)."""

    layer: str  # module path
    attribute: str
    position: tuple[int, ...]  # of what the attribute counts
    channel: tuple[int, ...]  # group channel of each position, same length
    entry: int | None = None  # which number of a tuple (normalized_shape); None: the attribute is a number


@dataclass(frozen=True)
class Reading:
    """An operator that reads several channels at once, so that removed ones must be kept from it.

    Products (convolution, linear, attention) are given zeros; norms and reductions see only the channels that stay.
    """

    step: int  # its number in the order of execution
    operator: str  # "aten.convolution"
    axes: tuple[
        tuple[int, int, tuple[int, ...], tuple[int, ...]], ...
    ]  # (nth tensor argument, axis, position, channel)
    results: tuple[tuple[int, int, tuple[int, ...], tuple[int, ...]], ...]  # the same of the returned tensors


@dataclass(frozen=True)
class GroupMember:
    """A layer that loses positions when the group loses channels."""

    layer: str  # module path, or the parameter's name if it is bare
    kind: str  # class name, for people
    role: Role
    position: tuple[int, ...]  # positions on the layer's activation axis
    channel: tuple[int, ...]  # group channel of each position, same length
    axes: tuple[TensorAxis, ...]


@dataclass(frozen=True)
class ChannelGroup:
    """Layers that lose channel *i* together.

    A channel may stand for several positions of a layer (flattened pixels, tied blocks, the dimensions of a head).
    """

    name: str  # the first producer's module path; with a number where the layer makes channels of several groups
    n_channels: int
    members: tuple[GroupMember, ...]
    sizes: tuple[LayerSize, ...] = ()
    readings: tuple[Reading, ...] = ()
    kind: str = CONV  # one of KINDS

    def __str__(self) -> str:
        roles = Counter(member.role.value for member in self.members)
        return f"{self.name}: {self.n_channels} channels, " + ", ".join(f"{n} {role}s" for role, n in roles.items())

    def having(self, role: Role) -> list[GroupMember]:
        """The members that meet the group in this role."""
        return [member for member in self.members if member.role is role]


@dataclass(frozen=True)
class BlockedGroup:
    """Channels that stay, and why: the operator or layer, where it is, and what the user can do."""

    name: str
    n_channels: int
    reason: str
    macs: int = 0  # of the layers that make the channels
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class WeightCost:
    """What one element of a weight tensor costs; a layer's MACs are `macs_per_element` times its weight's elements."""

    tensor: str
    shape: tuple[int, ...]
    macs_per_element: float


@dataclass(frozen=True)
class SharedPositions:
    """Positions of an axis that stay only if they stay in every one of these groups."""

    groups: tuple[str, ...]
    share: float  # of the axis's positions


@dataclass(frozen=True)
class ProductCost:
    """A product of activations (queries by keys, a kernel computed from the input): it shrinks with each axis."""

    macs: float
    axes: tuple[tuple[SharedPositions, ...], ...]  # those that groups lie on


@dataclass(frozen=True)
class ModelCost:
    """Multiply-accumulates per one input, and parameters; both counts, never called a speed-up."""

    macs: int
    params: int
    weights: tuple[WeightCost, ...]  # every parameter, those without MACs too
    fixed_macs: int  # MACs that no weight is part of and no group changes
    products: tuple[ProductCost, ...] = ()  # MACs that no weight is part of and that groups change


@dataclass(frozen=True)
class Coverage:
    """The pre-flight: what may leave, what may not and why."""

    groups: tuple[ChannelGroup, ...]
    blocked: tuple[BlockedGroup, ...]
    cost: ModelCost
    prunable_macs_share: float  # of all MACs, those in layers that a prunable group touches
    group_macs: dict[str, int]  # MACs of the layers that make each group's channels
    tied: tuple[str, ...] = ()  # blocks whose code takes sizes to be one that need not be

    def __str__(self) -> str:
        return f"{len(self.groups)} prunable groups, {self.prunable_macs_share:.0%} of {self.cost.macs:,} MACs"
