"""Operators that the standard and engines read differently are refused, and only those."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.backends.lowering.disputed import refuse_disputed
from burnish.errors import UnsupportedModel
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from tests.passes.conftest import build

RESIZE = (
    "g (float[1, 1, 4, 4] x, float[4] s) => (float y) "
    '{ y = Resize<mode = "linear", coordinate_transformation_mode = "%s">(x, , s) }'
)
UNPOOL = (
    "g (float[1, 1, 2, 2] x, int64[1, 1, 2, 2] i, int64[4] s) => (float y) "
    "{ y = MaxUnpool<kernel_shape = [2, 2], strides = [2, 2]>(x, i, s) }"
)


def check(text: str, **weights: np.ndarray) -> None:
    graph = build(text, 21, weights)
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    refuse_disputed(graph)


def test_corners_of_a_fraction() -> None:
    with pytest.raises(UnsupportedModel, match="sizes in place of scales"):
        check(RESIZE % "align_corners", s=np.float32([1, 1, 0.6, 0.6]))


def test_scales_that_are_computed() -> None:
    with pytest.raises(UnsupportedModel, match="sizes in place of scales"):
        check(RESIZE % "align_corners")


@pytest.mark.parametrize(
    ("mode", "scale"), [("align_corners", 0.5), ("align_corners", 2), ("half_pixel", 0.6)]
)
def test_undisputed_scales(mode: str, scale: float) -> None:
    check(RESIZE % mode, s=np.float32([1, 1, scale, scale]))


def test_sizes_are_undisputed() -> None:
    text = (
        (RESIZE % "align_corners")
        .replace("(x, , s)", "(x, , , s)")
        .replace("float[4] s", "int64[4] s")
    )
    check(text, s=np.int64([1, 1, 3, 3]))


def test_unpooling_to_another_size() -> None:
    with pytest.raises(UnsupportedModel, match="pad the result"):
        check(UNPOOL, s=np.int64([1, 1, 5, 5]))


def test_unpooling_to_the_size_that_follows() -> None:
    check(UNPOOL, s=np.int64([1, 1, 4, 4]))
    check(UNPOOL.replace("(x, i, s)", "(x, i)"))
