"""What a number in several files of one model is made of: constant, or a named quantity, or two of them joined.

A model was written at several sizes. A number that stands at the same place in all files (an axis of a weight, an entry
of a reshape) is a vector, one entry a file, and so is each named quantity (channels of a layer). Equal vectors are
taken to be the same thing. The simplest explanation wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

Vector = tuple[int, ...]


@dataclass(frozen=True)
class Size:
    """`constant + factor * (product of quantities)`, plus another such product where there are two terms."""

    constant: int = 0
    terms: tuple[tuple[Fraction, tuple[str, ...]], ...] = ()

    def at(self, quantities: Mapping[str, int]) -> int:
        """Its value where the quantities have these values.

        >>> Size(1, ((Fraction(3), ("heads", "dim")),)).at({"heads": 4, "dim": 8})
        97
        """
        total = Fraction(self.constant)
        for factor, names in self.terms:
            product = factor
            for name in names:
                product *= quantities[name]
            total += product
        return int(total)

    @property
    def is_constant(self) -> bool:
        """Whether it is the same in every file."""
        return not self.terms

    @property
    def quantities(self) -> frozenset[str]:
        """Names that it depends on."""
        return frozenset(name for _, names in self.terms for name in names)


class Explanations:
    """Finds the size behind a vector; what was found is remembered."""

    def __init__(self, quantities: Mapping[str, Vector]) -> None:
        """
        Args:
            quantities: name -> value in each file, all vectors of one length.
        """
        self._vectors = dict(quantities)
        self._named: dict[Vector, str] = {}
        for name, vector in quantities.items():
            if len(set(vector)) > 1:
                self._named.setdefault(vector, name)
        self._found: dict[Vector, Size | None] = {}

    def of(self, vector: Vector, likely: str = "") -> Size | None:
        """The simplest size with these values; None if there is none. `likely` is preferred where it fits."""
        if len(set(vector)) == 1:
            return Size(vector[0])
        if self._vectors.get(likely) == vector:
            return _one(likely)
        if vector not in self._found:
            self._found[vector] = next(self._candidates(vector), None)
        return self._found[vector]

    def _candidates(self, vector: Vector) -> Iterator[Size]:
        if vector in self._named:
            yield _one(self._named[vector])
        for known, name in self._named.items():  # a multiple or a part
            factor = _factor(vector, known)
            if factor:
                yield Size(0, ((factor, (name,)),))
        for known, name in self._named.items():  # an end that lies a fixed distance behind
            shift = vector[0] - known[0]
            if all(v - k == shift for v, k in zip(vector, known, strict=True)):
                yield Size(shift, ((Fraction(1), (name,)),))
        for known, name in self._named.items():  # a sum (the end of a part), a difference, or a product
            rest = tuple(v - k for v, k in zip(vector, known, strict=True))
            if rest in self._named:
                yield Size(0, ((Fraction(1), (name,)), (Fraction(1), (self._named[rest],))))
            back = tuple(-r for r in rest)
            if back in self._named:
                yield Size(0, ((Fraction(1), (name,)), (Fraction(-1), (self._named[back],))))
            if all(k and v % k == 0 for v, k in zip(vector, known, strict=True)):
                other = tuple(v // k for v, k in zip(vector, known, strict=True))
                if other in self._named:
                    yield Size(0, ((Fraction(1), (name, self._named[other])),))
                for second, second_name in self._named.items():
                    factor = _factor(other, second)
                    if factor:
                        yield Size(0, ((factor, (name, second_name)),))


def _one(name: str) -> Size:
    return Size(0, ((Fraction(1), (name,)),))


def _factor(vector: Vector, known: Vector) -> Fraction | None:
    if not known[0] or not vector[0]:
        return None
    factor = Fraction(vector[0], known[0])
    fits = all(v * factor.denominator == k * factor.numerator for v, k in zip(vector, known, strict=True))
    return factor if fits else None
