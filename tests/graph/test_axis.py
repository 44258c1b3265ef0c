"""The algebra of axes: cases worked by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from compressor.graph.axis import Axis, Repeated, concatenate, divide, merge, part, unify

WHY = "because of this operator"


def live(axis):
    """{atomic axis that may shrink: its index at each position}"""
    return {atom: index.tolist() for atom, index in axis.coordinates().items() if not atom.frozen and atom.size > 1}


def reasons(axis):
    return {atom.frozen for atom in axis.atoms()}


def product(*sizes):
    axis = Axis(math.prod(sizes))
    return axis, divide(axis, sizes, WHY)


def total(*sizes):
    terms = [Axis(size) for size in sizes]
    return concatenate(terms), terms


class TestDivideAndMerge:
    def test_the_first_factor_is_the_outermost(self):
        axis, (outer, inner) = product(2, 3)
        assert live(axis) == {outer: [0, 0, 0, 1, 1, 1], inner: [0, 1, 2, 0, 1, 2]}
        assert axis.factors() == [outer, inner] and merge([outer, inner]).size == 6

    def test_single_positions_do_not_count(self):
        axis = Axis(6)
        one, same, other = divide(axis, [1, 6, 1], WHY)
        assert same is axis and one.size == other.size == 1 and reasons(one) == {"a single position"}
        assert merge([one, axis, other]) is axis and not axis.frozen
        assert merge([one, other]).size == 1 and concatenate([axis]) is axis

    def test_as_finely_as_both_readers_need(self):
        axis, (three, four) = product(3, 4)
        six, two = divide(axis, [6, 2], WHY)
        assert six.factors() == [three, four.factors()[0]] and four.factors()[1] is two
        assert divide(axis, [3, 2, 2], WHY) == [three, *four.factors()] and not any(map(bool, reasons(axis)))
        assert divide(axis, [12], WHY) == [axis]

    def test_a_division_across_an_earlier_one(self):
        axis, _ = product(3, 4)
        four, three = divide(axis, [4, 3], WHY)
        assert (four.size, three.size) == (4, 3) and reasons(axis) == reasons(four) == reasons(three) == {WHY}

    def test_a_frozen_axis_has_frozen_factors_and_parts(self):
        axis, other = Axis(6, "first"), Axis(6, "first")
        assert all(reasons(factor) == {"first"} for factor in divide(axis, [2, 3], WHY))
        assert reasons(part(other, 0, 2, WHY)) == reasons(other) == {"first"}
        axis.freeze("second")
        assert reasons(axis) == {"first"}


class TestSumsAndParts:
    def test_terms_one_after_the_other(self):
        axis, (a, b) = total(2, 3)
        assert axis.is_sum and axis.terms() == [a, b]
        assert live(axis) == {a: [0, 1, -1, -1, -1], b: [-1, -1, 0, 1, 2]}
        nested = concatenate([a, axis, Axis(0)])
        assert nested.terms() == [a, a, b] and live(nested)[a] == [0, 1, 0, 1, -1, -1, -1]

    def test_a_part_divides_the_terms_that_it_crosses(self):
        axis, (a, b) = total(4, 6)
        middle = part(axis, 2, 7, WHY)
        assert middle.terms() == [a.terms()[1], b.terms()[0]]
        assert [term.size for term in axis.terms()] == [2, 2, 3, 3] and not any(map(bool, reasons(axis)))
        assert part(axis, 0, 10, WHY) is axis and part(axis, 0, 4, WHY).terms() == a.terms()

    def test_whole_rows_of_a_product(self):
        axis, (outer, inner) = product(4, 3)
        rows = part(axis, 3, 9, WHY)
        assert rows.factors() == [outer.terms()[1], inner] and outer.terms()[1].size == 2
        assert part(axis, 1, 3, WHY).size == 2 and reasons(axis) == {WHY}

    def test_rows_of_a_sum_are_tied(self):
        axis, (a, b) = total(6, 6)
        rows, columns = divide(axis, [2, 6], WHY)
        assert a.resolve() is b.resolve() is columns and reasons(rows) == {WHY}
        assert live(axis) == {columns: [*range(6), *range(6)]}

    def test_terms_of_several_rows(self):
        axis, (a, b) = total(4, 6)
        rows, columns = divide(axis, [5, 2], WHY)
        assert [term.size for term in rows.terms()] == [2, 3] and not any(map(bool, reasons(axis)))
        assert a.factors() == [rows.terms()[0], columns] and b.factors() == [rows.terms()[1], columns]

    def test_a_term_that_is_one_row(self):
        axis, (a, b) = total(3, 6)
        rows, columns = divide(axis, [3, 3], WHY)
        assert a.resolve() is b.factors()[1] is columns.resolve()
        assert [(term.size, term.frozen) for term in rows.terms()] == [(1, WHY), (2, "")]

    def test_rows_that_cross_terms(self):
        axis, (a, b) = total(2, 4)  # the rows: 2 + 1, and the other 3
        rows, columns = divide(axis, [2, 3], WHY)
        assert reasons(rows) == {WHY} and [term.size for term in columns.terms()] == [2, 1]
        assert b.terms() == [columns.terms()[1], *columns.terms()] and a is columns.terms()[0]


def atom_and_atom():
    a, b = Axis(6), Axis(6)
    return a, b, [6]


def atom_and_product():
    return Axis(6), product(2, 3)[0], [2, 3]


def atom_and_sum():
    return Axis(6), total(2, 4)[0], [2, 4]


def products_that_fit():
    return product(2, 6)[0], product(4, 3)[0], [2, 2, 3]


def products_of_one_kind():
    return product(2, 3)[0], product(2, 3)[0], [2, 3]


def sums_with_other_borders():
    return total(2, 6)[0], total(5, 3)[0], [2, 3, 3]


def product_and_sum_of_rows():
    return product(5, 2)[0], total(4, 6)[0], [2, 3, 2]


class TestUnify:
    @pytest.mark.parametrize("turned", [False, True])
    @pytest.mark.parametrize(
        "make",
        [
            atom_and_atom,
            atom_and_product,
            atom_and_sum,
            products_that_fit,
            products_of_one_kind,
            sums_with_other_borders,
            product_and_sum_of_rows,
        ],
    )
    def test_both_are_divided_as_finely_as_either(self, make, turned):
        a, b, sizes = make()
        unify(*((b, a) if turned else (a, b)), WHY)
        assert live(a) == live(b) and [atom.size for atom in live(a)] == sizes
        unify(a, a, WHY)
        assert len(live(a)) == len(sizes)

    @pytest.mark.parametrize("turned", [False, True])
    def test_what_does_not_fit_is_frozen(self, turned):
        a, b = product(2, 3)[0], product(3, 2)[0]
        unify(*((b, a) if turned else (a, b)), WHY)
        assert reasons(a) == reasons(b) == {WHY}

    def test_terms_that_are_no_rows_keep_the_rows(self):
        axis, (rows, columns) = product(3, 4)
        other, (_, seven) = total(5, 7)  # the rows: 4, 1 + 3, 4
        unify(axis, other, WHY)
        assert reasons(rows) == {WHY} and [term.size for term in columns.terms()] == [1, 3]
        assert live(axis) == live(other) and list(live(axis)) == [seven.terms()[0]]

    @pytest.mark.parametrize("other", [lambda: Axis(6), lambda: product(2, 3)[0], lambda: total(2, 4)[0]])
    @pytest.mark.parametrize("turned", [False, True])
    def test_a_frozen_atom_freezes_what_it_meets(self, other, turned):
        frozen, axis = Axis(6, "fixed"), other()
        unify(*((frozen, axis) if turned else (axis, frozen)), WHY)
        assert reasons(axis) == reasons(frozen) == {"fixed"}

    def test_sizes_must_be_the_same(self):
        with pytest.raises(ValueError, match="sizes 4 and 6 cannot be one"):
            unify(Axis(4), Axis(6), WHY)

    def test_chains_of_equal_axes_are_one(self):
        axes = [Axis(4) for _ in range(5)]
        for one, other in pairwise(axes):
            unify(one, other, WHY)
        assert len({axis.resolve() for axis in axes}) == 1
        axes[3].freeze(WHY)
        assert reasons(axes[0]) == {WHY}


class TestCoordinates:
    def test_a_product_of_sums_and_a_sum_of_products(self):
        outer, (a, b) = total(1, 2)
        inner = Axis(2)
        axis = merge([outer, inner])
        assert {atom: index.tolist() for atom, index in axis.coordinates().items()} == {
            a: [0, 0, -1, -1, -1, -1],
            b: [-1, -1, 0, 0, 1, 1],
            inner: [0, 1, 0, 1, 0, 1],
        }
        assert live(concatenate([inner, axis]))[inner] == [0, 1, 0, 1, 0, 1, 0, 1]

    def test_an_atom_that_is_two_factors(self):
        atom = Axis(3)
        with pytest.raises(Repeated) as twice:
            merge([atom, Axis(2), atom]).coordinates()
        assert twice.value.atom is atom and "two factors of one axis" in str(twice.value)

    def test_an_atom_that_is_a_factor_of_several_terms(self):
        atom, two = Axis(3), Axis(2)
        axis = concatenate([merge([two, atom]), atom])
        assert live(axis)[atom] == [0, 1, 2, 0, 1, 2, 0, 1, 2] and live(axis)[two][-3:] == [-1, -1, -1]
