"""Numbers in several files, explained by quantities: planted causes come back, and what has none is not explained."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exporters.elastic.sizes import Explanations, Size

# Three files: a whole one and two others.
KNOWN = {"a": (64, 40, 24), "b": (48, 20, 33), "heads": (6, 4, 3), "dim": (32, 16, 24), "still": (7, 7, 7)}
ONE = Fraction(1)


@pytest.fixture
def explanations():
    return Explanations(KNOWN)


@pytest.mark.parametrize(
    ("vector", "size"),
    [
        ((5, 5, 5), Size(5)),
        ((7, 7, 7), Size(7)),  # what never varies explains nothing
        ((48, 20, 33), Size(0, ((ONE, ("b",)),))),
        ((192, 120, 72), Size(0, ((Fraction(3), ("a",)),))),
        ((32, 20, 12), Size(0, ((Fraction(1, 2), ("a",)),))),
        ((58, 30, 43), Size(10, ((ONE, ("b",)),))),
    ],
)
def test_the_simplest_cause(explanations, vector, size):
    assert explanations.of(vector) == size


@pytest.mark.parametrize(
    ("vector", "at"),
    [
        ((112, 60, 57), lambda q: q["a"] + q["b"]),
        ((192, 64, 72), lambda q: q["heads"] * q["dim"]),
        ((576, 192, 216), lambda q: 3 * q["heads"] * q["dim"]),
        ((16, 20, -9), lambda q: q["a"] - q["b"]),
    ],
)
def test_two_quantities(explanations, vector, at):
    size = explanations.of(vector)
    other = {"a": 50, "b": 11, "heads": 5, "dim": 20}
    assert size is not None and size.at(other) == at(other) and len(size.quantities) == 2


def test_what_nothing_explains(explanations):
    assert explanations.of((63, 41, 17)) is None
    assert explanations.of((63, 41, 17)) is None  # remembered


def test_of_equal_vectors_the_likely_one():
    explanations = Explanations({"first": (8, 5, 3), "second": (8, 5, 3), "third": (8, 4, 3)})
    assert explanations.of((8, 5, 3)).quantities == {"first"}
    assert explanations.of((8, 5, 3), "second").quantities == {"second"}
    assert explanations.of((8, 5, 3), "third").quantities == {"first"}  # it does not fit
    assert explanations.of((8, 5, 3), "unknown").quantities == {"first"}


def test_a_size_says_what_it_depends_on():
    assert Size(3).is_constant and Size(3).quantities == frozenset() and Size(3).at({}) == 3
    size = Size(1, ((Fraction(2), ("x", "y")), (Fraction(-1), ("z",))))
    assert not size.is_constant and size.quantities == {"x", "y", "z"} and size.at({"x": 3, "y": 4, "z": 5}) == 20


vectors = st.lists(st.integers(2, 200), min_size=4, max_size=4).map(tuple)


@given(st.dictionaries(st.sampled_from("abcdef"), vectors, min_size=1), vectors)
def test_an_explanation_holds_in_every_file(quantities, vector):
    """Whatever is found, coincidence or not, has the seen values."""
    size = Explanations(quantities).of(vector)
    if size is not None:
        for file, value in enumerate(vector):
            assert size.at({name: values[file] for name, values in quantities.items()}) == value


@given(
    st.dictionaries(st.sampled_from("abcdef"), vectors, min_size=2),
    st.integers(1, 6),
    st.integers(-9, 9),
    st.sampled_from(["multiple", "shift", "sum", "product", "difference"]),
    st.data(),
)
def test_planted_causes_are_found(quantities, factor, shift, kind, data):
    one, other = (data.draw(st.sampled_from(sorted(quantities))) for _ in range(2))
    assume(all(len(set(vector)) > 1 for vector in quantities.values()))
    planted = {
        "multiple": lambda x, y: factor * x,
        "shift": lambda x, y: x + shift,
        "sum": lambda x, y: x + y,
        "product": lambda x, y: factor * x * y,
        "difference": lambda x, y: x - y,
    }[kind]
    vector = tuple(planted(x, y) for x, y in zip(quantities[one], quantities[other], strict=True))
    size = Explanations(quantities).of(vector)
    assert size is not None
    files = [{name: values[file] for name, values in quantities.items()} for file in range(4)]
    assert tuple(size.at(file) for file in files) == vector
