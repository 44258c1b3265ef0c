"""Axes of tensors as sums and products of atomic axes: what makes reshapes, splits and concatenations exact.

An axis is atomic, a product of axes (row-major, outermost first: what `view` makes when it joins or divides axes), or a
sum of axes (one after the other: what `cat` joins and `split` divides). Two axes that an operator matches are made one
(`unify`); an axis that two operators divide differently is divided as finely as both need. Where no common division
exists, or an operator reads positions by number, the axis is frozen: it keeps its size.

    qkv.weight 0 = 3 * heads * dim        read by view(B, N, 3, heads, dim)
    concat       = a + b                  read by the next convolution
    flattened    = channels * pixels      read by the classifier

Removing index i of an atomic axis removes every position, on every tensor, whose coordinate on it is i.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, count, pairwise

import numpy as np
from numpy.typing import NDArray

_numbers = count()


class Axis:
    """One axis; `resolve` gives the one that it was made equal to."""

    __slots__ = ("_kind", "_parent", "_parts", "frozen", "number", "size")

    def __init__(self, size: int, frozen: str = "") -> None:
        self.number = next(_numbers)  # in order of making
        self.size = size
        self.frozen = frozen  # why it keeps its size; empty if it may shrink. Meaningful on atomic axes.
        self._parent: Axis | None = None
        self._kind = ""  # "product", "sum", or empty for an atomic axis
        self._parts: list[Axis] = []

    def resolve(self) -> Axis:
        """The axis that stands for all those made equal to this one."""
        axis = self
        while axis._parent is not None:
            axis = axis._parent
        while self._parent is not None and self._parent is not axis:  # so that the next way is short
            self._parent, self = axis, self._parent
        return axis

    @property
    def is_sum(self) -> bool:
        """Whether it is several axes one after the other."""
        return self.resolve()._kind == "sum"

    def factors(self) -> list[Axis]:
        """Its factors, outermost first, none of which is a product; itself if it is none."""
        axis = self.resolve()
        if axis._kind != "product":
            return [axis]
        return [factor for part in axis._parts for factor in part.factors()]

    def terms(self) -> list[Axis]:
        """Its terms in order, none of which is a sum; itself if it is none."""
        axis = self.resolve()
        if axis._kind != "sum":
            return [axis]
        return [term for part in axis._parts for term in part.terms()]

    def atoms(self) -> Iterator[Axis]:
        """The atomic axes it is made of; one may come more than once."""
        axis = self.resolve()
        if not axis._kind:
            yield axis
        for part in axis._parts:
            yield from part.atoms()

    def coordinates(self) -> dict[Axis, NDArray[np.int64]]:
        """{atomic axis: its index at each position of this one, -1 where it has none}, each of shape (size,).

        Raises:
            Repeated: an atomic axis that may shrink is two factors of one position: no single index says what leaves.
        """
        axis = self.resolve()
        if not axis._kind:
            return {axis: np.arange(axis.size)}
        found: dict[Axis, NDArray[np.int64]] = {}
        if axis._kind == "sum":
            begin = 0
            for part in axis._parts:
                for atom, index in part.coordinates().items():
                    whole = found.setdefault(atom, np.full(axis.size, -1))
                    whole[begin : begin + part.size] = index
                begin += part.size
            return found
        inner = axis.size
        for part in axis._parts:
            inner //= part.size
            for atom, index in part.coordinates().items():
                spread = np.tile(np.repeat(index, inner), axis.size // (inner * part.size))
                known = found.setdefault(atom, np.full(axis.size, -1))
                if not atom.frozen and ((known >= 0) & (spread >= 0)).any():
                    raise Repeated(atom)
                known[spread >= 0] = spread[spread >= 0]
        return found

    def freeze(self, reason: str) -> None:
        """Keeps every atomic axis in it at its size; the first reason stays."""
        for atom in self.atoms():
            atom.frozen = atom.frozen or reason

    def __repr__(self) -> str:
        axis = self.resolve()
        if not axis._kind:
            return f"a{axis.number}[{axis.size}]{'!' if axis.frozen else ''}"
        return "(" + (" * " if axis._kind == "product" else " + ").join(map(repr, axis._parts)) + ")"


class Repeated(Exception):
    """An atomic axis is a factor twice (a product of a tensor with itself, flattened)."""

    def __init__(self, atom: Axis) -> None:
        super().__init__(f"{atom!r} is two factors of one axis")
        self.atom = atom


def merge(axes: Sequence[Axis]) -> Axis:
    """The product, outermost first; axes of size 1 do not count."""
    parts = [axis for axis in axes if axis.size > 1]
    return _compound("product", parts, math.prod(axis.size for axis in axes))


def concatenate(axes: Sequence[Axis]) -> Axis:
    """The sum, in order."""
    return _compound("sum", [axis for axis in axes if axis.size > 0], sum(axis.size for axis in axes))


def divide(axis: Axis, sizes: Sequence[int], why: str) -> list[Axis]:
    """The factors of these sizes, outermost first; their product is the axis's size.

    Args:
        axis: becomes a product.
        sizes: of the factors.
        why: reason for freezing where the division crosses an earlier one.
    """
    wanted = [size for size in sizes if size != 1]
    found = iter(_divide(axis.resolve(), wanted, why) if wanted else [])
    return [Axis(1, "a single position") if size == 1 else next(found) for size in sizes]


def part(axis: Axis, start: int, stop: int, why: str) -> Axis:
    """Positions `start` to `stop` as an axis; `axis` becomes a sum if it has others."""
    axis = axis.resolve()
    if start == 0 and stop == axis.size:
        return axis
    if axis._kind == "product":
        outer, *others = axis._parts
        inner = axis.size // outer.resolve().size
        if start % inner or stop % inner:
            axis.freeze(why)
            return Axis(stop - start, why)
        return merge([part(outer, start // inner, stop // inner, why), *others])
    if not axis._kind:
        borders = sorted({0, start, stop, axis.size})
        axis._kind, axis._parts = "sum", [Axis(b - a, axis.frozen) for a, b in pairwise(borders)]
    pieces, begin = [], 0
    for each in list(axis._parts):
        low, high = max(start, begin), min(stop, begin + each.size)
        if low < high:
            pieces.append(part(each, low - begin, high - begin, why))
        begin += each.size
    return concatenate(pieces)


def unify(a: Axis, b: Axis, why: str) -> None:
    """Makes two axes of one size the same axis."""
    a, b = a.resolve(), b.resolve()
    if a is b:
        return
    if a.size != b.size:
        raise ValueError(f"axes of sizes {a.size} and {b.size} cannot be one")
    if not a._kind or not b._kind:
        compound, atom = (a, b) if a._kind else (b, a)
        if any(atom is inner for inner in compound.atoms()):  # only through a division that was frozen
            compound.freeze(why)
            return
        if atom.frozen:
            compound.freeze(atom.frozen)
        elif compound.frozen and not compound._kind:
            atom.freeze(compound.frozen)
        atom._parent = compound
    elif a._kind == b._kind == "sum":
        _unify_sums(a, b, why)
    elif a._kind == "product" and b._kind == "product":
        _unify_products(a, b, why)
    else:
        product, total = (a, b) if a._kind == "product" else (b, a)
        factors = product.factors()
        for mine, theirs in zip(factors, divide(total, [f.size for f in factors], why), strict=True):
            unify(mine, theirs, why)


def _compound(kind: str, parts: list[Axis], size: int) -> Axis:
    if len(parts) == 1:
        return parts[0].resolve()
    axis = Axis(size)
    if not parts:
        axis.frozen = "a single position"
        return axis
    axis._kind, axis._parts = kind, parts
    return axis


def _divide(axis: Axis, sizes: list[int], why: str) -> list[Axis]:
    """As `divide`; no size is 1."""
    axis = axis.resolve()
    if len(sizes) == 1:
        return [axis]
    if not axis._kind:
        axis._kind, axis._parts = "product", [Axis(size, axis.frozen) for size in sizes]
        return list(axis._parts)
    if axis._kind == "sum":
        outer, inner = sizes[0], math.prod(sizes[1:])
        first, rest = _divide_sum(axis, outer, inner, why)
        return [first, *_divide(rest, sizes[1:], why)]
    return _regroup(axis.factors(), sizes, axis, why)


def _regroup(factors: list[Axis], sizes: list[int], whole: Axis, why: str) -> list[Axis]:
    """Factors of other sizes, by dividing and joining the given ones."""
    left, found = list(factors), []
    for size in sizes:
        taken: list[Axis] = []
        missing = size
        while missing > 1:
            first = left.pop(0)
            if missing % first.size == 0:
                taken.append(first)
                missing //= first.size
            elif first.size % missing == 0:
                one, other = _divide(first, [missing, first.size // missing], why)
                taken.append(one)
                left.insert(0, other)
                missing = 1
            else:
                whole.freeze(why)
                return [Axis(each, why) for each in sizes]
        found.append(merge(taken))
    return found


def _divide_sum(total: Axis, outer: int, inner: int, why: str) -> tuple[Axis, Axis]:
    """(outer, inner) factors of a sum: its terms, or its rows, all have the same inner axis."""
    terms = total.terms()
    if all(term.size % inner == 0 for term in terms):
        pairs = [_divide(t, [t.size // inner, inner], why) if t.size > inner else [Axis(1), t] for t in terms]
        first, inners = concatenate([pair[0] for pair in pairs]), [pair[1] for pair in pairs]
        for single in first.terms():
            if single.size == 1:
                single.freeze(why)
    else:
        borders = [i * inner for i in range(outer + 1)]
        inners = [part(total, start, stop, why) for start, stop in pairwise(borders)]
        first = Axis(outer, why)
    for other in inners[1:]:
        unify(inners[0], other, why)
    # From now on it is a product: the next reader finds the rows already tied.
    total._kind, total._parts = "product", [first, inners[0]]
    return first, inners[0]


def _unify_products(a: Axis, b: Axis, why: str) -> None:
    mine, theirs = a.factors(), b.factors()
    while mine and theirs:
        x, y = mine.pop(0), theirs.pop(0)
        x, y = x.resolve(), y.resolve()
        if x.size == y.size:
            unify(x, y, why)
            continue
        (large, larges), (small, _) = ((x, mine), (y, theirs)) if x.size > y.size else ((y, theirs), (x, mine))
        if large.size % small.size:
            a.freeze(why)
            b.freeze(why)
            return
        one, other = _divide(large, [small.size, large.size // small.size], why)
        larges.insert(0, other)
        unify(one, small, why)


def _unify_sums(a: Axis, b: Axis, why: str) -> None:
    borders = sorted(set(_borders(a.terms())) | set(_borders(b.terms())))
    for start, stop in pairwise(borders):
        unify(part(a, start, stop, why), part(b, start, stop, why), why)


def _borders(terms: Iterable[Axis]) -> list[int]:
    return [0, *accumulate(term.size for term in terms)]
