"""How long each axis is when groups keep only some of their channels, without touching the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compressor.core.groups import ChannelGroup
from compressor.graph.cost import owners_of


class Extents:
    """Positions that stay on every axis that a group lies on, as named numbers.

    "conv1.weight[0]" is an axis of a tensor, "group conv1" the channels of a group.
    """

    def __init__(self, groups: Sequence[ChannelGroup], shapes: Mapping[str, Sequence[int]]) -> None:
        """
        Args:
            groups: that may lose channels.
            shapes: of the model's parameters and buffers, by name.
        """
        self.groups = {group.name: group.n_channels for group in groups}
        owners: dict[tuple[str, int], list[tuple[str, tuple[int, ...]]]] = {}
        for group in groups:
            for member in group.members:
                for axis in member.axes:
                    owners.setdefault((axis.tensor, axis.axis), []).append((group.name, axis.position))
        # Positions that several groups own together (a head's dimension) stay only if they stay in each.
        self._owned = {
            f"{tensor}[{axis}]": (int(shapes[tensor][axis]), owners_of(found))
            for (tensor, axis), found in owners.items()
        }

    def at(self, n_keep: Mapping[str, int]) -> dict[str, int]:
        """Every axis's length and every group's channels; groups not named stay whole."""
        lengths = self.lengths(n_keep)
        return {name: round(float(lengths[name])) for name in lengths}

    def lengths(self, n_keep: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same, each worked out when it is looked up; a group's channels may be an array of choices."""
        return _Lengths(self.groups, self._owned, n_keep)

    def groups_of(self, name: str) -> frozenset[str]:
        """The groups that one of these numbers depends on."""
        if name.startswith("group "):
            return frozenset({name.removeprefix("group ")})
        return frozenset().union(*self._owned[name][1])


class _Lengths(Mapping[str, Any]):
    def __init__(self, groups: Mapping[str, int], owned: Mapping[str, Any], n_keep: Mapping[str, Any]) -> None:
        self._groups, self._owned, self._kept = groups, owned, n_keep
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = self._length(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._owned
        yield from (f"group {name}" for name in self._groups)

    def __len__(self) -> int:
        return len(self._owned) + len(self._groups)

    def _length(self, name: str) -> Any:
        if name not in self._owned:
            group = name.removeprefix("group ")
            return self._kept.get(group, self._groups[group])
        size, owned = self._owned[name]
        length: Any = float(size)
        for groups, n in owned.items():
            left: Any = float(n)  # a multiple of the groups' sizes, so that what follows is exact
            for group in groups:
                if group in self._kept:
                    left = left * self._kept[group] / self._groups[group]
            length = length - (n - left)
        return length
