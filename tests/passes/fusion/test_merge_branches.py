"""merge-branches: convolutions and products of one value that are summed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from burnish.ir import Graph
from tests.passes.models import in_double

NAME = "merge-branches"
RNG = np.random.default_rng(11)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def model(body: str, weights: dict[str, Any], source: str = "double[2, 4, 7, 7] x",
          results: str = "y") -> str:  # fmt: skip
    return in_double(source, body, weights, results)


SAME = "pads = [1, 1, 1, 1]"
WEIGHTS = {
    "w": normal(4, 4, 3, 3), "b": normal(4), "p": normal(4, 4, 1, 1), "q": normal(4),
    "s": normal(4, 1, 1), "t": normal(4, 1, 1), "dw": normal(4, 1, 3, 3), "de": normal(4, 1, 1, 1),
    "h": normal(4, 4, 1, 3), "v": normal(4, 4, 3, 1), "g": normal(4, 2, 3, 3),
    "f": normal(4, 2, 1, 1), "k": normal(2, 4, 1, 1), "l": normal(4, 2, 3, 3),
    "m": normal(4, 4, 5, 5),
}  # fmt: skip
CONV = f"a = Conv<{SAME}>(x, w, b)"
IMAGES = {
    "repvgg": f"{CONV} c = Conv(x, p, q) d = Add(a, c) y = Add(d, x)",
    "scaled identity": f"{CONV} u = Mul(x, s) i = Add(u, t) y = Add(i, a)",
    "two scales": f"{CONV} u = Mul(x, s) y = Sum(a, u, x)",
    "strided": f"a = Conv<{SAME}, strides = [2, 2]>(x, w, b) c = Conv<strides = [2, 2]>(x, p) "
    "y = Add(a, c)",
    "dilated": "a = Conv<pads = [2, 2, 2, 2], dilations = [2, 2]>(x, w) c = Conv(x, p, q)"
    "y = Add(c, a)",
    "larger": f"{CONV} c = Conv<pads = [2, 2, 2, 2]>(x, m, q) y = Add(a, c)",
    "asymmetric": f"{CONV} c = Conv<pads = [0, 1, 0, 1]>(x, h) d = Conv<pads = [1, 0, 1, 0]>(x, v)"
    "z = Add(c, d) y = Add(a, z)",
    "groups": f"a = Conv<group = 2, {SAME}>(x, g, b) c = Conv<group = 2>(x, f) d = Add(a, c)"
    "y = Add(d, x)",
    "finer groups": f"{CONV} c = Conv<group = 2>(x, f) d = Conv<group = 4, {SAME}>(x, dw, q)"
    "y = Sum(a, c, d)",
    "depthwise": f"a = Conv<group = 4, {SAME}>(x, dw) c = Conv<group = 4>(x, de, q) d = Add(a, c)"
    "y = Add(d, x)",
    "average": f"{CONV} c = AveragePool<kernel_shape = [3, 3], count_include_pad = 1, {SAME}>(x)"
    "y = Add(a, c)",
    "pointwise, then average": (
        "a = Conv(x, w, b) r = Conv(x, p, q) c = AveragePool<kernel_shape = [3, 3]>(r)"
        "y = Add(a, c)"),
    "pointwise, then convolution": f"{CONV} r = Conv(x, k) c = Conv<{SAME}>(r, l, q) y = Add(a, c)",
    "three": f"{CONV} c = Conv(x, p) d = Conv(x, p, q) e = Add(c, d) y = Add(a, e)",
    "constants": f"{CONV} c = Conv(x, p) d = Add(c, s) y = Add(a, d)",
}  # fmt: skip


@pytest.mark.parametrize("case", IMAGES)
def test_one_convolution_is_left(exact: Callable[..., Graph], case: str) -> None:
    exact(NAME, model(IMAGES[case], WEIGHTS), "Conv", **WEIGHTS)


def test_the_rest_of_the_sum_stays(exact: Callable[..., Graph]) -> None:
    body = f"{CONV} r = Relu(x) c = Conv(x, p) d = Add(a, r) y = Add(d, c)"
    exact(NAME, model(body, WEIGHTS), "Relu Conv Add", **WEIGHTS)


def test_the_value_may_be_read_elsewhere(exact: Callable[..., Graph]) -> None:
    body = f"{CONV} d = Add(a, x) r = Relu(x) y = Mul(d, r)"
    exact(NAME, model(body, WEIGHTS), "Conv Relu Mul", **WEIGHTS)


ROWS = {
    "a": normal(6, 6), "b": normal(6, 6), "c": normal(6), "d": normal(6), "u": normal(6, 2),
    "v": normal(2, 6), "s": normal(6), "n": np.array(0.5),
}  # fmt: skip
PRODUCTS = {
    "two": ("p = MatMul(x, a) q = MatMul(x, b) y = Add(p, q)", "MatMul"),
    "biases": ("p = MatMul(x, a) r = Add(p, c) q = MatMul(x, b) s1 = Add(q, d) y = Add(r, s1)",
               "MatMul Add"),
    "low rank": ("p = MatMul(x, a) r = Add(p, c) q = MatMul(x, u) t = MatMul(q, v) z = Mul(t, n)"
                 "y = Add(r, z)", "MatMul Add"),
    "identity": ("p = MatMul(x, a) y = Add(p, x)", "MatMul"),
    "scaled": ("p = MatMul(x, a) q = Mul(x, s) y = Add(p, q)", "MatMul"),
}  # fmt: skip


@pytest.mark.parametrize("case", PRODUCTS)
def test_one_product_is_left(exact: Callable[..., Graph], case: str) -> None:
    body, kinds = PRODUCTS[case]
    exact(NAME, model(body, ROWS, "double[2, 3, 6] x"), kinds, **ROWS)


def test_one_gemm_is_left(exact: Callable[..., Graph]) -> None:
    body = "p = Gemm<alpha = 0.5, transB = 1>(x, a, c) q = Gemm<beta = 2.0>(x, b, d) y = Add(p, q)"
    exact(NAME, model(body, ROWS, "double[3, 6] x"), "Gemm", **ROWS)


def test_symbolic_sizes(fires: Callable[..., Graph]) -> None:
    single = {name: np.float32(array) for name, array in WEIGHTS.items()}
    text = model(IMAGES["repvgg"], single, "float[N, 4, H, W] x").replace("double", "float")
    graph = fires(NAME, text, "summed-branches", **single)
    assert [node.op_type for node in graph] == ["Conv"]


NEAR = {
    "another size": ("a = Conv(x, m2) c = Conv(x, w) y = Add(a, c)", "y",
                     "size of their result"),
    "shifted by less than a step": (
        "a = Conv<pads = [2, 2, 2, 2], dilations = [2, 2]>(x, w)"
        "c = Conv<pads = [1, 1, -1, -1]>(x, p) y = Add(a, c)", "y", "between each other"),
    "different dilations": (
        f"{CONV} c = Conv<pads = [2, 2, 2, 2], dilations = [2, 2]>(x, l2) y = Add(a, c)", "y",
        "differ in dilation"),
    "another value": (f"{CONV} r = Relu(x) c = Conv(r, p) y = Add(a, c)", "y",
                      "no two terms are linear in the same value"),
    "something between": (f"{CONV} c = Conv(x, p) r = Relu(c) y = Add(a, r)", "y",
                          "no two terms are linear in the same value"),
    "a reader of a branch": (f"{CONV} c = Conv(x, p) y = Add(a, c)", "y c",
                             "no two terms are linear in the same value"),
    "more work": ("a = Conv<pads = [0, 1, 0, 1]>(x, h) c = Conv<pads = [1, 0, 1, 0]>(x, v)"
                  "y = Add(a, c)", "y", "more multiplications"),
    "dense and depthwise": (f"a = Conv<group = 4, {SAME}>(x, dw) c = Conv(x, p) y = Add(a, c)", "y",
                            "more multiplications"),
    "zeros in the middle": (
        f"{CONV} r = Conv(x, k, o) c = Conv<{SAME}>(r, l) y = Add(a, c)", "y",
        "zeros are padded in the middle"),
    "two windows": (f"{CONV} r = Conv(x, w) c = Conv<pads = [2, 2, 2, 2]>(r, w) y = Add(a, c)",
                    "y", "zeros are padded in the middle"),
    "uncounted zeros": (
        f"{CONV} c = AveragePool<kernel_shape = [3, 3], {SAME}>(x) y = Add(a, c)", "y",
        "does not count what it pads"),
    "ceiling": (f"{CONV} c = AveragePool<kernel_shape = [1, 1], ceil_mode = 1>(x) y = Add(a, c)",
                "y", "rounds its size up"),
    "automatic pads": ('a = Conv<auto_pad = "SAME_UPPER">(x, w) y = Add(a, x)', "y", "auto_pad"),
    "a map that differs within a channel": (
        f"{CONV} u = Mul(x, z7) y = Add(a, u)", "y", "not one number per channel"),
    "computed weights": ("r = Relu(p) a = Conv(x, r) y = Add(a, x)", "y",
                         "no two terms are linear in the same value"),
    "no product": ("a = Mul(x, s) y = Add(a, x)", "y", "no two terms are linear"),
}  # fmt: skip
EXTRA = {"l2": normal(4, 4, 3, 3), "o": normal(2), "z7": normal(7), "m2": normal(4, 4, 7, 7)}


@pytest.mark.parametrize("case", NEAR)
def test_near_misses(misses: Callable[..., None], case: str) -> None:
    body, results, reason = NEAR[case]
    weights = WEIGHTS | EXTRA
    misses(NAME, model(body, weights, results=results), reason, **weights)


def test_declines_half_precision_that_overflows(misses: Callable[..., None]) -> None:
    text = """
    g (float16[2, 3, 6] x, float16 a, float16 b) => (float16 y) {
        p = MatMul(x, a) q = MatMul(x, b) y = Add(p, q)
    }"""
    huge = np.full((6, 6), 6e4, np.float16)
    misses(NAME, text, "would not fit into float16", a=huge, b=huge)


def test_a_constant_that_adds_axes_stays_outside(fires: Callable[..., Graph]) -> None:
    text = """
    g (float[3, 4] x, float a, float b, float c) => (float[1, 1, 3, 5] y) {
        p = MatMul(x, a) q = MatMul(x, b) s = Add(p, q) y = Add(s, c)
    }"""
    shapes = {"a": (4, 5), "b": (4, 5), "c": (1, 1, 1, 5)}
    weights = {name: np.float32(normal(*shape)) for name, shape in shapes.items()}
    graph = fires(NAME, text, "summed-branches", **weights)
    assert graph.outputs[0].static_shape == (1, 1, 3, 5)


def test_declines_data_without_channels(misses: Callable[..., None]) -> None:
    text = """
    g (float[3, 4] x, int64[1] n, float a, float b) => (float y) {
        e = Slice(x, n, n, n) p = MatMul(e, a) q = MatMul(e, b) y = Add(p, q)
    }"""
    none = np.zeros((0, 5), np.float32)
    misses(NAME, text, "no channels", a=none, b=none, n=np.array([1]))
