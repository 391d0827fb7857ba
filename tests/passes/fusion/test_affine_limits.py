"""fuse-batch-norm over a distance: what scales and shifts do not pass through, and why."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph
from tests.passes.models import in_double

NAME = "fuse-batch-norm"
RNG = np.random.default_rng(4)
IMAGE, ROWS = "double[2, 4, 6, 6] x", "double[2, 3, 8] x"


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def positive(*shape: int) -> np.ndarray:
    return np.abs(normal(*shape)) + 0.1


W, B, M = normal(6, 4, 3, 3), normal(6), normal(8, 6)
CONV = "c = Conv(x, w, b)"
SCALE, SHIFT = {"s": positive(6, 1, 1)}, {"s": normal(6, 1, 1)}

PRODUCT = "q = MatMul(x, w)"
NEAR = {
    "a negative factor": (f"{PRODUCT} r = Relu(q) y = Mul(r, s)", "y", {"s": -positive(6)},
                          "a negative factor does not go through Relu"),
    "a square": (f"{PRODUCT} r = Mul(q, q) y = Mul(r, s)", "y", {"s": positive(6)},
                 "also read by another Mul"),
    "readers that want different things": (
        f"{PRODUCT} r = Neg(q) t = Add(q, r) y = Add(t, s)", "y", {"s": positive(6)},
        "also read by another"),
    "one of two that lead there": (
        f"{PRODUCT} r = Relu(q) t = Add(q, r) y = Mul(t, s)", "y r", {"s": positive(6)},
        "also read by another"),
    "a sign in front": ("r = Sigmoid(x) n = Neg(r) y = MatMul(n, w)", "y", {},
                        "a factor does not go through Sigmoid"),
    "a shift": (f"{PRODUCT} r = Relu(q) y = Add(r, s)", "y", {"s": normal(6)},
                "a shift does not go through Relu"),
    "another function": (f"{PRODUCT} r = Sigmoid(q) y = Mul(r, s)", "y", {"s": normal(6)},
                         "a factor does not go through Sigmoid"),
    "a tap": (f"{PRODUCT} r = Relu(q) y = Mul(r, s)", "y r", {"s": positive(6)},
              "also read by another graph output"),
    "a tap further up": (f"{PRODUCT} r = Relu(q) y = Mul(r, s)", "y q", {"s": positive(6)},
                         "also read by another graph output"),
    "a reader that cannot": (
        "m = Mul(x, s) p = MatMul(m, w) t = Tanh(m) y = MatMul(t, w)", "y p", {"s": normal(8)},
        "a factor does not go through Tanh"),
    "the rows": (f"{PRODUCT} r = Relu(q) y = Mul(r, s)", "y", {"s": positive(3, 1)},
                 "not one number per channel of MatMul"),
    "a computed weight": ("t = Transpose<perm = [0, 2, 1]>(x) q = MatMul(x, t) y = Mul(q, s)", "y",
                          {"s": normal(3)}, "comes from outside"),
    "mixed axes": (f"{PRODUCT} r = Reshape(q, n) y = Mul(r, s)", "y",
                   {"s": normal(12), "n": np.array([3, 12])}, "not one number per channel"),
    "the axis of a maximum": (
        "m = Mul(x, s) r = ReduceMax(m, a) y = MatMul(r, w)", "y",
        {"s": positive(3, 1), "a": np.array([1])}, "an axis that ReduceMax works on"),
    "a sum of shifts": ("m = Add(x, s) r = ReduceSum(m, a) t = MatMul(r, w) y = Add(t, b)", "y",
                        {"s": normal(8), "a": np.array([1]), "b": normal(6)},
                        "ReduceSum adds a shift up"),
    "one operand": ("m = Mul(x, s) g = Sigmoid(x) t = Add(m, g) y = MatMul(t, w)", "y",
                    {"s": normal(8)}, "a factor of one operand does not go through Add"),
    "a zero before a constant": (
        "m = Mul(x, s) t = Add(m, k) r = Relu(t) y = MatMul(r, w)", "y",
        {"s": np.float64([0, 1, 1, 1, 1, 1, 1, 1]), "k": normal(8)}, "divided by zero"),
    "the contracted axis": (
        "m = Mul(x, s) t = Transpose<perm = [0, 2, 1]>(x) u = MatMul(m, t) y = MatMul(u, k)", "y",
        {"s": normal(8), "k": normal(3, 2)}, "the axis that MatMul adds up"),
    "a new addition": ("m = Add(x, s) y = MatMul(m, w)", "y", {"s": normal(8)},
                       "it would take another addition"),
    "a wide constant": ("r = MatMul(j, x) p = Add(r, k) y = Mul(p, s)", "y",
                        {"s": normal(3, 1), "k": normal(8), "j": normal(3, 3)}, "would grow"),
    "a table of two": (
        "i = Cast<to = 7>(x) q = Gather(k, i) y = Mul(q, s) t = Gather<axis = 1>(k, i)", "y t",
        {"k": normal(9, 9), "s": normal(9)}, "the table of Gather is read elsewhere"),
    "not finite": (f"{PRODUCT} y = Mul(q, s)", "y", {"s": np.full(6, np.inf)}, "not finite"),
    "a negative factor of a norm": (
        "m = Mul(x, s) y = LayerNormalization(m, g)", "y", {"s": -positive(1), "g": normal(8)},
        "only takes away one positive factor"),
    "a norm of other axes": (
        "m = Add(x, s) y = LayerNormalization(m, g)", "y", {"s": normal(8), "g": normal(8)},
        "that the shift tells apart"),
    "what a norm repeats": (
        "q = LayerNormalization(x, g) y = Mul(q, s)", "y", {"s": normal(3, 1), "g": normal(8)},
        "differs along axes that LayerNormalization repeats"),
    "statistics": ("m = Mul(x, s) y, t = LayerNormalization(m, g)", "y t",
                   {"s": positive(1), "g": normal(8)}, "also returns its statistics"),
    "steps": ("m = Mul(x, s) y = RNN<hidden_size = 5>(m, k, l)", "y",
              {"s": normal(3, 1), "k": normal(1, 5, 8), "l": normal(1, 5, 5)},
              "not one number per channel of RNN"),
    "no shift": ("q = RMSNormalization(x, g) y = Add(q, s)", "y", {"s": normal(8), "g": normal(8)},
                 "RMSNormalization has no shift"),
    "a tiny epsilon": ("m = Mul(x, s) y = LayerNormalization(m, g)", "y",
                       {"s": np.array(1e20), "g": normal(8)}, "would not fit into float32"),
}  # fmt: skip


@pytest.mark.parametrize("case", NEAR)
def test_near_misses(misses: Callable[..., None], case: str) -> None:
    body, results, constants, reason = NEAR[case]
    weights = {"w": M, **constants}
    text = in_double(ROWS, body, weights, results)
    misses(NAME, text, reason, opset=23 if "RMS" in body else 21, **weights)


IMAGES = {
    "counted padding": (
        "t = AveragePool<kernel_shape = [2, 2], pads = [1, 1, 0, 0], count_include_pad = 1>(c)"
        "y = Add(t, s)", SHIFT, "the zeros that AveragePool pads with"),
    "padding": ("t = Pad(c, a) y = Add(t, s)",
                {**SHIFT, "a": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, "would have to change as well"),
    "other padding": ("t = Pad(c, a, k) y = Mul(t, s)",
                      {**SHIFT, "a": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "k": np.array(1.0)},
                      "would have to change as well"),
    "places": ("t = Resize(c, , a) y = Mul(t, s)",
               {"s": normal(8, 8), "a": np.float32([1, 1, 2, 2])}, "an axis that Resize works on"),
    "indices": ("t, i = MaxPool<kernel_shape = [2, 2]>(c) u = Mul(t, s) j = Cast<to = 11>(i)"
                "y = Add(u, j)", SCALE, "also returns indices"),
    "channels shuffled into places": (
        "d = SpaceToDepth<blocksize = 2>(c) y = Mul(d, s)", {"s": normal(24, 1, 1)},
        "makes one channel of several"),
    "a sign": ("t = MaxPool<kernel_shape = [2, 2]>(c) y = Mul(t, s)", {"s": -positive(6, 1, 1)},
               "a negative factor does not go through MaxPool"),
    "a slice of channels": ("t = Slice(c, a, e, a) y = Mul(t, s)",
                            {"s": normal(3, 1, 1), "a": np.array([1]), "e": np.array([4])},
                            "an axis that Slice works on"),
    "the border": ("t = Relu(c) u = Add(t, s) y = Conv<pads = [1, 1, 1, 1]>(u, v)",
                   {**SHIFT, "v": normal(2, 6, 3, 3)}, "a shift does not go through Relu"),
}  # fmt: skip


@pytest.mark.parametrize("case", IMAGES)
def test_near_misses_behind_a_convolution(misses: Callable[..., None], case: str) -> None:
    body, constants, reason = IMAGES[case]
    weights = {"w": W, "b": B, **constants}
    misses(NAME, in_double(IMAGE, f"{CONV} {body}", weights), reason, **weights)


def test_declines_what_a_branch_reads(misses: Callable[..., None]) -> None:
    text = """
    g (float[2, 3, 8] x, bool f, float w, float s) => (float y) {
        m = Mul(x, s)
        y = If<then_branch = t () => (float[2, 3, 6] a) { a = MatMul(m, w) },
               else_branch = e () => (float[2, 3, 6] b) { b = MatMul(x, w) }>(f)
    }"""
    misses(NAME, text, "also read inside a subgraph", w=np.float32(M), s=np.float32(normal(8)))


def test_declines_weights_that_would_fade(misses: Callable[..., None]) -> None:
    text = """
    g (float16[2, 3, 8] x, float16 w, float16 s) => (float16 y) { q = MatMul(x, w) y = Mul(q, s) }
    """
    small = np.float16(M) / 64
    misses(NAME, text, "would not fit into float16", w=small, s=np.float16(1e-6))


def test_declines_large_weights_that_others_share(misses: Callable[..., None]) -> None:
    text = """
    g (float[2, 3, 600] x, float w, float s) => (float y, float z) {
        q = MatMul(x, w) y = Mul(q, s) z = MatMul(y, w)
    }"""
    wide = np.float32(normal(600, 600))
    misses(NAME, text, "shared: folding would copy them", w=wide, s=np.float32(normal(600)))


def test_declines_unknown_sizes(misses: Callable[..., None]) -> None:
    text = """
    g (float[B, S, 8] x, int64[3] n, float w, float s) => (float y) {
        p = MatMul(x, w) r = Reshape(p, n) y = Mul(r, s)
    }"""
    misses(NAME, text, "sizes of the data are unknown", w=np.float32(M), s=np.float32(normal(3, 1)))


VECTORS = {
    "before": ("float[1, 4] x", """
        n = BatchNormalization(x, gamma, beta, mean, variance) r = Reshape(n, four)
        y = MatMul(w, r)"""),
    "after": ("float[4] x", """
        p = MatMul(w, x) r = Reshape(p, row) y = BatchNormalization(r, gamma, beta, mean, variance)
        """),
    "batches": ("float[4] x", "p = MatMul(batches, x) y = Mul(p, column)"),
}  # fmt: skip


@pytest.mark.parametrize("case", VECTORS)
def test_declines_vectors_that_matrices_multiply(misses: Callable[..., None], case: str) -> None:
    data, body = VECTORS[case]
    weights = {
        "four": np.array([4]), "row": np.array([1, 4]), "w": np.float32(normal(4, 4)),
        "batches": np.float32(normal(4, 4, 4)), "column": np.float32(normal(4, 1)),
        "gamma": np.float32(normal(4)), "beta": np.float32(normal(4)),
        "mean": np.float32(normal(4)), "variance": np.ones(4, np.float32),
    }  # fmt: skip
    used = {name: array for name, array in weights.items() if re.search(rf"\b{name}\b", body)}
    kinds = ", ".join(f"{'int64' if a.dtype == np.int64 else 'float'} {n}" for n, a in used.items())
    misses(NAME, f"g ({data}, {kinds}) => (float y) {{ {body} }}", "is no matrix", **used)


def test_norms_whose_scale_is_one_number(fires: Callable[..., Graph]) -> None:
    text = """
    g (float[2, 4] x, float w, float b, float s) => (float y) {
        n = LayerNormalization(x, w, b) y = Mul(n, s)
    }"""
    weights = {"w": normal(1), "b": normal(4), "s": normal(4)}
    numbers = {name: np.float32(array) for name, array in weights.items()}
    graph = fires(NAME, text, "affine-after-linear", **numbers)
    assert [node.op_type for node in graph] == ["LayerNormalization"]
