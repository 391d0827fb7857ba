"""standardise-contrib-ops: inputs, results and attributes that the standard operators lack."""

from __future__ import annotations

from collections.abc import Callable

import pytest

NAME = "standardise-contrib-ops"
X, W = "float[2, 3, 8] x", "float[8, 24] w, float[24] b"
PAST = "float[2, 2, 2, 4, 4] p"
KEPT = "float[2, 2, 4, 4] p"
GROUPED = "float[1, 4, 32] q, float[1, 4, 16] k, int32[1] n, int32[1] t"
HEADS = "num_heads = 4, kv_num_heads = 2"
TABLES = "float[9, 4] c"

CASES = {
    "a cache that is longer than used": (
        f"{X}, {W}, {PAST}, int32[1] l", "Attention<num_heads = 2>(x, w, b, , p, , l)", "",
        "holds more than it uses"),
    "keys and values returned": (
        f"{X}, {W}", "Attention<num_heads = 2>(x, w, b)", "z",
        "Attention returns its keys and values"),
    "open weights": (
        "float[2, 3, 8] x, float[8, C] w, float[C] b", "Attention<num_heads = 2>(x, w, b)", "",
        "the shape of the weights is unknown"),
    "no rank": (f"float[] x, {W}", "Attention<num_heads = 2>(x, w, b)", "",
                "does not have three known axes"),
    "a cache and its length": (
        f"{X}, {KEPT}, int32[1] l", "MultiHeadAttention<num_heads = 2>(x, x, x, , , , p, p, l)",
        "", "holds more than it uses"),
    "scores returned": (
        f"{X}, {KEPT}", "MultiHeadAttention<num_heads = 2>(x, x, x, , , , p, p)", "z, u, v",
        "MultiHeadAttention returns its scores"),
    "a bias and open widths": (
        "float[2, 3, C] x, float[24] b", "MultiHeadAttention<num_heads = 2>(x, x, x, b)", "",
        "the sizes of queries, keys and values are unknown"),
    "a mask of four axes": (
        f"{X}, {W}, int32[2, 1, 3, 3] m", "Attention<num_heads = 2>(x, w, b, m)", "",
        "one to three known axes"),
    "a bias of the scores without rank": (
        f"{X}, {W}, float[] m", "Attention<num_heads = 2>(x, w, b, , , m)", "",
        "does not have four known axes"),
    "a scaled rotation": (
        f"float[1, 3, 32] x, int64[1, 3] p, {TABLES}",
        "RotaryEmbedding<scale = 2.0>(x, p, c, c)", "", "or the result scaled"),
    "a packed rotation": (
        f"float[1, 3, 32] x, int64[1, 3] p, {TABLES}",
        "RotaryEmbedding<is_packed_batching = 1>(x, p, c, c)", "", "the batch is packed"),
    "a rotation of two axes": (
        f"float[3, 32] x, int64[1, 3] p, {TABLES}", "RotaryEmbedding(x, p, c, c)", "",
        "three or four known axes"),
    "positions without rank": (
        f"float[1, 3, 32] x, int64[] p, {TABLES}", "RotaryEmbedding(x, p, c, c)", "",
        "the shape of the positions is unknown"),
    "sinks": (
        f"{GROUPED}, float[4] h", f"GroupQueryAttention<{HEADS}>(q, k, k, , , n, t, , , , , h)", "",
        "adds a bias or has sinks"),
    "scores of groups": (
        GROUPED, f"GroupQueryAttention<{HEADS}>(q, k, k, , , n, t)", "z, u, v",
        "GroupQueryAttention returns its scores"),
    "open queries": (
        GROUPED.replace("float[1, 4, 32]", "float[1, N, 32]"),
        f"GroupQueryAttention<{HEADS}>(q, k, k, , , n, t)", "", "sizes of the queries are unknown"),
    "keys without values": (
        GROUPED, f"GroupQueryAttention<{HEADS}>(q, k, , , , n, t)", "",
        "keys or values are missing"),
    "scales of two axes": (
        "uint8[3, 4] x, float[3, 1] s", "DequantizeLinear<axis = 0>(x, s)", "",
        "the scale has more than one axis"),
    "scales by row": (
        "uint8[2, 3, 4] x, int8[2, 4, 5] w, float s, float[2, 1, 5] t",
        "MatMulIntegerToFloat(x, w, s, t)", "", "differ by more than columns"),
    "a vector to transpose": (
        "float[4] x, float[4, 5] w", "FusedMatMul<transB = 0, transA = 1>(x, w)", "",
        "unknown or below two"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_declines(misses: Callable[..., None], case: str) -> None:
    inputs, call, further, reason = CASES[case]
    results = ", ".join(f"float {name}" for name in ["y", *further.split(", ")] if name)
    written = ", ".join(name for name in ["y", *further.split(", ")] if name)
    text = f"g ({inputs}) => ({results}) {{ {written} = com.microsoft.{call} }}"
    misses(NAME, text, reason, opset=23)
