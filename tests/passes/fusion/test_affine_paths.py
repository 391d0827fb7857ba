"""fuse-batch-norm over a distance: what scales and shifts pass through, and where they end.

Every path is checked in double precision, where folding must not be seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph
from tests.passes.models import in_double

NAME = "fuse-batch-norm"
RNG = np.random.default_rng(3)
IMAGE, ROWS = "double[2, 4, 6, 6] x", "double[2, 3, 8] x"


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def positive(*shape: int) -> np.ndarray:
    return np.abs(normal(*shape)) + 0.1


W, B = normal(6, 4, 3, 3), normal(6)
CONV = "c = Conv(x, w, b)"
CHANNEL, LAST = normal(6, 1, 1), normal(6)
SCALE, SHIFT = {"s": positive(6, 1, 1)}, {"s": CHANNEL}
SIZES = np.array([2, 6, -1])

AFTER_CONV = {
    "transpose": ("t = Transpose<perm = [0, 2, 3, 1]>(c) y = Mul(t, s)", {"s": LAST}),
    "flatten": ("t = Flatten(c) y = Add(t, s)", {"s": np.repeat(LAST, 16)}),
    "reshape": ("t = Reshape(c, n) y = Mul(t, s)", {"s": normal(6, 1), "n": SIZES}),
    "heads": ("t = Reshape(c, n) y = Mul(t, s)",
              {"s": normal(3, 1, 1), "n": np.array([2, 2, 3, 16, 1])}),
    "relu": ("t = Relu(c) y = Mul(t, s)", SCALE),
    "leaky relu": ("t = LeakyRelu(c) y = Div(t, s)", SCALE),
    "prelu": ("t = PRelu(c, p) y = Mul(t, s)", {**SCALE, "p": normal(6, 1, 1)}),
    "max pool": ("t = MaxPool<kernel_shape = [2, 2], pads = [1, 1, 0, 0]>(c) y = Mul(t, s)", SCALE),
    "max pool shift": ("t = MaxPool<kernel_shape = [2, 2]>(c) y = Add(t, s)", SHIFT),
    "average pool": ("t = AveragePool<kernel_shape = [2, 2]>(c) y = Mul(t, s)", SHIFT),
    "padded average": (
        "t = AveragePool<kernel_shape = [2, 2], pads = [1, 1, 0, 0], count_include_pad = 1>(c)"
        "y = Mul(t, s)", SHIFT),
    "uncounted padding": (
        "t = AveragePool<kernel_shape = [2, 2], pads = [1, 1, 0, 0]>(c) y = Add(t, s)", SHIFT),
    "global pool": ("t = GlobalAveragePool(c) y = Sub(s, t)", SHIFT),
    "mean": ("t = ReduceMean<keepdims = 0>(c, a) y = Add(t, s)",
             {"s": LAST, "a": np.array([2, 3])}),
    "sum": ("t = ReduceSum<keepdims = 0>(c, a) y = Mul(t, s)",
            {"s": LAST, "a": np.array([2, 3])}),
    "pad": ("t = Pad(c, a) y = Mul(t, s)", {**SHIFT, "a": np.array([0, 0, 1, 1, 0, 0, 1, 1])}),
    "edge": ('t = Pad<mode = "edge">(c, a) y = Add(t, s)',
             {**SHIFT, "a": np.array([0, 0, 1, 1, 0, 0, 1, 1])}),
    "resize": ('t = Resize<mode = "linear">(c, , a) y = Add(t, s)',
               {**SHIFT, "a": np.float32([1, 1, 2, 2])}),
    "slice": ("t = Slice(c, a, e, d) y = Add(t, s)",
              {**SHIFT, "a": np.array([1]), "e": np.array([3]), "d": np.array([2])}),
    "gather": ("t = Gather<axis = 2>(c, a) y = Mul(t, s)", {"s": normal(6, 1), "a": np.array(1)}),
    "expand": ("u = Unsqueeze(c, d) t = Expand(u, a) y = Mul(t, s)",
               {**SHIFT, "a": np.array([2, 3, 6, 4, 4]), "d": np.array([1])}),
    "one number": ("t = Transpose(c) y = Mul(t, s)", {"s": normal(1)}),
    "five axes": ("u = Unsqueeze(c, d) y = Add(u, s)",
                  {"s": normal(6, 1, 1, 1), "d": np.array([2])}),
    "where": ("t = Where(m, c, k) y = Mul(t, s)",
              {**SHIFT, "m": np.array([True, False, True, False]), "k": normal(6, 1, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("path", AFTER_CONV)
def test_into_the_convolution_before(exact: Callable[..., Graph], path: str) -> None:
    tail, constants = AFTER_CONV[path]
    weights = {"w": W, "b": B, **constants}
    exact(NAME, in_double(IMAGE, f"{CONV} {tail}", weights), f"Conv {between(tail)}", **weights)


def between(body: str) -> str:
    """The operators of ``body`` but for the last one."""
    return " ".join(re.findall(r"= ([A-Z]\w+)", body)[:-1])


M, N = normal(8, 6), normal(6, 5)
PERM = "Transpose<perm = [0, 2, 1]>"
BEFORE_PRODUCT = {
    "transpose": (f"m = Mul(x, s) t = {PERM}(m) u = {PERM}(t) y = MatMul(u, w)",
                  "Transpose Transpose MatMul", {"s": normal(8)}),
    "bias behind": ("m = Add(x, s) t = MatMul(m, w) y = Add(t, b)", "MatMul Add",
                    {"s": normal(8), "b": normal(6)}),
    "one bias behind": ("m = Add(x, s) t = MatMul(m, w) y = Add(b, t)", "MatMul Add",
                        {"s": normal(8), "b": normal(1)}),
    "three readers": (
        "m = Mul(x, s) t = MatMul(m, w) u = MatMul(m, v) r = Reshape(m, n) z = MatMul(r, w)"
        "y = Sum(t, u, z)", "MatMul MatMul Reshape MatMul Sum",
        {"s": normal(8), "v": normal(8, 6), "n": np.array([2, 3, 8])}),
    "gated": ("m = Mul(x, s) g = Sigmoid(x) t = Mul(m, g) y = MatMul(t, w)", "Sigmoid Mul MatMul",
              {"s": normal(8)}),
    "concat": ("m = Mul(x, s) g = Sigmoid(x) t = Concat<axis = -1>(g, m) y = MatMul(t, v)",
               "Sigmoid Concat MatMul", {"s": normal(8), "v": normal(16, 6)}),
    "split": (
        "m = Mul(x, s) t, u = Split<axis = -1, num_outputs = 2>(m) v = MatMul(t, k)"
        "z = MatMul(u, k) y = Add(v, z)", "Split MatMul MatMul Add",
        {"s": normal(8), "k": normal(4, 6)}),
    "heads": ("m = Mul(x, s) t = Reshape(m, n) y = MatMul(t, k)", "Reshape MatMul",
              {"s": np.tile(normal(4), 2), "n": np.array([2, 6, 4]), "k": normal(4, 6)}),
    "residual": ("m = Add(x, s) g = Sigmoid(x) t = Add(m, g) u = MatMul(t, w) y = Add(u, b)",
                 "Sigmoid Add MatMul Add", {"s": normal(8), "b": normal(6)}),
    "difference": ("m = Add(x, s) g = Sigmoid(x) t = Sub(g, m) u = MatMul(t, w) y = Add(u, b)",
                   "Sigmoid Sub MatMul Add", {"s": normal(8), "b": normal(6)}),
    "rows": ("m = Mul(x, s) y = MatMul(k, m)", "MatMul", {"s": normal(3, 1), "k": normal(5, 3)}),
    "past a constant": (
        "m = Mul(x, s) t = Sub(m, k) r = Relu(t) y = MatMul(r, w)", "Sub Relu MatMul",
        {"s": positive(8), "k": normal(8)}),
    "past a constant that comes first": (
        "m = Mul(x, s) t = Sub(k, m) r = Relu(t) y = MatMul(r, w)", "Sub Relu MatMul",
        {"s": positive(8), "k": normal(8)}),
    "norm past a constant": (
        "m = BatchNormalization(x, g, h, p, q) t = Sub(k, m) r = Relu(t) y = MatMul(l, r)",
        "Sub Relu MatMul",
        {"g": positive(3), "h": normal(3), "p": normal(3), "q": positive(3), "k": normal(3, 1),
         "l": normal(4, 3)}),
    "layer norm": ("m = Mul(x, s) t = Add(m, k) y = LayerNormalization(t, g, h)",
                   "LayerNormalization",
                   {"s": positive(1), "k": normal(1), "g": normal(8), "h": normal(8)}),
    "divided again": ("m = Mul(x, s) t = Div(m, k) y = Relu(t)", "Div Relu",
                      {"s": normal(8), "k": positive(8)}),
    "batch norm": (
        "m = Mul(x, s) t = Add(m, k) y = BatchNormalization(t, g, h, p, q)", "BatchNormalization",
        {"s": normal(3, 1), "k": normal(3, 1), "g": normal(3), "h": normal(3), "p": normal(3),
         "q": positive(3)}),
    "instance norm": ("t = Add(x, k) y = InstanceNormalization(t, g, h)", "InstanceNormalization",
                      {"k": normal(3, 1), "g": normal(3), "h": normal(3)}),
    "group norm": ("t = Mul(x, k) y = GroupNormalization<num_groups = 3, stash_type = 11>(t, g, h)",
                   "GroupNormalization", {"k": positive(1), "g": normal(3), "h": normal(3)}),
    "unit length": ("t = Mul(x, k) y = LpNormalization(t)", "LpNormalization", {"k": positive(1)}),
}  # fmt: skip


@pytest.mark.parametrize("path", BEFORE_PRODUCT)
def test_into_what_reads_it(exact: Callable[..., Graph], path: str) -> None:
    body, kinds, constants = BEFORE_PRODUCT[path]
    weights = {"w": M, **constants}
    exact(NAME, in_double(ROWS, body, weights), kinds, **weights)


AFTER_PRODUCT = {
    "attention scores": (
        f"q = MatMul(x, w) p = Add(q, b) r = Reshape(p, n) t = {PERM}(r) k = MatMul(x, w)"
        "v = Reshape(k, n) u = MatMul(t, v) y = Div(u, s)",
        "MatMul Add Reshape Transpose MatMul Reshape MatMul",
        {"b": normal(6), "n": np.array([2, 3, 6]), "s": np.array(8.0)}),
    "rotated queries": (
        "q = MatMul(x, w) h, l = Split<axis = -1, num_outputs = 2>(q) n = Neg(l)"
        "r = Concat<axis = -1>(n, h) c = Cos(x) g = Slice(c, zero, six, last) u = Mul(q, g)"
        "v = Mul(r, g) p = Add(u, v) y = Mul(p, s)",
        "MatMul Split Neg Concat Cos Slice Mul Mul Add",
        {"s": np.array(0.3), "zero": np.array([0]), "six": np.array([6]),
         "last": np.array([-1])}),
    "a value and itself": ("q = MatMul(x, w) p = Add(q, q) y = Mul(p, s)", "MatMul Add",
                           {"s": normal(6)}),
    "a value and its absolute": (
        "q = MatMul(x, w) r = Abs(q) p = Add(q, r) y = Mul(p, s)", "MatMul Abs Add",
        {"s": positive(6)}),
    "a sign": ("q = MatMul(x, w) p = Add(q, k) y = Neg(p)", "MatMul Add", {"k": normal(6)}),
    "columns": (
        f"q = MatMul(x, w) t = {PERM}(q) u = MatMul(t, x) v = Relu(u) p = MatMul(v, w)"
        "y = Mul(p, s)", "MatMul Transpose MatMul Relu MatMul", {"s": normal(6)}),
    "product of two": ("q = MatMul(x, w) g = Sigmoid(q) p = MatMul(x, v) t = Mul(g, p)"
                       "y = Mul(t, s)", "MatMul Sigmoid MatMul Mul",
                       {"s": normal(6), "v": normal(8, 6)}),
    "quotient": ("q = MatMul(x, w) g = Sigmoid(x) h = MatMul(g, v) e = Exp(h) t = Div(q, e)"
                 "y = Mul(t, s)", "MatMul Sigmoid MatMul Exp Div",
                 {"s": normal(6), "v": normal(8, 6)}),
    "divisor": ("q = Sigmoid(x) t = Div(q, k) y = Mul(t, s)", "Sigmoid Mul",
                {"k": positive(8), "s": positive(8)}),
    "concat": (
        "q = MatMul(x, w) p = MatMul(x, v) t = Concat<axis = -1>(q, p, k) y = Mul(t, s)",
        "MatMul MatMul Concat", {"v": normal(8, 5), "k": normal(2, 3, 2), "s": normal(13)}),
    "concat of rows": (
        "q = MatMul(x, w) t = Concat<axis = 1>(k, q) y = Mul(t, s)",
        "MatMul Concat", {"k": normal(2, 1, 6), "s": normal(6)}),
    "split": (
        "q = MatMul(x, w) t, u = Split<axis = -1, num_outputs = 2>(q) v = Mul(u, s)"
        "y = Concat<axis = -1>(v, t)", "MatMul Split Concat", {"s": normal(3)}),
    "embedding": ("i = Cast<to = 7>(x) q = Gather(k, i) y = Mul(q, s)", "Cast Gather",
                  {"k": normal(9, 5), "s": normal(5)}),
    "layer norm": ("q = LayerNormalization(x, g) y = Add(q, s)", "LayerNormalization",
                   {"g": normal(8), "s": normal(8)}),
    "layer norm twice": ("q = LayerNormalization(x, g, h) p = Mul(q, s) y = Sub(p, k)",
                         "LayerNormalization",
                         {"g": normal(8), "h": normal(8), "s": normal(8), "k": normal(1)}),
    "constants": ("q = Relu(x) p = Mul(q, k) t = Add(p, l) y = Mul(t, s)", "Relu Add Mul",
                  {"k": normal(8), "l": normal(8), "s": normal(8)}),
    "left weights": ("q = MatMul(k, x) y = Mul(q, s)", "MatMul",
                     {"k": normal(5, 3), "s": normal(5, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("path", AFTER_PRODUCT)
def test_into_what_writes_it(exact: Callable[..., Graph], path: str) -> None:
    body, kinds, constants = AFTER_PRODUCT[path]
    weights = {"w": M, **constants}
    exact(NAME, in_double(ROWS, body, weights), kinds, **weights)


def test_past_a_residual(exact: Callable[..., Graph]) -> None:
    weights = {"w": normal(4, 4, 1, 1), "b": normal(4), "s": normal(4, 1, 1)}
    text = in_double(IMAGE, "r = Relu(x) c = Conv(x, w, b) t = Add(r, c) y = Add(t, s)", weights)
    exact(NAME, text, "Relu Conv Add", **weights)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_past_a_pixel_shuffle(exact: Callable[..., Graph], mode: str) -> None:
    weights = {"w": normal(12, 4, 3, 3), "s": normal(3, 1, 1), "t": normal(3, 1, 1)}
    shuffle = f'DepthToSpace<blocksize = 2, mode = "{mode}">'
    text = in_double(IMAGE, f"c = Conv(x, w) d = {shuffle}(c) m = Mul(d, s) y = Add(m, t)", weights)
    exact(NAME, text, "Conv DepthToSpace", **weights)


def test_past_a_space_to_depth(exact: Callable[..., Graph]) -> None:
    weights = {"w": normal(5, 16, 1, 1), "s": normal(4, 1, 1), "t": normal(4, 1, 1)}
    body = "m = Mul(x, s) n = Sub(m, t) d = SpaceToDepth<blocksize = 2>(n) y = Conv(d, w)"
    exact(NAME, in_double(IMAGE, body, weights), "SpaceToDepth Conv", **weights)


@pytest.mark.parametrize(("kind", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize("bias", ["", ", b"])
def test_into_a_recurrent_layer(
    fires: Callable[..., Graph], kind: str, gates: int, bias: str
) -> None:
    weights = {
        "w": normal(2, gates * 5, 8) / 3, "r": normal(2, gates * 5, 5) / 3,
        "b": normal(2, gates * 10), "s": normal(8), "t": normal(8),
    }  # fmt: skip
    call = f'{kind}<hidden_size = 5, direction = "bidirectional">(n, w, r{bias})'
    text = in_double(ROWS, f"m = Mul(x, s) n = Add(m, t) y = {call}", weights)
    single = {name: np.float32(array) for name, array in weights.items()}
    rules = ["affine-before-linear"] * 2
    graph = fires(NAME, text.replace("double", "float"), *rules, **single)
    assert [node.op_type for node in graph] == [kind]


def test_into_depthwise_convolution(exact: Callable[..., Graph]) -> None:
    weights = {"w": normal(4, 1, 3, 3), "b": normal(4), "s": positive(4, 1, 1)}
    text = in_double(IMAGE, "c = Conv<group = 4>(x, w, b) r = Relu(c) y = Mul(r, s)", weights)
    exact(NAME, text, "Conv Relu", **weights)


def test_into_groups_of_a_transposed_convolution(fires: Callable[..., Graph]) -> None:
    weights = {"w": normal(4, 3, 3, 3), "b": B, "s": positive(6, 1, 1)}
    body = "c = ConvTranspose<group = 2>(x, w, b) r = Relu(c) y = Mul(r, s)"
    text = in_double(IMAGE, body, weights).replace("double", "float")
    single = {name: np.float32(array) for name, array in weights.items()}
    fires(NAME, text, "affine-after-linear", **single)


def test_a_bias_that_does_not_change_may_be_computed(exact: Callable[..., Graph]) -> None:
    weights = {"w": W, "s": normal(4, 1, 1)}
    text = in_double(
        f"{IMAGE}, double[6] k", "m = Mul(x, s) b = Relu(k) y = Conv(m, w, b)", weights
    )
    exact(NAME, text, "Relu Conv", **weights)


def test_inside_a_branch(fires: Callable[..., Graph]) -> None:
    text = """
    g (float[2, 3, 8] x, bool f, float w, float s) => (float y) {
        y = If<then_branch = t () => (float[2, 3, 6] a) { p = MatMul(x, w) q = Transpose(p)
                                                         r = Mul(q, s) a = Transpose(r) },
               else_branch = e () => (float[2, 3, 6] b) { b = MatMul(x, w) }>(f)
    }"""
    graph = fires(NAME, text, "affine-after-linear", w=np.float32(M), s=np.float32(normal(6, 1, 1)))
    assert graph.first is not None
    body = graph.first.subgraphs["then_branch"]
    assert [node.op_type for node in body] == ["MatMul", "Transpose", "Transpose"]


def test_symbolic_sizes(fires: Callable[..., Graph]) -> None:
    text = """
    g (float[B, S, 8] x, float w, float s, int64 n) => (float[B, S, 3, 2] y) {
        p = MatMul(x, w) r = Reshape(p, n) y = Mul(r, s)
    }"""
    weights = {"w": np.float32(M), "s": np.float32(normal(3, 1)), "n": np.array([0, 0, 3, 2])}
    fires(NAME, text, "affine-after-linear", **weights)
