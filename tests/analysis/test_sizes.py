"""Symbolic sizes: polynomials that print and parse as themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.analysis.sizes import (
    Amount,
    Size,
    divide,
    equal,
    from_dim,
    minus,
    plus,
    product,
    times,
    to_dim,
)

NAMES = {"a": 3, "b": 5, "s0": 2}
AMOUNTS = st.recursive(
    st.one_of(st.integers(-4, 9), st.sampled_from([Size.parse(name) for name in NAMES])),
    lambda inner: st.builds(lambda f, x, y: f(x, y), st.sampled_from([plus, times, minus]),
                            inner, inner),
    max_leaves=5,
)  # fmt: skip


def value(amount: Amount) -> Amount:
    return amount.substitute(NAMES) if isinstance(amount, Size) else amount


@given(AMOUNTS, AMOUNTS)
def test_arithmetic_agrees_with_numbers(a: Amount, b: Amount) -> None:
    x, y = value(a), value(b)
    for symbolic, exact in ((plus(a, b), plus(x, y)), (times(a, b), times(x, y)),
                            (minus(a, b), minus(x, y))):  # fmt: skip
        assert symbolic is None or exact is None or value(symbolic) == exact
    if equal(a, b) is not None and x is not None and y is not None:
        assert equal(a, b) == (x == y)
    quotient = divide(a, b)
    if quotient is not None and x is not None and y and not isinstance(a, int):
        assert times(value(quotient), y) == x


@given(AMOUNTS)
def test_text_round_trip(amount: Amount) -> None:
    if isinstance(amount, Size):
        assert Size.parse(str(amount)) == amount
        assert from_dim(to_dim(amount)) == amount


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("batch", "batch"),
        ("2*batch + 1", "2*batch + 1"),
        ("1+batch*2", "2*batch + 1"),
        ("h*w - 3", "h*w - 3"),
        ("p2o.DynamicDimension.0", "p2o.DynamicDimension.0"),
        ("floor(x/2)", "floor(x/2)"),
        ("a//2", "a//2"),
        ("x y", "x y"),
        ("-1 + n", "n - 1"),
    ],
)
def test_names_that_exporters_write(text: str, printed: str) -> None:
    assert str(Size.parse(text)) == printed


def test_unknown_dimensions() -> None:
    assert from_dim("?") is from_dim(-1) is from_dim(None) is from_dim("") is None
    assert from_dim(0) == 0


def test_unknown_spreads() -> None:
    assert plus(None, 1) is times(2, None) is divide(None, 2) is equal(None, None) is None
    assert product([]) == 1


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("2*n", 2, "n"), ("n*m", "m", "n"), ("2*n + 4", 2, "n + 2"), ("n", "n", 1),
        ("n", 2, None), ("n + 1", "n", None), (7, 2, 3), (7, 0, None), ("n", 0, None),
    ],
)  # fmt: skip
def test_division(a: int | str, b: int | str, expected: int | str | None) -> None:
    assert to_dim(divide(from_dim(a), from_dim(b))) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [("n", -1, False), ("n", "n", True), ("n", 1, None), ("n + 1", 0, False), ("n + 2", "n", False),
     ("n", "m", None), (3, 3, True)],
)  # fmt: skip
def test_equality(a: int | str, b: int | str, expected: bool | None) -> None:
    exact = [Size.parse(x) if isinstance(x, str) else x for x in (a, b)]
    assert equal(*exact) is expected
