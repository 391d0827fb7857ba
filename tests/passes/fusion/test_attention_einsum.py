"""recognise-attention in products by Einsum, as keras and tf2onnx write them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "recognise-attention"
QKV = "float[2, 3, 4, 8] q, float[2, 5, 4, 8] k, float[2, 5, 4, 8] v"
KEYS_FIRST = 's = Einsum<equation = "aecd,abcd->acbe">(k, q)'
TAIL = 'w = Softmax<axis = -1>(c) y = Einsum<equation = "acbe,aecd->abcd">(w, v)'
PLAIN = f"{KEYS_FIRST} c = Mul(s, r) {TAIL}"
NUMBERS = {"r": np.float32(0.35)}


def model(body: str, extra: str = "") -> str:
    return f"g ({QKV}, {extra}float r) => (float y) {{ {body} }}"


SPELLINGS = {
    "keys first": PLAIN,
    "queries first": PLAIN.replace(
        KEYS_FIRST, 's = Einsum<equation = "btnh,bsnh->bnts">(q, k)'),
    "other letters": PLAIN.replace("acbe,aecd->abcd", "xyzu, xuyw -> xzyw"),
    "with a mask": f"{KEYS_FIRST} m2 = Mul(s, r) c = Add(m2, m) {TAIL}",
}  # fmt: skip


@pytest.mark.parametrize("case", SPELLINGS)
def test_einsum(fires: Callable[..., Graph], case: str) -> None:
    text = model(SPELLINGS[case], "float[2, 1, 3, 5] m, " if "mask" in case else "")
    graph = fires(NAME, text, "attention-einsum", "attention", opset=23, **NUMBERS)
    kinds = [node.op_type for node in graph]
    assert kinds.count("Attention") == 1
    assert "Einsum" not in kinds


def test_unknown_batch(fires: Callable[..., Graph]) -> None:
    text = model(PLAIN).replace("float[2,", "float[N,")
    fires(NAME, text, "attention-einsum", "attention", opset=23, **NUMBERS)


@pytest.mark.parametrize(("old", "new", "extra", "reason"), [
    ("aecd,abcd->acbe", "aecb,abcd->aced", "", None),
    ("acbe,aecd->abcd", "acbe,aecd->acbd", "", None),
    ("c = Mul(s, r)", "b = Mul(s, r) c = Add(b, m)", "float[M, 5] m, ", "whether the mask fits"),
    ("c = Mul(s, r)", "b = Mul(s, r) c = Add(b, m)", "float[3, 1] m, ", "the same for all keys"),
    ("y = Einsum", "z = Neg(s) u = Relu(z) y = Einsum", "", "also read by"),
])  # fmt: skip
def test_declines(
    misses: Callable[..., None], old: str, new: str, extra: str, reason: str | None
) -> None:
    text = model(PLAIN.replace(old, new), extra)
    if "aced" in new:
        text = text.replace("3, 4, 8] q", "3, 4, 5] q").replace("5, 4, 8] k", "5, 4, 3] k")
    if "Relu" in new:
        text = text.replace("(float y)", "(float y, float u)")
    misses(NAME, text, reason, opset=23, **NUMBERS)


def test_needs_the_operator(misses: Callable[..., None]) -> None:
    misses(NAME, model(PLAIN), "needs opset 23", opset=22, **NUMBERS)
