"""standardise-contrib-ops on attention: caches, lengths, layouts, grouped queries, rotations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph
from burnish.oracle import Oracle
from tests.passes.conftest import build, run

NAME = "standardise-contrib-ops"
RNG = np.random.default_rng(5)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def op(call: str) -> str:
    return call.replace("ms.", "com.microsoft.")


def test_lengths_of_keys(fires: Callable[..., Graph]) -> None:
    text = f"""g (float[2, 3, 8] q, float[2, 5, 8] k, int32[2] m) => (float y) {{
        y = {op("ms.MultiHeadAttention<num_heads = 2>(q, k, k, , m)")} }}"""
    inputs = {"q": normal(2, 3, 8), "k": normal(2, 5, 8), "m": np.array([3, 5], np.int32)}
    fires(NAME, text, "contrib-MultiHeadAttention", opset=23, inputs=inputs)


def test_keys_by_head(fires: Callable[..., Graph]) -> None:
    text = f"""g (float[2, 3, 8] q, float[2, 2, 5, 4] k, float[2, 2, 5, 4] v) => (float y) {{
        y = {op("ms.MultiHeadAttention<num_heads = 2>(q, k, v)")} }}"""
    fires(NAME, text, "contrib-MultiHeadAttention", opset=23)


def test_queries_keys_and_values_in_one() -> None:
    """ONNX Runtime has no kernel for it on this kind of device: compared with three inputs."""
    call = op("ms.MultiHeadAttention<num_heads = 2>")
    after = build(f"g (float[2, 3, 2, 3, 4] q) => (float y) {{ y = {call}(q) }}", 23, {})
    assert run(NAME, after, target=False).changed
    apart = "float[2, 3, 8] q, float[2, 3, 8] k, float[2, 3, 8] v"
    before = build(f"g ({apart}) => (float y) {{ y = {call}(q, k, v) }}", 23, {})
    q, k, v = (normal(2, 3, 8), normal(2, 3, 8) * 2, normal(2, 3, 8) + 1)
    together = np.stack([x.reshape(2, 3, 2, 4) for x in (q, k, v)], 3)
    wanted = Oracle(before).run({"q": q, "k": k, "v": v})["y"]
    np.testing.assert_allclose(
        Oracle(after).run({"q": together})["y"], wanted, rtol=1e-5, atol=1e-6
    )


ROTATED = {
    "by position": ("float[2, 5, 24] x", "int64[2, 5] p", ""),
    "from one on": ("float[2, 5, 24] x", "int64[1] p", ""),
    "of four axes": ("float[2, 3, 5, 8] x", "int64[2, 5] p", ""),
    "of four axes from one on": ("float[2, 3, 5, 8] x", "int64[1] p", ""),
    "interleaved": ("float[2, 5, 24] x", "int64[2, 5] p", "<interleaved = 1>"),
}


@pytest.mark.parametrize("case", ROTATED)
def test_rotary(fires: Callable[..., Graph], case: str) -> None:
    x, p, attributes = ROTATED[case]
    call = op(f"ms.RotaryEmbedding{attributes}(x, p, c, s)")
    text = f"g ({x}, {p}, float c, float s) => (float y) {{ y = {call} }}"
    positions = np.array([3]) if "[1]" in p else np.array([[0, 1, 2, 3, 4], [4, 5, 6, 7, 0]])
    inputs = {"x": normal(2, 3, 5, 8), "p": positions}
    if "24" in x:
        inputs["x"] = normal(2, 5, 24)
    tables = {"c": np.cos(normal(9, 4)), "s": np.sin(normal(9, 4))}
    fires(NAME, text, "contrib-RotaryEmbedding", opset=23, inputs=inputs, **tables)


GROUPED = {
    "plain": ("q, k, v, , , n, t", ""),
    "in one": ("z, , , , , n, t", ""),
    "rotated": ("q, k, v, , , n, t, c, s", ", do_rotary = 1"),
    "rotated in pairs": ("q, k, v, , , n, t, c, s", ", do_rotary = 1, rotary_interleaved = 1"),
    "scaled and bounded": ("q, k, v, , , n, t", ", scale = 0.3, softcap = 2.0"),
}


@pytest.mark.parametrize("case", GROUPED)
@pytest.mark.parametrize("last", [3, 1])
def test_grouped_queries(fires: Callable[..., Graph], case: str, last: int) -> None:
    """The second entry of the batch may have fewer keys than the first."""
    inputs, attributes = GROUPED[case]
    call = op(f"ms.GroupQueryAttention<num_heads = 4, kv_num_heads = 2{attributes}>({inputs})")
    text = f"""g (float[2, 4, 128] z, float[2, 4, 64] q, float[2, 4, 32] k, float[2, 4, 32] v,
        int32 n, int32 t, float c, float s) => (float y, float a, float b) {{ y, a, b = {call} }}"""
    text = text.replace("float[2, 4, 128] z, ", "") if case != "in one" else text.replace(
        "float[2, 4, 64] q, float[2, 4, 32] k, float[2, 4, 32] v", "int32 u")  # fmt: skip
    numbers = {"n": np.array([3, last], np.int32), "t": np.array([4], np.int32)}
    numbers |= {"c": np.cos(normal(4, 8)), "s": np.sin(normal(4, 8))}
    if case == "in one":
        numbers["u"] = np.int32(0)
    fires(NAME, text, "contrib-GroupQueryAttention", opset=23, **numbers)


@pytest.mark.parametrize("options", ["", ", unidirectional = 1"])
def test_separate_attention_with_a_cache(fires: Callable[..., Graph], options: str) -> None:
    call = op(f"y, c, d = ms.MultiHeadAttention<num_heads = 2{options}>(q, k, k, , , , p, p)")
    text = f"""g (float[2, 3, 8] q, float[2, 3, 8] k, float[2, 2, 4, 4] p)
        => (float y, float c, float d) {{ {call} }}"""
    fires(NAME, text, "contrib-MultiHeadAttention", opset=23)


def test_packed_attention_with_a_cache(fires: Callable[..., Graph]) -> None:
    call = op("y, c = ms.Attention<num_heads = 2, unidirectional = 1>(x, w, b, m, p)")
    text = f"""g (float[2, 3, 8] x, float w, float b, int32 m, float[2, 2, 2, 4, 4] p)
        => (float y, float c) {{ {call} }}"""
    weights = {"w": normal(8, 24), "b": normal(24), "m": np.ones((2, 7), np.int32)}
    fires(NAME, text, "contrib-Attention", opset=23, **weights)


DECLINED = {
    "lengths": (
        "float[2, 3, 8] x, int32[8] m", "ms.MultiHeadAttention<num_heads = 2>(x, x, x, , m)", 23,
        "more than one length",
    ),
    "packed lengths": (
        "float[2, N, 8] x, float[8, 24] w, float[24] b, int32[2] m",
        "ms.Attention<num_heads = 2>(x, w, b, m)", 23, "holds lengths",
    ),
    "rotation": (
        "float[2, 3, 8] x, float[8, 24] w, float[24] b",
        "ms.Attention<num_heads = 2, do_rotary = 1>(x, w, b)", 23, "has do_rotary",
    ),
    "a cache": (
        "float[2, 3, 8] x, float[2, 2, 2, 4] p",
        "ms.MultiHeadAttention<num_heads = 2>(x, p, p, , , , p, p)", 23, "cache with keys by head",
    ),
    "keys by head": (
        "float[2, 3, 8] x, float[2, 2, 5, 4] k",
        "ms.MultiHeadAttention<num_heads = 2>(x, k, x)", 23, "three known axes",
    ),
    "a cache of decoders": (
        "float[1, 1, 32] q, float[1, 1, 16] k, float[1, 2, 4, 8] p, int32[1] n, int32[1] t",
        "ms.GroupQueryAttention<num_heads = 4, kv_num_heads = 2>(q, k, k, p, p, n, t)", 23,
        "room for more keys",
    ),
    "a window": (
        "float[1, 4, 32] q, float[1, 4, 16] k, int32[1] n, int32[1] t",
        "ms.GroupQueryAttention<num_heads = 4, kv_num_heads = 2, local_window_size = 2>"
        "(q, k, k, , , n, t)", 23, "has local_window_size",
    ),
    "rotation over an unknown length": (
        "float[1, N, 32] x, int64[1] p, float[9, 4] c",
        "ms.RotaryEmbedding(x, p, c, c)", 23, "give --input-shape",
    ),
    "rotation of unknown heads": (
        "float[1, 3, 32] x, int64[1, 3] p, float[9, 2] c",
        "ms.RotaryEmbedding<rotary_embedding_dim = 4>(x, p, c, c)", 23, "number of heads",
    ),
    "a cache of its own": (
        "float[1, 1, 8] x", "ms.DecoderMaskedMultiHeadAttention<num_heads = 2>(x, x, x)", 23,
        "a cache of its own",
    ),
    "a packed batch": (
        "float[3, 8] x, float[8, 24] w, float[24] b, int32[1, 3] o, int32[2] c",
        "ms.PackedAttention<num_heads = 2>(x, w, b, o, c)", 23, "packed without padding",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DECLINED)
def test_declines(misses: Callable[..., None], case: str) -> None:
    inputs, call, opset, reason = DECLINED[case]
    text = f"g ({inputs}) => (float y) {{ y = {op(call)} }}"
    misses(NAME, text, reason, opset=opset)
