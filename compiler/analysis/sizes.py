"""Sizes that may be symbolic: polynomials with integer coefficients over named dimensions.

``Size.parse("2*batch + 1")`` reads what exporters and we ourselves write into dimension names;
``str`` writes the same form back, so that equal sizes have equal names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from burnish.ir import Dim

Monomial: TypeAlias = tuple[str, ...]
"""Sorted names whose product this is; empty for the constant term."""

UNKNOWN = frozenset({"", "*", "-1", "?", "None", "unk", "unknown"})
"""What exporters write for sizes that they know nothing about, of several axes at once."""

MAX_TERMS = 8
"""Longer polynomials say nothing useful to a reader; they become unknown."""


@dataclass(frozen=True, slots=True)
class Size:
    """A sum of products of named dimensions, each name standing for some integer >= 0."""

    terms: tuple[tuple[Monomial, int], ...]
    """Monomials with their non-zero coefficients, sorted."""

    @classmethod
    def parse(cls, text: str) -> Size:
        """The polynomial that ``text`` spells, else ``text`` as one opaque name."""
        return _parse(text)

    def __add__(self, other: Size | int) -> Size | int | None:
        """The sum."""
        total = dict(self.terms)
        for key, factor in _terms(other):
            total[key] = total.get(key, 0) + factor
        return _make(total)

    def __mul__(self, other: Size | int) -> Size | int | None:
        """The product."""
        total: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                key = tuple(sorted((*left, *right)))
                total[key] = total.get(key, 0) + a * b
        return _make(total)

    @property
    def is_positive(self) -> bool:
        """Whether the value is above 0 for all sizes that are at least 0."""
        constant = dict(self.terms).get((), 0)
        return constant > 0 and all(factor > 0 for _, factor in self.terms)

    @property
    def is_non_negative(self) -> bool:
        """Whether the value cannot be below 0."""
        return all(factor > 0 for _, factor in self.terms)

    def substitute(self, sizes: Mapping[str, int]) -> Size | int | None:
        """The size once some names have a value."""
        result: Amount = 0
        for names, factor in self.terms:
            parts = (sizes.get(name, Size((((name,), 1),))) for name in names)
            result = plus(result, times(factor, product(parts)))
        return result

    def __str__(self) -> str:
        """The form that ``parse`` reads: ``2*batch + 1``."""
        # The constant term comes last; an empty tuple would sort first.
        ordered = [*(t for t in self.terms if t[0]), *(t for t in self.terms if not t[0])]
        text = ""
        for names, factor in ordered:
            parts = ([] if abs(factor) == 1 and names else [str(abs(factor))]) + list(names)
            sign = ("-" if factor < 0 else "") if not text else (" - " if factor < 0 else " + ")
            text += sign + "*".join(parts)
        return text


Amount: TypeAlias = Size | int | None
"""A size: known, symbolic, or unknown."""


def plus(a: Amount, b: Amount) -> Amount:
    """``a + b``; unknown if either is."""
    if a is None or b is None:
        return None
    if isinstance(a, int):
        return a + b if isinstance(b, int) else b + a
    return a + b


def times(a: Amount, b: Amount) -> Amount:
    """``a * b``; unknown if either is (a zero does not hide an unknown that may be an error)."""
    if a is None or b is None:
        return None
    if isinstance(a, int):
        return a * b if isinstance(b, int) else b * a
    return a * b


def minus(a: Amount, b: Amount) -> Amount:
    """``a - b``; unknown if either is."""
    return plus(a, times(b, -1))


def least(bound: int, size: Size) -> Size:
    """The smaller of both, as a name of its own."""
    return Size((((f"min({bound}, {size})",), 1),))


def bounds(size: Amount, other: Amount) -> bool:
    """Whether ``size`` is ``other`` cut to some bound above 1."""
    if not isinstance(size, Size) or not isinstance(other, Size) or len(size.terms) != 1:
        return False
    ((names, factor),) = size.terms
    if factor != 1 or len(names) != 1 or not names[0].startswith("min("):
        return False
    bound, _, rest = names[0][len("min(") : -1].partition(", ")
    return rest == str(other) and bound.isdigit() and int(bound) > 1


def product(amounts: Iterable[Amount]) -> Amount:
    """The product; 1 of nothing."""
    total: Amount = 1
    for amount in amounts:
        total = times(total, amount)
    return total


def total(amounts: Iterable[Amount]) -> Amount:
    """The sum; 0 of nothing."""
    result: Amount = 0
    for amount in amounts:
        result = plus(result, amount)
    return result


def divide(a: Amount, b: Amount) -> Amount:
    """``a / b`` rounded down for sizes; unknown if it is not known to come out even."""
    if a is None or b is None or b == 0:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if a == b:
        return 1
    divisor = _terms(b)
    if len(divisor) != 1:
        return None
    names, factor = divisor[0]
    quotient: dict[Monomial, int] = {}
    for key, value in _terms(a):
        rest = list(key)
        for name in names:
            if name not in rest:
                return None
            rest.remove(name)
        if value % factor:
            return None
        quotient[tuple(rest)] = value // factor
    return _make(quotient)


def equal(a: Amount, b: Amount) -> bool | None:
    """Whether ``a == b`` for every value of the names; None if that depends or is unknown."""
    difference = minus(a, b)
    if difference is None:
        return None
    if isinstance(difference, int):
        return difference == 0
    negative = times(difference, -1)
    never_zero = difference.is_positive or (isinstance(negative, Size) and negative.is_positive)
    return False if never_zero else None


def from_dim(dim: Dim) -> Amount:
    """A dimension of a shape as a size; what exporters write for "unknown" is unknown."""
    if isinstance(dim, str):
        return None if dim in UNKNOWN else Size.parse(dim)
    return None if dim is None or dim < 0 else dim


def to_dim(amount: Amount) -> Dim:
    """A size as a dimension of a shape."""
    return str(amount) if isinstance(amount, Size) else amount


def _terms(value: Size | int) -> tuple[tuple[Monomial, int], ...]:
    return value.terms if isinstance(value, Size) else (((), value),) if value else ()


def _make(total: Mapping[Monomial, int]) -> Amount:
    terms = tuple(sorted((key, factor) for key, factor in total.items() if factor))
    if all(not key for key, _ in terms):
        return sum(factor for _, factor in terms)
    return Size(terms) if len(terms) <= MAX_TERMS else None


@lru_cache(maxsize=4096)
def _parse(text: str) -> Size:
    opaque = Size((((text,), 1),))
    if text.isidentifier():
        return opaque
    try:
        value = _evaluate(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return opaque
    return value if isinstance(value, Size) else opaque


def _evaluate(tree: ast.expr) -> Amount:
    """The value of a sum or product of names and integers.

    Raises:
        ValueError: ``tree`` is something else.
    """
    if isinstance(tree, ast.Name):
        return Size((((tree.id,), 1),))
    if isinstance(tree, ast.Constant) and type(tree.value) is int:
        return tree.value
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return times(_evaluate(tree.operand), -1)
    combine = {ast.Add: plus, ast.Sub: minus, ast.Mult: times}
    if isinstance(tree, ast.BinOp) and type(tree.op) in combine:
        return combine[type(tree.op)](_evaluate(tree.left), _evaluate(tree.right))
    raise ValueError(f"{ast.dump(tree)} is no sum or product")
