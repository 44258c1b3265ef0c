"""Slices that cut one axis into pieces, without gap or overlap, become one split.

Exporters write `chunk` and `split` as slices from a number to a number. A split says the same with the lengths of its
pieces, which stay independent of each other when channels leave.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

from torch import fx, nn

from compressor.loading.programs import placing
from compressor.loading.programs.shape_layers import pieces as split_layer


@dataclass(frozen=True)
class SliceUse:
    """One slice with step 1 of an axis whose length is known."""

    node: fx.Node
    source: fx.Node
    dim: int
    start: int
    stop: int
    length: int


def join_slices(root: nn.Module, graph: fx.Graph, uses: list[SliceUse]) -> None:
    """Replaces every complete set of slices of one axis."""
    sets: dict[tuple[fx.Node, int], list[SliceUse]] = defaultdict(list)
    for use in uses:
        sets[use.source, use.dim].append(use)
    for (source, dim), members in sets.items():
        pieces = sorted({(use.start, use.stop) for use in members})
        complete = pieces[0][0] == 0 and pieces[-1][1] == members[0].length
        if len(pieces) > 1 and complete and all(a[1] == b[0] for a, b in pairwise(pieces)):
            _replace(root, graph, source, dim, members, pieces)


def _replace(
    root: nn.Module, graph: fx.Graph, source: fx.Node, dim: int, members: list[SliceUse], pieces: list[tuple[int, int]]
) -> None:
    first = next(node for node in graph.nodes if node in {use.node for use in members})
    parent = str(first.target).rpartition(".")[0]
    path = placing.add_layer(
        root, f"{parent}.split" if parent else "split", split_layer([stop - start for start, stop in pieces], dim)
    )
    with graph.inserting_before(first):
        split = graph.call_module(path, (source,))
        parts = {piece: graph.call_function(operator.getitem, (split, index)) for index, piece in enumerate(pieces)}
    for use in members:
        use.node.replace_all_uses_with(parts[use.start, use.stop])
