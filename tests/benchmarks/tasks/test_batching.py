"""Batches of one size over any number of items."""

import numpy as np
import pytest

from benchmarks.tasks.batching import batches, first_output


@pytest.mark.parametrize(("items", "counts"), [(6, [3, 3]), (7, [3, 3, 1]), (2, [2])])
def test_the_last_batch_is_filled_up(items: int, counts: list[int]) -> None:
    x = np.arange(1, items + 1, dtype=np.float32)[:, None]
    found = list(batches({"x": x}, 3))
    assert [count for _, count in found] == counts
    assert {feeds["x"].shape for feeds, _ in found} == {(3, 1)}
    assert found[-1][0]["x"].sum() == x[-counts[-1] :].sum()
    rows = np.concatenate(list(first_output(lambda feeds: {"y": feeds["x"] * 2}, {"x": x}, 3)))
    np.testing.assert_array_equal(rows, 2 * x)
