"""Normalizations and activations whose data, sizes or numbers are not what their operators take."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from burnish.ir import Graph

ONES = np.ones(8, np.float32)
NUMBERS: dict[str, Any] = {
    "two": np.float32(2), "eps": np.float32(1e-5), "one": np.float32(1), "zero": np.float32(0),
    "count": np.float32(8), "minus": np.float32(-1), "large": np.float32(20),
    "infinite": np.float32(np.inf), "half": np.float32(0.5), "beta": np.float32(0.75), "w": ONES,
    "four": ONES[:4], "slopes": np.full((3, 1), np.inf, np.float32), "last": np.array([-1]),
    "groups": np.array([0, 4, -1]), "wide": np.ones((1, 1, 1, 8), np.float32),
    "rows": np.ones((3, 1), np.float32), "fifth": np.array([2, 1, 8, 5, -1]),
    "first": np.array([1]), "spatial": np.array([0, 2, 3]), "planes": np.array([0, 2]),
    "inner": np.array([2, 3]), "batches": np.ones((2, 8, 1, 1), np.float32),
}  # fmt: skip


def model(inputs: str, body: str, kind: str) -> tuple[str, dict[str, Any]]:
    """The text, and the constants that it uses."""
    used = {name: NUMBERS[name] for name in NUMBERS if re.search(rf"\b{name}\b", body)}
    kinds = {"i": "int64", "f": kind}
    declared = "".join(f", {kinds[a.dtype.kind]} {name}" for name, a in used.items())
    return f"g ({inputs}{declared}) => ({kind} y) {{ {body} }}", used


def norm(axes: str, tail: str = "y = Div(c, s)") -> str:
    return (f"m = ReduceMean(x, {axes}) c = Sub(x, m) q = Mul(c, c) v = ReduceMean(q, {axes})"
            f"e = Add(v, eps) s = Sqrt(e) {tail}")  # fmt: skip


LAYER, GROUP, RESPONSE = (
    "recognise-layer-norm", "recognise-group-norm", "recognise-local-response",
)  # fmt: skip
ROWS, BATCH = "float[2, 3, 8] x", "float[1, 8, 8, 1] x"
MEAN = "m = ReduceMean<keepdims = 1>(x, spatial) a = Squeeze(m, spatial) c = Sub(x, m)"
SQUARES = "t = ReduceSumSquare<keepdims = 0>(c, spatial) v = Div(t, count)"
POOL = "count_include_pad = 1, kernel_shape = [5, 1, 1], pads = [2, 0, 0, 2, 0, 0]"
LRN = f"""q = Mul(x, x) r = Reshape(q, fifth) p = AveragePool<{POOL}>(r)
    s = Squeeze(p, first) t = Mul(s, half) u = Add(t, two) d = Pow(u, beta) y = Div(x, d)"""
LENGTH = "q = Mul(x, x) s = ReduceSum(q, last) y = Sqrt(s)"
FOLDED = "r = Reshape(x, groups) i = InstanceNormalization(r, four, four) y = Reshape(i, z)"

NORMS = {
    "axes that are computed": (LAYER, f"{ROWS}, int64[1] k", norm("k"),
                               "the normalized axes are unknown"),
    "no rank": (LAYER, "float[] x", norm("last"), "the normalized axes are unknown"),
    "a scale with more axes": (
        LAYER, ROWS, "n = LayerNormalization(x, w) y = Mul(n, wide)", "unknown or too small"),
    "a scale of the rows": (
        LAYER, ROWS, norm("last", "r = Reciprocal(s) k = Mul(r, rows) y = Mul(c, k)"),
        "differs along axes that are not normalized"),
    "a scale of the batch": (
        GROUP, "float[2, 8, 5, 6] x",
        norm("inner", "r = Reciprocal(s) k = Mul(r, batches) y = Mul(c, k)"),
        "the scale is not one number per channel"),
    "rows of open data": (LAYER, "float[N, 4, 8] x, int64[3] z", FOLDED,
                          "the shape of the data is unknown"),
    "open groups": (
        GROUP, "float[N, 8, 5, 6] x, int64[3] k, int64[4] z", FOLDED.replace("groups", "k"),
        "the number of groups is unknown"),
    "open channels": (GROUP, "float[2, C, 5, 6] x, int64[4] z", FOLDED,
                      "the number of channels is unknown"),
    "open data": (GROUP, "float[] x, int64[4] z", FOLDED, "the shape of the data is unknown"),
    "a variance of other axes": (
        GROUP, BATCH, f"{MEAN} {SQUARES.replace('spatial', 'planes')} u = Squeeze(v, last)"
        "y = BatchNormalization(x, w, w, a, u)", None),
    "a mean of other axes": (
        GROUP, "float[1, 8, 8, 1] x",
        f"m = ReduceMean<keepdims = 1>(x, spatial) c = Sub(x, m) {SQUARES}"
        "b = ReduceMean<keepdims = 0>(x, planes) a = Squeeze(b, last)"
        "y = BatchNormalization(x, w, w, a, v)", None),
    "training": (
        GROUP, BATCH, f"{MEAN} {SQUARES}"
        "y, f, g = BatchNormalization<training_mode = 1>(x, w, w, a, v)", "trains"),
    "open sizes of a response": (RESPONSE, "float[] x", LRN, "the shape of the data is unknown"),
    "an unknown axis of a length": (
        "recognise-lp-norm", f"{ROWS}, int64[1] k",
        LENGTH.replace("last", "k"), "the axes of the sum are unknown"),
    "an unknown maximum": (
        "recognise-softmax", f"{ROWS}, int64[1] k", "m = ReduceMax(x, k) c = Sub(x, m)"
        "y = Softmax(c)", "does not go over one known axis"),
    "two axes of a maximum": (
        "recognise-softmax", ROWS, "m = ReduceMax(x, planes) c = Sub(x, m) y = Softmax(c)",
        "does not go over one known axis"),
}  # fmt: skip

RECTIFIERS, SMOOTH = "recognise-rectifiers", "recognise-activations"
PRELU = "r = Relu(x) n = Neg(x) q = Relu(n) m = Mul(slopes, q) y = Sub(r, m)"
SOFTPLUS = "m = Mul(x, b) p = Softplus(m) d = Div(p, b) g = Greater(m, large) y = Where(g, x, d)"
CELU = """d = Div(x, b) e = Exp(d) s = Sub(e, one) m = Mul(b, s) n = Min(m, zero) r = Relu(x)
    y = Add(r, n)"""
ACTIVATIONS = {
    "an infinite slope": (SMOOTH, ROWS, "m = Mul(x, infinite) a = Add(m, half)"
                          "y = Clip(a, zero, one)", "no finite numbers"),
    "an infinite offset": (SMOOTH, ROWS, "m = Mul(x, half) a = Add(m, infinite)"
                           "y = Clip(a, zero, one)", "no finite numbers"),
    "a negative factor of Softplus": (SMOOTH, ROWS, SOFTPLUS.replace("b", "minus"),
                                      "no positive number"),
    "an infinite slope of leaks": (
        RECTIFIERS, ROWS, "p = Greater(x, zero) m = Mul(x, infinite) y = Where(p, x, m)",
        "no finite number"),
    "a negative alpha": (RECTIFIERS, ROWS, re.sub(r"\bb\b", "minus", CELU), "no positive number"),
}  # fmt: skip
CASES = NORMS | ACTIVATIONS


@pytest.mark.parametrize("case", CASES)
def test_declines(misses: Callable[..., None], case: str) -> None:
    name, inputs, body, reason = CASES[case]
    text, used = model(inputs, body, "float")
    misses(name, text, reason, **used)


def test_declines_slopes_that_are_not_finite(misses: Callable[..., None]) -> None:
    text, used = model(ROWS, PRELU, "float")
    misses(RECTIFIERS, text, "the slopes are not finite", target=True, **used)


def test_declines_the_length_of_integers(misses: Callable[..., None]) -> None:
    text, used = model("int32[2, 3, 8] x", LENGTH, "int32")
    misses("recognise-lp-norm", text, "the data are int32", **used)


@pytest.mark.parametrize(("name", "body", "reason"), [
    (RECTIFIERS, re.sub(r"\bb\b", "half", CELU), "Celu is defined for float32 only"),
    (GROUP, norm("inner"),
     "engines lack this normalization"),
])  # fmt: skip
def test_declines_doubles(misses: Callable[..., None], name: str, body: str, reason: str) -> None:
    text, used = model("double[2, 3, 8, 4] x", body, "double")
    wide = {key: a.astype(np.float64) if a.dtype.kind == "f" else a for key, a in used.items()}
    misses(name, text, reason, **wide)


def test_a_scale_with_more_axes_than_the_data_stays_outside(fires: Callable[..., Graph]) -> None:
    text = """
    g (float[2, 3] x, float two, float eps, float[1, 2, 1] w, int64[1] last) => (float[1, 2, 3] y) {
        m = ReduceMean(x, last) d = Sub(x, m) q = Pow(d, two) v = ReduceMean(q, last)
        e = Add(v, eps) s = Sqrt(e) n = Div(d, s) y = Mul(n, w)
    }"""
    numbers = {
        "two": np.float32(2), "eps": np.float32(1e-5), "last": np.array([-1]),
        "w": np.array([[[1], [2]]], np.float32),
    }  # fmt: skip
    after = fires("recognise-layer-norm", text, "layer-norm", **numbers)
    assert [node.op_type for node in after] == ["LayerNormalization", "Mul"]
