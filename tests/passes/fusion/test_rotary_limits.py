"""recognise-rotary: halves of other values, and rotations that only look like whole ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

NAME = "recognise-rotary"
TABLE = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
TWICE, PAIRED = np.concatenate([TABLE, TABLE], -1), np.repeat(TABLE, 2, -1)
CACHE = np.stack([TABLE, TABLE])
NUMBERS = {
    "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "three": np.array([3]),
    "four": np.array([4]), "eight": np.array([8]), "last": np.array([-1]),
    "end": np.array([1 << 60]), "full": np.array([2, 3, 5, 8]), "uneven": np.array([2, 6]),
}  # fmt: skip
DECLARED = ", ".join(f"int64 {name}" for name in NUMBERS)
TURN = "n = Neg(h) t = Concat<axis = -1>(n, l)"
SUM = "a = Mul(x, c) b = Mul(t, s) y = Add(a, b)"
HALVES = {
    "halves of another value": (
        f"v = Relu(x) l = Slice(v, zero, four, last, one) h = Slice(v, four, end, last, one) {TURN}"
        f"{SUM}", "not what its halves are cut from"),
    "a split in uneven parts": (f"l, h = Split<axis = -1>(x, uneven) {TURN} {SUM}",
                                "not split in halves"),
    "a split of another value": (f"v = Relu(x) l, h = Split<axis = -1, num_outputs = 2>(v) {TURN}"
                                 f"{SUM}", "not split in halves"),
    "pairs side by side": (
        f"""l = Slice(x, zero, end, last, two) h = Slice(x, one, end, last, two) n = Neg(h)
        u = Unsqueeze(n, three) v = Unsqueeze(l, three) j = Concat<axis = -1>(u, v)
        t = Reshape(j, full) {SUM}""", "not joined in pairs"),
}  # fmt: skip


@pytest.mark.parametrize("case", HALVES)
def test_declines(misses: Callable[..., None], case: str) -> None:
    body, reason = HALVES[case]
    text = f"g (float[2, 3, 5, 8] x, float c, float s, {DECLARED}) => (float y) {{ {body} }}"
    angles = PAIRED if "Unsqueeze" in body else TWICE
    misses(NAME, text, reason, opset=23, c=angles, s=angles, **NUMBERS)


FEW = "x = Slice(z, zero, eight, last) rest = Slice(z, eight, end, last)"
PARTS = {
    "a rotation in part already": (
        f"{FEW} y = RotaryEmbedding<rotary_embedding_dim = 4>(x, c2, s2)"
        "w = Concat<axis = -1>(y, rest)", "not joined along the channels"),
    "along the heads": (f"{FEW} y = RotaryEmbedding(x, c, s) w = Concat<axis = 1>(y, rest)",
                        "not joined along the channels"),
    "a split along the heads": (
        "x, rest = Split<axis = 1, num_outputs = 2>(z) y = RotaryEmbedding(x, c, s)"
        "w = Concat<axis = -1>(y, rest)", "the channels are not split in two"),
}  # fmt: skip


@pytest.mark.parametrize("case", PARTS)
def test_declines_in_part(misses: Callable[..., None], case: str) -> None:
    body, reason = PARTS[case]
    source = "float[2, 4, 5, 16] z" if "Split" not in body else "float[2, 4, 5, 8] z"
    angles = {"c": CACHE, "s": CACHE}
    if "c2" in body:
        body, angles = body.replace("c2, s2", "c, s"), {"c": CACHE[..., :2], "s": CACHE[..., :2]}
    text = f"g ({source}, float c, float s, {DECLARED}) => (float w) {{ {body} }}"
    misses(NAME, text, reason, opset=23, **angles, **NUMBERS)
