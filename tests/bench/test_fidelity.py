"""How near outputs are to the original's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from burnish.bench.fidelity import fidelity

ROWS = np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 0.0]], np.float32)


def test_equal_outputs() -> None:
    (found,) = fidelity([{"y": ROWS}], [{"y": ROWS.copy()}])
    assert (found.error, found.kl, found.top1, found.sqnr) == (0.0, 0.0, 1.0, None)


def test_other_outputs() -> None:
    other = ROWS.copy()
    other[1] = [0.0, 1.0, 3.0]
    (found,) = fidelity([{"y": ROWS}, {"y": ROWS}], [{"y": other}, {"y": ROWS}])
    assert found.error == 1.0
    assert found.top1 == 0.75
    assert found.sqnr == pytest.approx(10 * math.log10(2 * 24 / 18))
    p = np.exp(ROWS[1]) / np.exp(ROWS[1]).sum()
    q = p[::-1]
    assert found.kl == pytest.approx(float((p * np.log(p / q)).sum()) / 4)


@pytest.mark.parametrize(
    "array", [np.array([1, 2]), np.array(["a", "b"]), np.array(True), [np.zeros(2)]]
)
def test_what_is_no_number_has_no_noise(array: object) -> None:
    for found in fidelity([{"y": array}], [{"y": array}]):
        assert (found.error, found.kl, found.top1, found.sqnr) == (0.0, None, None, None)


def test_scalars_have_noise_but_no_rows() -> None:
    (found,) = fidelity([{"y": np.array(2.0, np.float32)}], [{"y": np.array(1.0, np.float32)}])
    assert found.sqnr == pytest.approx(10 * math.log10(4))
    assert found.kl is None


def test_rows_that_are_not_finite_are_left_out() -> None:
    wrong = ROWS.copy()
    wrong[0, 0] = np.nan
    (found,) = fidelity([{"y": wrong}], [{"y": wrong}])
    assert (found.kl, found.top1) == (0.0, 1.0)


def test_empty_outputs() -> None:
    empty = np.zeros((0, 3), np.float32)
    (found,) = fidelity([{"y": empty}], [{"y": empty}])
    assert (found.error, found.kl, found.sqnr) == (0.0, None, None)
