"""Passes that join products: operands that only look like weights, and sizes nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

RNG = np.random.default_rng(21)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


SQUARE = {"a": normal(6, 6), "b": normal(6, 6)}
VALUE = "double[2, 6, 6] x"
MANY = " ".join(f"p{i} = MatMul(x, a)" for i in range(65))
BODIES = {
    "weights on the other side": (
        "merge-branches", VALUE, "p = MatMul(x, a) q = MatMul(b, x) y = Add(p, q)", SQUARE, None),
    "rows transposed": (
        "merge-branches", "double[6, 6] x",
        "p = Gemm<transA = 1>(x, a) q = Gemm(x, b) y = Add(p, q)", SQUARE,
        "Gemm reads the data transposed"),
    "too many terms": (
        "merge-branches", VALUE,
        "p = MatMul(x, a) q = MatMul(x, b) y = Sum(p, q, " + ", ".join(["x"] * 15) + ")", SQUARE,
        "more than 16 terms"),
    "an open number of channels": (
        "merge-branches", "double[2, 6, C] x", "p = MatMul(x, a) q = MatMul(x, b) y = Add(p, q)",
        SQUARE, "the channels of the data are unknown"),
    "batches of weights that differ": (
        "merge-branches", "double[2, 6, 6] x", "p = MatMul(x, a) q = MatMul(x, b) y = Add(p, q)",
        SQUARE | {"b": normal(2, 6, 6)}, "not a matrix on the right"),
    "a value that divides": (
        "merge-branches", VALUE, "p = MatMul(x, a) d = Div(b, x) y = Add(p, d)",
        SQUARE | {"b": normal(6)}, "Div divides by the data"),
    "padding by a computed number": (
        "fuse-pad", "double[2, 4, 9, 9] x, double v",
        "q = Pad(x, s, v) y = Conv(q, w)",
        {"s": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "w": normal(4, 4, 3, 3)},
        "the value of the padding is unknown"),
    "many readers": (
        "merge-products", VALUE,
        f"{MANY} y = Sum({', '.join(f'p{i}' for i in range(65))})", {"a": normal(6, 6)},
        "more than 64 operators read"),
    "a variance that is computed": (
        "fuse-consecutive-linear", "double[2, 6, 6] x, double[6] k",
        "p = MatMul(x, a) v = Abs(k) m = BatchNormalization(p, s, s, s, v) y = MatMul(m, b)",
        SQUARE | {"s": normal(6)}, "the statistics of BatchNormalization are computed"),
    "weights flattened": (
        "canonical-forms", "double[2, 3, 4] x",
        "r = Reshape(x, f) p = MatMul(w, r) y = Reshape(p, s)",
        {"w": normal(6, 6), "f": np.array([6, 4]), "s": np.array([2, 3, 4])}, None),
    "computed weights that are scaled": (
        "canonical-forms", "double[2, 3, 4] x, double[4, 5] w",
        "r = Reshape(x, f) p = Gemm<alpha = 0.5>(r, w) y = Reshape(p, s)",
        {"f": np.array([6, 4]), "s": np.array([2, 3, 5])}, "the weights are computed"),
    "computed weights that are transposed": (
        "canonical-forms", "double[2, 3, 4] x, double[5, 4] w",
        "r = Reshape(x, f) p = Gemm<transB = 1>(r, w) y = Reshape(p, s)",
        {"f": np.array([6, 4]), "s": np.array([2, 3, 5])}, "the weights are computed"),
    "a computed bias that is scaled": (
        "canonical-forms", "double[2, 3, 4] x, double[5] b",
        "r = Reshape(x, f) p = Gemm<beta = 0.5>(r, w, b) y = Reshape(p, s)",
        {"w": normal(4, 5), "f": np.array([6, 4]), "s": np.array([2, 3, 5])},
        "the bias is computed, and Gemm scales it"),
    "a bias with axes of its own": (
        "canonical-forms", "double[2, 3, 4] x",
        "r = Reshape(x, f) p = MatMul(r, w) q = Add(p, b) y = Reshape(q, s)",
        {"w": normal(4, 5), "b": normal(1, 1, 5), "f": np.array([6, 4]),
         "s": np.array([2, 3, 5])}, None),
    "flattened to a vector": (
        "canonical-forms", "double[2, 3, 4] x",
        "r = Reshape(x, f) p = MatMul(r, w) y = Reshape(p, s)",
        {"w": normal(24, 5), "f": np.array([24]), "s": np.array([1, 1, 5])},
        "no product of a flattened value and a matrix"),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES)
def test_declines(misses: Callable[..., None], case: str) -> None:
    name, inputs, body, weights, reason = BODIES[case]
    kinds = {"i": "int64", "f": "double"}
    declared = "".join(f", {kinds[w.dtype.kind]} {key}" for key, w in weights.items())
    misses(name, f"g ({inputs}{declared}) => (double y) {{ {body} }}", reason, **weights)


def test_declines_products_of_integers(misses: Callable[..., None]) -> None:
    text = """
    g (int32[2, 6, 6] x, int32 a, int32 b) => (int32 y) {
        p = MatMul(x, a) q = MatMul(x, b) y = Add(p, q)
    }"""
    weights: dict[str, Any] = {name: np.ones((6, 6), np.int32) for name in "ab"}
    misses("merge-branches", text, "the weights of MatMul are int32", **weights)


SPLITS = {
    "open sizes": ("float[2, 3, C] x", "p, q = Split<axis = -1, num_outputs = 2>(x) i = Tanh(p)"
                   "j = Tanh(q) y = Mul(i, j)", "the sizes of the parts are unknown"),
    "an open number of heads": (
        "float[B, S, 16] x", "p, q = Split<axis = -1, num_outputs = 2>(x) i = Reshape(p, h)"
        "j = Reshape(q, k) y = Mul(i, j)", "differ in more than the number of heads"),
}  # fmt: skip


@pytest.mark.parametrize("case", SPLITS)
def test_declines_to_sink_a_split(misses: Callable[..., None], case: str) -> None:
    source, body, reason = SPLITS[case]
    text = f"g ({source}, int64 h, int64 k) => (float y) {{ {body} }}"
    heads = {"h": np.array([0, 0, -1, 4]), "k": np.array([0, 0, 2, 4])}
    misses("merge-products", text, reason, **heads)
