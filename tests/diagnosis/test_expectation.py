"""When the answer of compiled code counts as that of the original."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.diagnosis.native import Expectation
from burnish.diagnosis.symptom import Agreement
from burnish.oracle import Oracle
from burnish.oracle.rounding import Roundings
from burnish.testing import graph


@pytest.mark.parametrize(
    ("found", "kind"),
    [([1, 3], None), ([2, 3], None), ([1, 4], "numerics"), ([3, 3], "numerics"), ([1], "form")],
)
def test_a_rounding_may_go_either_way_next_to_its_boundary(
    found: list[float], kind: str | None
) -> None:
    source = graph("g (float[2] x) => (float[2] y) { z = Exp(x) y = Floor(z) }")
    feeds = [{"x": np.log(np.float32([2, 3.5]))}]
    expected = [Oracle(source).run(each) for each in feeds]
    expectation = Expectation(feeds, expected, Agreement(), Roundings(source))
    failure = expectation.failure([{"y": np.float32(found)}])
    assert (None if failure is None else failure.kind) == kind
