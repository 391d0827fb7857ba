"""fuse-consecutive-linear: products and convolutions of each other's results."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph
from tests.passes.models import in_double

NAME = "fuse-consecutive-linear"
RNG = np.random.default_rng(5)
IMAGE, ROWS = "double[2, 4, 7, 7] x", "double[2, 3, 6] x"


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


SAME = "pads = [1, 1, 1, 1]"
KERNELS = {
    "w": normal(5, 4, 3, 3), "b": normal(5), "p": normal(5, 5, 1, 1), "q": normal(5),
    "r": normal(5, 4, 1, 1), "k": normal(5, 5, 3, 3), "g": normal(4, 2, 3, 3),
    "h": normal(4, 2, 1, 1), "d": normal(4, 1, 3, 3), "e": normal(4, 1, 1, 1),
    "s": normal(5, 1, 1), "n": normal(2, 4, 1, 1), "o": normal(4, 2, 3, 3), "a": np.array([1]),
    "f": normal(4, 4, 1, 1),
}  # fmt: skip
CONVOLUTIONS = {
    "pointwise last": f"c = Conv<{SAME}>(x, w, b) y = Conv(c, p, q)",
    "strided twice": f"c = Conv<{SAME}, strides = [2, 2]>(x, w, b) "
    "y = Conv<strides = [2, 2]>(c, p)",
    "pointwise first": "c = Conv(x, r, b) y = Conv(c, k, q)",
    "pointwise first, padded": f"c = Conv(x, r) y = Conv<{SAME}, dilations = [1, 1]>(c, k, q)",
    "both pointwise": "c = Conv(x, r, b) y = Conv(c, p)",
    "three": f"c = Conv(x, r) d1 = Conv<{SAME}>(c, k, q) y = Conv(d1, p, b)",
    "groups": f"c = Conv<group = 2, {SAME}>(x, g) y = Conv<group = 2>(c, h)",
    "depthwise": f"c = Conv<group = 4>(x, e) y = Conv<group = 4, {SAME}>(c, d)",
    "scaled between": f"c = Conv<{SAME}>(x, w) m = Mul(c, s) y = Conv(m, p)",
    "summed": f"c = Conv<{SAME}>(x, w, b) y = ReduceSum(c, a)",
    "averaged in groups": "c = Conv<group = 2>(x, g) y = ReduceMean(c, a)",
}  # fmt: skip


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_one_convolution_is_left(exact: Callable[..., Graph], case: str) -> None:
    exact(NAME, in_double(IMAGE, CONVOLUTIONS[case], KERNELS), "Conv", **KERNELS)


MATRICES = {
    "a": normal(6, 5), "b": normal(5, 4), "c": normal(5), "d": normal(4), "s": normal(5),
    "axis": np.array([-1]), "u": normal(6, 2), "v": normal(2, 6), "t": normal(3, 5),
    "last": np.array([1]), "wide": normal(3, 5),
}  # fmt: skip
PRODUCTS = {
    "two": ("p = MatMul(x, a) y = MatMul(p, b)", "MatMul"),
    "bias between": ("p = MatMul(x, a) m = Add(p, c) y = MatMul(m, b)", "MatMul Add"),
    "scale between": ("p = MatMul(x, a) m = Div(p, s) y = MatMul(m, b)", "MatMul"),
    "summed": ("p = MatMul(x, a) m = Add(p, c) y = ReduceSum(m, axis)", "MatMul Add"),
    "averaged": ("p = MatMul(x, a) y = ReduceMean<keepdims = 0>(p, axis)", "MatMul Squeeze"),
}  # fmt: skip


@pytest.mark.parametrize("case", PRODUCTS)
def test_one_product_is_left(exact: Callable[..., Graph], case: str) -> None:
    body, kinds = PRODUCTS[case]
    exact(NAME, in_double(ROWS, body, MATRICES), kinds, **MATRICES)


@pytest.mark.parametrize("second", ["Gemm<transB = 1, beta = 3.0>(p, t, d3)", "MatMul(p, b)"])
def test_gemm(exact: Callable[..., Graph], second: str) -> None:
    weights = MATRICES | {"d3": normal(3)}
    body = f"p = Gemm<alpha = 0.5>(x, a, c) y = {second}"
    exact(NAME, in_double("double[3, 6] x", body, weights), "Gemm", **weights)


def test_symbolic_sizes(fires: Callable[..., Graph]) -> None:
    text = """
    g (float[B, S, 6] x, float a, float b) => (float[B, S, 4] y) {
        p = MatMul(x, a) y = MatMul(p, b)
    }"""
    weights = {name: np.float32(MATRICES[name]) for name in "ab"}
    fires(NAME, text, "consecutive-linear", **weights)


NEAR = {
    "low rank": ("p = MatMul(x, u) y = MatMul(p, v)", "y", "would be larger: 36 numbers"),
    "a tap": ("p = MatMul(x, a) y = MatMul(p, b)", "y p", "also read by another graph output"),
    "two readers": ("p = MatMul(x, a) m = MatMul(p, b) r = Relu(p) y = Transpose(m)", "y r",
                    "also read by another Relu"),
    "something between": ("p = MatMul(x, a) r = Relu(p) y = MatMul(r, b)", "y", None),
    "computed weights": ("p = MatMul(x, a) t1 = Relu(b) y = MatMul(p, t1)", "y",
                         "input 1 of MatMul is"),
    "rows between": ("p = MatMul(x, a) m = Add(p, wide) y = MatMul(m, b)", "y",
                     "not one number per channel"),
    "batches of weights": ("p = MatMul(x, a) y = MatMul(p, b3)", "y", "work on different axes"),
    "rows summed": ("p = MatMul(x, a) y = ReduceSum(p, last)", "y",
                    "does not go over the channels alone"),
}  # fmt: skip


@pytest.mark.parametrize("case", NEAR)
def test_near_misses(misses: Callable[..., None], case: str) -> None:
    body, results, reason = NEAR[case]
    weights = MATRICES | {"b3": normal(2, 5, 4)}
    misses(NAME, in_double(ROWS, body, weights, results), reason, **weights)


WINDOWS = {
    "depthwise, then pointwise": (f"c = Conv<group = 4, {SAME}>(x, d) y = Conv(c, f)",
                                  "would be larger: 144 numbers"),
    "a bottleneck": (f"c = Conv(x, n) y = Conv<{SAME}>(c, o)", "would be larger: 144 numbers"),
    "zeros between": (f"c = Conv(x, r, b) y = Conv<{SAME}>(c, k)", "zeros are padded in between"),
    "two windows": ("c = Conv(x, w) y = Conv(c, k)", "both have windows"),
    "a stride first": ("c = Conv<strides = [2, 2]>(x, r) y = Conv(c, k)", "both have windows"),
    "wide pads": (
        "c = Conv(x, r) y = Conv<pads = [2, 2, 2, 2]>(c, k)", "pads more than its window"),
    "automatic pads": ('c = Conv<auto_pad = "SAME_UPPER">(x, w) y = Conv(c, p)', "auto_pad"),
    "places summed": (f"c = Conv<{SAME}>(x, w) y = ReduceSum(c, places)",
                      "does not go over the channels alone"),
}  # fmt: skip


@pytest.mark.parametrize("case", WINDOWS)
def test_near_misses_of_convolutions(misses: Callable[..., None], case: str) -> None:
    body, reason = WINDOWS[case]
    weights = KERNELS | {"places": np.array([2, 3])}
    misses(NAME, in_double(IMAGE, body, weights), reason, **weights)


def test_declines_weights_that_overflow(misses: Callable[..., None]) -> None:
    text = """
    g (float16[2, 3, 6] x, float16 a, float16 b) => (float16 y) {
        p = MatMul(x, a) y = MatMul(p, b)
    }"""
    huge = np.full((6, 6), 300, np.float16)
    misses(NAME, text, "would not fit into float16", a=huge, b=huge)


def test_declines_a_sum_before_opset_13(misses: Callable[..., None]) -> None:
    text = """
    g (float[2, 3, 6] x, float a) => (float y) { p = MatMul(x, a) y = ReduceSum<axes = [2]>(p) }"""
    misses(NAME, text, "needs opset 13", opset=12, a=np.float32(MATRICES["a"]))
