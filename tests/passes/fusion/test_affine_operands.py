"""fuse-batch-norm over a distance: constants, operands and layers that would be mapped wrongly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.passes.models import in_double

NAME = "fuse-batch-norm"
RNG = np.random.default_rng(5)
IMAGE, ROWS = "double[2, 4, 6, 6] x", "double[2, 3, 8] x"


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def positive(*shape: int) -> np.ndarray:
    return np.abs(normal(*shape)) + 0.1


M, W, B = normal(8, 6), normal(6, 4, 3, 3), normal(6)
MATRIX = {"w": M, "s": normal(6)}
STATISTICS = {"g": positive(3), "h": normal(3), "p": normal(3), "q": positive(3)}
BATCH_NORM = "BatchNormalization(x, g, h, p, q)"
PRODUCT, FIRST = "q = MatMul(x, w)", np.array([0])
CHAIN = " ".join(f"r{i + 1} = Relu(r{i})" for i in range(70))

OPERANDS = {
    "two constants": ("k = Relu(x) y = Add(s, t)", {"s": normal(8), "t": normal(8)},
                      "no operand of Add is constant"),
    "different factors": (f"{PRODUCT} t = Concat<axis = -1>(q, q) y = Mul(t, s)",
                          {"w": M, "s": positive(12)}, "also read by another Concat"),
    "the same product twice": (
        "m = Mul(x, s) r = Relu(m) t = Concat<axis = -1>(m, r) y = MatMul(t, w)",
        {"s": positive(8), "w": normal(16, 5)}, "lead to the same operator"),
    "an operand of one column": (
        f"{PRODUCT} v = MatMul(x, k) p = Add(v, q) y = Mul(p, s)", {**MATRIX, "k": normal(8, 1)},
        "an operand of Add has no such channels"),
    "an operand without batch": (
        "r = ReduceMax<keepdims = 0>(x, a) t = Add(r, x) y = Mul(t, s)",
        {"a": FIRST, "s": normal(2, 1, 1)}, "an operand of Add has no such channels"),
    "a divisor": ("m = Mul(x, s) t = Div(k, m) y = Relu(t)", {"s": positive(8), "k": normal(8)},
                  "Div divides by the data"),
    "a shift before a product": (
        "t = Transpose<perm = [0, 2, 1]>(x) m = Add(x, s) u = MatMul(m, t)"
        "y = LayerNormalization(u, g)", {"s": normal(1), "g": normal(3)},
        "a shift does not go through MatMul"),
    "a zero before a division": ("m = Mul(x, s) z = MatMul(m, w) y = Div(m, k)",
                                 {"s": np.arange(8.0), "k": positive(8), "w": M},
                                 "divided by zero"),
    "a vector": ("m = Mul(x, s) v = ReduceMax<keepdims = 0>(x, a) y = MatMul(m, v)",
                 {"s": normal(3, 1), "a": np.array([0, 1])}, "an operand of MatMul is no matrix"),
    "weights that are a vector": ("q = MatMul(x, w) y = Mul(q, s)",
                                  {"w": normal(8), "s": normal(3)},
                                  "the weights of MatMul are not a matrix"),
    "a bias for every row": ("m = Add(x, s) t = MatMul(m, w) y = Add(t, b)",
                             {"s": normal(8), "w": M, "b": normal(3, 6)}, "another addition"),
    "weights on the left": ("m = Add(x, s) t = MatMul(w, m) y = Add(t, b)",
                            {"s": normal(3, 1), "w": normal(8, 3), "b": normal(8)},
                            "another addition"),
    "statistics of other sizes": (
        "y = BatchNormalization(x, g, h, p, q)", {**STATISTICS, "h": normal(1)}, "differ in size"),
    "a negative variance": (f"y = {BATCH_NORM}", {**STATISTICS, "q": -positive(3)}, "not finite"),
    "before a length": ("m = Add(x, s) y = LpNormalization(m)", {"s": normal(1)},
                        "LpNormalization does not take the mean away"),
    "after a norm per channel": (
        f"t = {BATCH_NORM} r = Relu(t) y = Mul(r, s)", {**STATISTICS, "s": positive(8)},
        "not one number per channel of BatchNormalization"),
    "before a norm per channel": (
        f"m = Mul(x, s) y = {BATCH_NORM.replace('x', 'm')}", {**STATISTICS, "s": positive(8)},
        "not one number per channel of BatchNormalization"),
    "many inputs": (f"{PRODUCT} t = Concat<axis = 1>({', '.join(['q'] * 65)}) y = Mul(t, s)",
                    MATRIX, "has too many inputs"),
    "a long way": (f"r0 = MatMul(x, w) {CHAIN} y = Mul(r70, s)", {"w": M, "s": positive(6)},
                   "too many operators lie in between"),
}  # fmt: skip


@pytest.mark.parametrize("case", OPERANDS)
def test_declines(misses: Callable[..., None], case: str) -> None:
    body, weights, reason = OPERANDS[case]
    misses(NAME, in_double(ROWS, body, weights), reason, **weights)


COMPUTED = {
    "a bias": ("double[6] k", "m = Mul(k, s) y = Conv(x, w, m)", {"s": B},
               "Conv reads the value as a parameter"),
    "a norm's variance": (
        "double[4] k", "m = Mul(x, s) v = Abs(k) y = BatchNormalization(m, t, t, t, v)",
        {"s": positive(4, 1, 1), "t": positive(4)}, "or its statistics are computed"),
    "a norm's scale": ("double[6] k", "v = Abs(k) c = LayerNormalization(x, v) y = Mul(c, s)",
                       {"s": B}, "the scale or shift of LayerNormalization is computed"),
    "weights of steps": (
        "double[1, 5, 6] k",
        "f = Flatten(x) u = Unsqueeze(f, a) z = Slice(u, o, e, d) m = Mul(z, s)"
        "v = Abs(k) y = RNN<hidden_size = 5>(m, v, r)",
        {"s": B, "r": normal(1, 5, 5), "a": FIRST, "o": FIRST, "e": np.array([6]),
         "d": np.array([2])}, "the weights of RNN are computed"),
    "sliced axes": ("int64[1] k", "m = Mul(x, s) t = Slice(m, a, e, k) y = Conv(t, w)",
                    {"s": normal(4, 1, 1), "a": FIRST, "e": np.array([4])},
                    "the axes of Slice are unknown"),
    "reduced axes": ("int64[1] k", "m = Mul(x, s) t = ReduceMax(m, k) y = Conv(t, w)",
                     {"s": positive(4, 1, 1)}, "the axes of ReduceMax are unknown"),
    "padding": ("int64[8] k", "c = Conv(x, w) t = Pad(c, k) y = Mul(t, s)", {"s": B[:1]},
                "the sizes of the padding are unknown"),
    "training": (
        "double[6] k",
        "c = Conv(x, w) v, j, l = BatchNormalization<training_mode = 1>(c, g, g, g, g)"
        "y = Mul(v, s)", {"g": positive(6), "s": positive(6, 1, 1)}, "in training mode"),
    "training behind": (
        "double[6] k",
        "m = Mul(x, s) y, j, l = BatchNormalization<training_mode = 1>(m, g, g, g, g)",
        {"g": positive(4), "s": positive(4, 1, 1)}, "in training mode"),
    "tiles of channels": ("double[6] k", "c = Conv(x, w) t = Tile(c, a) y = Mul(t, s)",
                          {"s": normal(12, 1, 1), "a": np.array([1, 2, 1, 1])},
                          "Tile mixes the channels with other axes"),
    "a cut that leaves the image": (
        "double[6] k", 'c = Conv(x, w) t = Resize<coordinate_transformation_mode = '
        '"tf_crop_and_resize", mode = "linear", extrapolation_value = 1.0>(c, o, a) y = Mul(t, s)',
        {"s": positive(6, 1, 1), "o": np.float32([0, 0, -1, -1, 1, 1, 2, 2]),
         "a": np.float32([1, 1, 2, 2])}, "more than weighted means"),
}  # fmt: skip


@pytest.mark.parametrize("case", COMPUTED)
def test_declines_behind_or_before_layers(misses: Callable[..., None], case: str) -> None:
    declared, body, constants, reason = COMPUTED[case]
    weights = {"w": W, **constants}
    misses(NAME, in_double(f"{IMAGE}, {declared}", body, weights), reason, **weights)


def test_declines_a_shift_before_rms_norm(misses: Callable[..., None]) -> None:
    weights = {"g": positive(8), "s": normal(1)}
    text = in_double(ROWS, "m = Add(x, s) y = RMSNormalization(m, g)", weights)
    misses(NAME, text, "RMSNormalization does not take the mean away", opset=23, **weights)


UNKNOWN = {
    "a mixing reshape": ("float[B, S, 8] x", "q = MatMul(x, w) r = Reshape(q, n) y = Mul(r, m)",
                         "mixes the channels with other axes"),
    "a reshape": ("float[B, S, 8] x, int64[K] z",
                  "q = MatMul(x, w) r = Reshape(q, z) y = Neg(r)", "unknown"),
    "a sign": ("float[] x", "y = Neg(x)", "the rank of the data is unknown"),
    "a transpose": ("float[] x", "t = Transpose(x) y = Neg(t)", "rank of the data is unknown"),
    "a part of open size": (
        "float[2, 3, 8] x, float[2, 3, C] z", "u = Mul(x, e) t = Concat<axis = -1>(u, z)"
        "y = MatMul(t, w)", "the sizes of the parts of Concat are unknown"),
    "a joined part": ("float[2, 3, K] x, float[2, 3, 8] z",
                      "q = MatMul(z, w) p = Concat<axis = -1>(q, x) y = Mul(p, s)",
                      "unknown"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNKNOWN)
def test_declines_unknown_shapes(misses: Callable[..., None], case: str) -> None:
    source, body, reason = UNKNOWN[case]
    text = f"g ({source}, float w, float s, float m, float e, int64 n) => (float y) {{ {body} }}"
    weights = {"w": M, "s": B, "m": normal(9), "e": normal(8)}
    single = {name: np.float32(array) for name, array in weights.items()}
    misses(NAME, text, reason, **single, n=np.array([-1, 9]))


def test_declines_an_operand_of_unknown_shape(misses: Callable[..., None]) -> None:
    text = """
    g (float[] x, float[2, 3, 8] z, float w, float s) => (float y) <float[2, 3, 6] p> {
        q = MatMul(z, w) p = Add(x, q) y = Mul(p, s)
    }"""
    reason = "the shape of what Add reads is unknown"
    misses(NAME, text, reason, w=np.float32(M), s=np.float32(B))


@pytest.mark.parametrize("body", ["q = MatMul(x, w) y = Mul(q, s)", "y = Neg(x)"])
def test_declines_integers(misses: Callable[..., None], body: str) -> None:
    text = f"g (int32[2, 3, 8] x, int32 w, int32 s) => (int32 y) {{ {body} }}"
    reason = "no number" if "Neg" in body else "computes with int32"
    misses(NAME, text, reason, w=np.ones((8, 6), np.int32), s=np.ones(6, np.int32))
