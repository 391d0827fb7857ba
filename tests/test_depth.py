"""What is tried every time and what with the slow tests only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import pytest

from tests.depth import every_other, mostly_slow


def quick(params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Values that are tried every time."""
    sets = [one if hasattr(one, "marks") else pytest.param(one) for one in params]
    return [one.values for one in sets if not one.marks]


@pytest.mark.parametrize("sizes", [(2, 2), (5, 2), (3, 4), (2, 2, 2), (4, 5, 2), (2, 3, 2, 3)])
def test_every_value_comes_up_each_time_and_of_three_axes_every_pair(
    sizes: tuple[int, ...],
) -> None:
    axes = [[f"{at}{place}" for place in range(size)] for at, size in enumerate(sizes)]
    tried = quick(every_other(*axes))
    assert 0 < len(tried) <= (len(list(product(*axes))) + 1) // 2
    assert {value for each in tried for value in each} == {v for axis in axes for v in axis}
    if len(axes) > 2:
        pairs = {pair for each in tried for pair in combinations(each, 2)}
        assert pairs == {
            pair for one, other in combinations(axes, 2) for pair in product(one, other)
        }


def test_an_axis_of_one_value_is_refused() -> None:
    with pytest.raises(ValueError, match="half of what goes with"):
        every_other([1, 2, 3], ["only"])


def test_what_is_tried_often_is_among_the_values() -> None:
    assert quick(mostly_slow(["a", "b", "c"], ["b"])) == [("b",)]
    for often in (["d"], ["a", "d"], []):
        with pytest.raises(ValueError, match="to try often"):
            mostly_slow(["a", "b"], often)
