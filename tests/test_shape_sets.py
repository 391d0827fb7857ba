"""Sets of input shapes: how shapes pair up, and what cannot be a set."""

from __future__ import annotations

import pytest

from burnish.errors import UsageError
from burnish.shape_sets import distinct, pair_up

X, Y, M = ("x", (1, 3)), ("x", (1, 5)), ("m", (2,))


@pytest.mark.parametrize(
    ("given", "sets"),
    [
        ([], [{}]),
        ([X], [{"x": (1, 3)}]),
        ([X, M], [{"x": (1, 3), "m": (2,)}]),
        ([X, Y], [{"x": (1, 3)}, {"x": (1, 5)}]),
        ([X, M, Y], [{"x": (1, 3), "m": (2,)}, {"x": (1, 5), "m": (2,)}]),
        ([X, M, ("m", (4,)), Y], [{"x": (1, 3), "m": (2,)}, {"x": (1, 5), "m": (4,)}]),
        ([X, M, X, ("m", (4,))], [{"x": (1, 3), "m": (2,)}, {"x": (1, 3), "m": (4,)}]),
    ],
)
def test_the_kth_shape_of_each_name_belongs_to_set_k(
    given: list[tuple[str, tuple[int, ...]]], sets: list[dict[str, tuple[int, ...]]]
) -> None:
    assert pair_up(given) == sets


def test_names_that_do_not_come_equally_often_are_refused() -> None:
    with pytest.raises(UsageError, match="gives 'x' 2 times, 'm' 3 times: the first shapes of all"):
        pair_up([X, M, Y, M, ("m", (4,))])


def test_a_set_that_comes_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="x=1,3 m=2 are given twice"):
        pair_up([X, M, X, M])
    with pytest.raises(UsageError, match="are given twice"):
        distinct([{}, {}])
