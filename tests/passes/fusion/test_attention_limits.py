"""Attention whose shapes are computed, or whose parts are put together along another axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

RECOGNISE, FUSE = "recognise-attention", "fuse-attention"
Q, K = "float[2, 4, 3, 8] q", "float[2, 4, 5, 8] k"
BY_HEAD = "Transpose<perm = [0, 2, 1, 3]>"
SPLIT = f"""
    q3 = Reshape(x, sides) q4 = {BY_HEAD}(q3) k3 = Reshape(z, sides) k4 = {BY_HEAD}(k3)
    v3 = Reshape(z, sides) v4 = {BY_HEAD}(v3)"""
HEADS = "float[2, 3, 32] x, float[2, 5, 32] z"
SCORES = "s = MatMul(q, t) a = Add(s, m) c = Add(a, n) y = Softmax<axis = -1>(c)"
EINSUM = """s = Einsum<equation = "btnh,bsnh->bnts">(q, k) w = Softmax<axis = -1>(s)
    y = Einsum<equation = "bnts,bsnh->btnh">(w, v)"""
NUMBERS: dict[str, Any] = {
    "sides": np.array([0, 0, 4, 8]), "flat": np.array([8, 5, 8]), "plane": np.array([64, 5]),
}  # fmt: skip
CASES = {
    "a computed shape of the result": (
        FUSE, f"{HEADS}, int64[3] o",
        f"{SPLIT} a = Attention(q4, k4, v4) t = {BY_HEAD}(a) y = Reshape(t, o)",
        "the shape of the result is computed"),
    "a cache of heads": (
        FUSE, f"{HEADS}, float[2, 4, 5, 8] a, float[2, 4, 5, 8] b",
        f"{SPLIT} q5 = Concat<axis = 1>(q4, q4) k5 = Concat<axis = 1>(a, k4)"
        "v5 = Concat<axis = 1>(b, v4) y = Attention(q5, k5, v5)",
        "not appended along the positions"),
    "a cache of open sizes": (
        FUSE, f"{HEADS}, float[2, 4, P, 8] a, float[] b",
        f"{SPLIT} k5 = Concat<axis = 2>(a, k4) v5 = Concat<axis = 2>(b, v4)"
        "y = Attention(q4, k5, v5)", "the shape of the cache is unknown"),
    "masks of unknown shape": (
        RECOGNISE, f"{Q}, float[2, 4, 8, 5] t, float[] m, float[5] n", SCORES,
        "the shapes of scores and masks are unknown"),
    "keys that become a matrix": (
        RECOGNISE, f"{Q}, {K}", "a = Reshape(k, flat) b = Transpose<perm = [0, 2, 1]>(a)"
        "y = Reshape(b, plane)", "fewer than three axes"),
    "keys of unknown shape": (
        RECOGNISE, f"{Q}, float[] k, int64[3] o",
        "a = Reshape(k, o) b = Transpose<perm = [0, 2, 1]>(a) y = Reshape(b, flat)",
        "the shape of the data is unknown"),
    "products of unknown shape": (
        RECOGNISE, "float[2, 3, 4, 8] q, float[2, 5, 4, 8] k, float[] v", EINSUM,
        "do not have four known axes"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_declines(misses: Callable[..., None], case: str) -> None:
    name, inputs, body, reason = CASES[case]
    used = {key: array for key, array in NUMBERS.items() if f", {key})" in body}
    declared = "".join(f", int64 {key}" for key in used)
    text = f"g ({inputs}{declared}) => (float y) {{ {body} }}"
    misses(name, text, reason, opset=23, **used)
