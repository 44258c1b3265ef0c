"""The algebra of axes against arrays of labels that the same steps move beside them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.graph.axis import Axis, Repeated, concatenate, divide, merge, part, unify
from tests.graph.test_axis import WHY, live, reasons


@dataclass
class Array:
    """Labels beside axes, and how to make the same array of smaller ones."""

    labels: np.ndarray
    dims: list[Axis]
    sources: list[Array] = field(default_factory=list)
    again: Callable[..., np.ndarray] = lambda: np.empty(0)  # of the cut sources and `kept`


def fresh(size, number):
    return Array(1000 * number + np.arange(size), [Axis(size)])


def reshaped(source, sizes):
    dims = divide(merge(source.dims), sizes, WHY)
    return Array(
        source.labels.reshape(sizes), dims, [source], lambda cut, kept: cut.reshape([len(kept(axis)) for axis in dims])
    )


def permuted(source, order):
    dims = [source.dims[i] for i in order]
    return Array(source.labels.transpose(order), dims, [source], lambda cut, kept: cut.transpose(order))


def sliced(source, number, start, stop):
    axis = source.dims[number]
    dims = [part(a, start, stop, WHY) if i == number else a for i, a in enumerate(source.dims)]

    def again(cut, kept):
        left = kept(axis)
        return cut.take(range(sum(p < start for p in left), sum(p < stop for p in left)), number)

    return Array(source.labels.take(range(start, stop), number), dims, [source], again)


def concatenated(a, b, number):
    dims = []
    for i, (x, y) in enumerate(zip(a.dims, b.dims, strict=True)):
        if i == number:
            dims.append(concatenate([x, y]))
        else:
            unify(x, y, WHY)
            dims.append(x)
    return Array(
        np.concatenate([a.labels, b.labels], number),
        dims,
        [a, b],
        lambda one, other, kept: np.concatenate([one, other], number),
    )


def added(a, b):
    for x, y in zip(a.dims, b.dims, strict=True):
        unify(x, y, WHY)
    return Array(a.labels * 1_000_003 + b.labels, a.dims, [a, b], lambda one, other, kept: one * 1_000_003 + other)


def factorisation(draw, n):
    """Sizes whose product is n."""
    sizes = []
    while n > 1 and len(sizes) < 3:
        sizes.append(draw(st.sampled_from([d for d in range(1, n + 1) if n % d == 0])))
        n //= sizes[-1]
    return [*sizes, n]


def fits(a, b, number):
    shapes = a.labels.shape, b.labels.shape
    return len(shapes[0]) == len(shapes[1]) and all(
        x == y for i, (x, y) in enumerate(zip(*shapes, strict=True)) if i != number
    )


def step(draw, arrays, kinds):
    """One more array, made of those there are; None if the drawn step is impossible."""
    kind, source = draw(st.sampled_from(kinds)), draw(st.sampled_from(arrays))
    shape = source.labels.shape
    number = draw(st.integers(0, len(shape) - 1))
    if kind == "reshape":
        return reshaped(source, factorisation(draw, source.labels.size))
    if kind == "permute":
        return permuted(source, draw(st.permutations(range(len(shape)))))
    if kind == "slice" and shape[number] > 1:
        start = draw(st.integers(0, shape[number] - 1))
        return sliced(source, number, start, draw(st.integers(start + 1, shape[number])))
    if kind == "concatenate" and source.labels.size <= 24:
        return concatenated(source, draw(st.sampled_from([b for b in arrays if fits(source, b, number)])), number)
    if kind == "add":
        return added(source, draw(st.sampled_from([b for b in arrays if fits(source, b, -1)])))
    if kind == "freeze":
        draw(st.sampled_from(list(source.dims[number].atoms()))).freeze(WHY)
    return None


def program(draw, kinds, n_steps=8):
    """Arrays with their history, sources first."""
    arrays = [fresh(draw(st.sampled_from([4, 6, 8, 12])), i) for i in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.integers(1, n_steps))):
        made = step(draw, arrays, kinds)
        arrays += [made] if made is not None else []
    return arrays


def freeze_repeated(axes):
    for axis in axes:
        try:
            axis.coordinates()
        except Repeated:
            axis.freeze("repeated")


def indices(axis):
    """As `live`; nothing where an atomic axis is two factors, which freezes it."""
    try:
        return live(axis)
    except Repeated:
        return {}


ALL = ["reshape", "permute", "slice", "concatenate", "add", "freeze"]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_cutting_first_and_cutting_last_are_the_same(data):
    """What the axes promise: whatever leaves an atomic axis, the same steps on what stays give what stays."""
    arrays = program(data.draw, ALL)
    axes = [axis for array in arrays for axis in array.dims]
    freeze_repeated(axes)
    atoms = list(dict.fromkeys(atom for axis in axes for atom in indices(axis)))
    gone = {atom: data.draw(st.sets(st.integers(0, atom.size - 1), max_size=atom.size - 1)) for atom in atoms}

    def kept(axis):
        return [p for p in range(axis.size) if not any(i[p] in gone[atom] for atom, i in indices(axis).items())]

    cut = {}
    for array in arrays:  # in the order of making
        expected = array.labels[np.ix_(*map(kept, array.dims))]
        sources = [cut[id(source)] for source in array.sources]
        cut[id(array)] = array.again(*sources, kept=kept) if sources else expected
        assert np.array_equal(cut[id(array)], expected)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kinds", [["reshape", "permute"], ["slice", "concatenate"]], ids=["products", "sums"])
def test_coordinates_tell_positions_apart_as_labels_do(data, kinds):
    """Where nothing ties two axes, the axes know as much as the labels: no more, and no less."""
    arrays = program(data.draw, kinds)
    for array in arrays:
        assert [axis.size for axis in array.dims] == list(array.labels.shape)
        if len(array.dims) > 1 and kinds[0] == "slice":
            continue
        shape = array.labels.shape
        grids = [
            (atom.number, np.broadcast_to(index.reshape([-1 if i == n else 1 for i in range(len(shape))]), shape))
            for n, axis in enumerate(array.dims)
            for atom, index in axis.coordinates().items()
            if axis.size > 1
        ]
        if any(atom.frozen for axis in array.dims if axis.size > 1 for atom in axis.atoms()):
            continue  # a division across another
        found = list(zip(*(grid.ravel().tolist() for _, grid in grids), strict=True)) or [()]
        labels = array.labels.ravel().tolist()
        assert len(set(zip(found, labels, strict=True))) == len(set(found)) == len(set(labels))


def drawn_axis(draw, size, pool, depth=2):
    """An axis of this size; its atoms may be those of the pool."""
    same = [axis for axis in pool if axis.size == size]
    if same and draw(st.booleans()):
        return draw(st.sampled_from(same))
    kind = draw(st.sampled_from(["atom", "product", "sum"])) if depth and size > 1 else "atom"
    if kind == "product":
        axis = merge([drawn_axis(draw, each, pool, depth - 1) for each in factorisation(draw, size)])
    elif kind == "sum":
        first = draw(st.integers(1, size - 1))
        axis = concatenate([drawn_axis(draw, each, pool, depth - 1) for each in (first, size - first)])
    else:
        axis = Axis(size, draw(st.sampled_from(["", "", "", "fixed"])))
    pool.append(axis)
    return axis


def pattern(axes):
    """What may leave together, without names: per atomic axis that may shrink, where it lies on all of `axes`."""
    freeze_repeated(axes)
    freeze_repeated(axes)
    lies: dict[Axis, dict[int, list[int]]] = {}
    for number, axis in enumerate(axes):
        for atom, index in indices(axis).items():
            lies.setdefault(atom, {})[number] = index
    return sorted(sorted(where.items()) for where in lies.values())


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_unify_is_symmetric_and_idempotent(data):
    pool: list[Axis] = []
    size = data.draw(st.sampled_from([4, 6, 8, 12]))
    a, b = drawn_axis(data.draw, size, pool), drawn_axis(data.draw, size, pool)
    fixed = [atom for axis in pool for atom in axis.atoms() if atom.frozen]
    other_a, other_b, other_pool = copy.deepcopy((a, b, pool))
    unify(a, b, WHY)
    unify(other_b, other_a, WHY)
    found = pattern([a, b, *pool])
    assert found == pattern([other_a, other_b, *other_pool])
    unify(a, b, WHY)
    assert found == pattern([a, b, *pool])
    assert indices(a) == indices(b)
    assert all(all(reasons(atom)) for atom in fixed)
