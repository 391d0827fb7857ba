"""What rounded results may be, given how far off the floats may be that they round."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.oracle.rounding import Roundings, settled
from burnish.testing import graph

X = np.float32([-1.0, 0.0, 1.0, 2.0, 0.3])


def leeway(body: str, x: np.ndarray = X) -> dict[str, tuple[list, list]]:
    """The bounds of outputs ``y`` of a model of one input."""
    kinds = {"f": "float", "l": "int64", "i": "int32", "u": "uint8", "b": "bool"}
    found = Roundings(graph(f"g (float[5] x) => ({kinds[body[0]]} y) {{ {body[1:]} }}"))
    return {name: (low.tolist(), high.tolist()) for name, (low, high) in
            found.leeway({"x": x}).items()}  # fmt: skip


def test_floats_next_to_a_boundary_leave_a_choice_and_others_none() -> None:
    found = leeway("l e = Exp(x) y = Cast <to = 7> (e)")
    assert found == {"y": ([0, 0, 2, 7, 1], [0, 1, 2, 7, 1])}


@pytest.mark.parametrize(
    ("body", "low", "high"),
    [
        ("f e = Exp(x) y = Floor(e)", [0, 0, 2, 7, 1], [0, 1, 2, 7, 1]),
        ("f e = Exp(x) y = Ceil(e)", [1, 1, 3, 8, 2], [1, 2, 3, 8, 2]),
        ("f e = Exp(x) y = Round(e)", [0, 1, 3, 7, 1], [0, 1, 3, 7, 1]),
        ("i e = Exp(x) r = Floor(e) i = Identity(r) y = Cast <to = 6> (i)",
         [0, 0, 2, 7, 1], [0, 1, 2, 7, 1]),
    ],
)  # fmt: skip
def test_each_way_to_round_has_boundaries_of_its_own(
    body: str, low: list[float], high: list[float]
) -> None:
    assert leeway(body) == {"y": (low, high)}


@pytest.mark.parametrize(
    "body",
    [
        "l y = Cast <to = 7> (x)",
        "f y = Round(x)",
        "l n = Neg(x) y = Cast <to = 7> (n)",
        "f y = Exp(x)",
        "b z = Constant <value_float = 1.0> () e = Exp(x) y = Less(e, z)",
        "b e = Exp(x) y = Cast <to = 9> (e)",
        "l e = Exp(x) c = Cast <to = 7> (e) y = Add(c, c)",
        "l e = Exp(x) y = ArgMax <keepdims = 1> (e)",
    ],
)
def test_what_is_not_a_rounded_sum_has_to_be_identical(body: str) -> None:
    assert leeway(body) == {}


def test_what_does_not_fit_the_integer_has_to_be_identical() -> None:
    x = np.float32([5.5451, 2.0, 100.0, np.nan, 1.0])  # exp: 255.98, 7.4, inf, NaN, 2.7
    low, high = leeway("u e = Exp(x) y = Cast <to = 2> (e)", x)["y"]
    assert low == high
    assert low[:2] == [255, 7]


def test_results_within_the_leeway_are_as_expected_and_others_stay() -> None:
    want, bounds = np.int64([1, 5, 9]), (np.int64([0, 5, 9]), np.int64([1, 5, 9]))
    assert settled(np.int64([0, 5, 9]), want, bounds).tolist() == [1, 5, 9]
    assert settled(np.int64([2, 4, 9]), want, bounds).tolist() == [2, 4, 9]
    assert settled(np.int64([0, 4, 9]), want, bounds).tolist() == [1, 4, 9]
    assert settled(np.int64([0, 5, 9]), want, None).tolist() == [0, 5, 9]
    assert settled(np.int64([0]), want, bounds).tolist() == [0], "another shape"
    assert settled(np.int32([0, 5, 9]), want, bounds).tolist() == [0, 5, 9], "another type"
