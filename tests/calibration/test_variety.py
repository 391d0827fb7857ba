"""What is said of samples that do not differ, or of which only some inputs do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from burnish.calibration.variety import Variety
from burnish.ir import Array

ONES, TWOS = np.ones(4, np.float32), np.full(4, 2, np.float32)
TOKENS, SIZE = np.arange(4), np.array([640.0], np.float32)
LINE = np.linspace(0, 1, 4, dtype=np.float32)


@pytest.mark.parametrize(
    ("samples", "monotony", "constants"),
    [
        ([{"x": LINE}, {"x": ONES}], "", ""),
        ([{"x": LINE}], "", ""),
        ([{"x": LINE}, {"x": LINE}], "all 2 samples for calibration are equal", ""),
        ([{"x": ONES}, {"x": ONES}], "input 'x' is 1 everywhere", ""),
        ([{"x": ONES}, {"x": TWOS}], "", ""),
        ([{"x": LINE, "mask": ONES}, {"x": -LINE, "mask": ONES}], "", "input 'mask' is 1 every"),
        ([{"t": TOKENS, "mask": ONES}, {"t": -TOKENS, "mask": ONES}], "", "input 'mask' is 1 eve"),
        ([{"x": ONES, "mask": TWOS}] * 2, "input 'x' is 1 everywhere and input 'mask' is 2", ""),
        ([{"x": LINE, "mask": ONES}] * 2, "all 2 samples", ""),
        ([{"x": LINE, "size": SIZE}, {"x": ONES, "size": SIZE}], "", ""),
        ([{"x": ONES, "size": SIZE}] * 2, "input 'x' is 1 everywhere", ""),
        ([], "", ""),
    ],
)
def test_only_data_that_never_change_fit_no_other(
    samples: list[Mapping[str, Array]], monotony: str, constants: str
) -> None:
    variety = Variety()
    for sample in samples:
        variety.add(sample)
    for found, told in ((variety.monotony, monotony), (variety.constants, constants)):
        assert found.startswith(told)
        assert bool(found) is bool(told)
