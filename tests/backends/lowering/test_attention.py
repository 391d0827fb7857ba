"""Attention and rotary embeddings as kernels, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.lowering.models import check, model, normal

OPSET = 23
HEADS = "q_num_heads = 4, kv_num_heads = 2"


@pytest.mark.parametrize(("attributes", "mask"), [
    ("", None), ("is_causal = 1, scale = 0.4", None), ("softcap = 1.5", (3, 5)),
    ("", (2, 1, 3, 5)),
])  # fmt: skip
def test_heads_beside_channels(attributes: str, mask: tuple[int, ...] | None) -> None:
    given = "" if mask is None else f", float[{', '.join(map(str, mask))}] m"
    text = f"""
        g (float[2, 3, 32] q, float[2, 5, 16] k, float[2, 5, 12] v{given}) => (float[2, 3, 24] y)
        {{ y = Attention <{HEADS}{", " if attributes else ""}{attributes}>
           (q, k, v{", m" if given else ""}) }}"""
    inputs = {"q": normal(2, 3, 32), "k": normal(2, 5, 16, seed=1), "v": normal(2, 5, 12, seed=2)}
    if mask is not None:
        inputs["m"] = normal(*mask, seed=3)
    assert check(model(text, OPSET), **inputs) == []


def test_cache() -> None:
    text = """g (float[2, 4, 3, 8] q, float[2, 2, 3, 8] k, float[2, 2, 3, 6] v,
           float[2, 2, 4, 8] a, float[2, 2, 4, 6] b)
        => (float[2, 4, 3, 6] y, float[2, 2, 7, 8] c, float[2, 2, 7, 6] d)
        { y, c, d = Attention (q, k, v, , a, b) }"""
    shapes = {"q": (2, 4, 3, 8), "k": (2, 2, 3, 8), "v": (2, 2, 3, 6), "a": (2, 2, 4, 8),
              "b": (2, 2, 4, 6)}  # fmt: skip
    inputs = {name: normal(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    assert check(model(text, OPSET), **inputs) == []


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("turned", [0, 4])
def test_rotary(interleaved: int, turned: int) -> None:
    """With four axes, behind a transpose, with three, and with positions."""
    shared = f"interleaved = {interleaved}, rotary_embedding_dim = {turned}"
    pairs = (turned or 8) // 2
    text = f"""
    g (float[2, 3, 5, 8] x, float[2, 5, 3, 8] z, float[2, 5, 24] f, float[2, 5, {pairs}] c,
       float[2, 5, {pairs}] s, float[9, {pairs}] d, float[9, {pairs}] e, int64[2, 5] p)
    => (float[2, 3, 5, 8] y, float[2, 3, 5, 8] w, float[2, 5, 24] u, float[2, 3, 5, 8] v) {{
        y = RotaryEmbedding <{shared}> (x, c, s)
        t = Transpose <perm = [0, 2, 1, 3]> (z)
        w = RotaryEmbedding <{shared}> (t, c, s)
        u = RotaryEmbedding <{shared}, num_heads = 3> (f, c, s)
        v = RotaryEmbedding <{shared}> (x, d, e, p)
    }}"""
    shapes = {"x": (2, 3, 5, 8), "z": (2, 5, 3, 8), "f": (2, 5, 24), "c": (2, 5, pairs),
              "s": (2, 5, pairs), "d": (9, pairs), "e": (9, pairs)}  # fmt: skip
    inputs = {name: normal(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    positions = np.random.default_rng(0).integers(0, 9, (2, 5))
    assert check(model(text, OPSET), **inputs, p=positions) == []
