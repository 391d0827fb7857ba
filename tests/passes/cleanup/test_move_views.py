"""move-views: reshapes around operators on rows cancel, or stay where that saves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "move-views"
Fires = Callable[..., Graph]
Misses = Callable[..., None]

LISTS = {
    "rows": [6, 4], "cube": [2, 3, 4], "wide": [6, 2, 2], "heads": [2, 3, 2, 2], "flat": [24],
    "two": [2, 2], "zero": [0], "one": [1], "last": [2], "three": [3],
}  # fmt: skip
RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((4, 4)).astype(np.float32)
BIAS = RNG.standard_normal(4).astype(np.float32)


def model(body: str, inputs: str = "float[6, 4] x", outputs: str = "float y") -> str:
    return f"g ({inputs}) => ({outputs}) {{ {body} }}"


def used(body: str) -> dict[str, Any]:
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    found: dict[str, Any] = {n: np.array(v, np.int64) for n, v in LISTS.items() if n in words}
    found |= {name: MATRIX for name in ("w", "v") if name in words}
    found |= {name: BIAS for name in ("b", "c", "k") if name in words}
    return found | ({"half": np.float32(0.5)} if "half" in words else {})


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph.walk()]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("r = Reshape(x, cube) e = Exp(r) y = Reshape(e, rows)", "Exp"),
        ("r = Reshape(x, cube) e = Add(r, b) y = Reshape(e, rows)", "Add"),
        ("r = Reshape(x, cube) e = Mul(half, r) y = Reshape(e, rows)", "Mul"),
        ("r = Reshape(x, cube) e = Tanh(r) f = Mul(e, r) y = Reshape(f, rows)", "Tanh Mul"),
        ("r = Reshape(x, cube) e = LayerNormalization(r, b, c) y = Reshape(e, rows)",
         "LayerNormalization"),
        ("r = Reshape(x, cube) e = LayerNormalization<axis = 2>(r, b) y = Reshape(e, rows)",
         "LayerNormalization"),
        ("r = Reshape(x, cube) e = Softmax(r) y = Reshape(e, rows)", "Softmax"),
        ("r = Reshape(x, cube) e = MatMul(r, w) y = Reshape(e, rows)", "MatMul"),
        ("r = Reshape(x, cube) e = Concat<axis = 2>(r, r) f = Slice(e, one, three, last) "
         "y = Reshape(f, kk)", "Concat Slice"),
        # What is read in the middle is reshaped there.
        ("r = Reshape(x, cube) e = Exp(r) f = Reshape(e, rows) y = Abs(f) z = Reshape(e, heads)",
         "Exp Abs Reshape"),
        # Reshapes merge with those before and after.
        ("q = Exp(x) r = Reshape(q, cube) e = Exp(r) f = Reshape(e, heads) y = Neg(f)",
         "Exp Exp Reshape Neg"),
        ("r = Reshape(x, cube) e = Exp(r) y = Reshape(e, heads)", "Exp Reshape"),
        ("r = Reshape(x, cube) e = Exp(r) y = Reshape(e, rows) z = Neg(e)", "Exp Neg Reshape"),
        ("r = Unsqueeze(x, zero) e = Relu(r) y = Squeeze(e, zero)", "Relu"),
        ("r = Flatten<axis = 0>(x) e = Relu(r) y = Reshape(e, rows)", "Relu"),
        # Of two ways in, one has to be reshaped, and both ways out are saved.
        ("r = Reshape(x, cube) e = Add(r, u) y = Reshape(e, rows) f = Neg(e) z = Reshape(f, rows)",
         "Reshape Add Neg"),
    ],
)  # fmt: skip
def test_moved(fires: Fires, body: str, expected: str) -> None:
    inputs = "float[6, 4] x, float[2, 3, 4] u" if ", u)" in body else "float[6, 4] x"
    outputs = "float y, float z" if " z = " in body else "float y"
    text = model(body, inputs, outputs)
    constants = used(body)
    if "kk" in body:
        constants["kk"] = np.array([6, 2])
    after = fires(NAME, text, NAME, **constants)
    assert sorted(kinds(after)) == sorted(expected.split())


def test_a_split_of_heads(fires: Fires) -> None:
    text = model(
        "r = Reshape(x, cube) p, q = Split<axis = -1>(r, two) a = Reshape(p, kk) "
        "y = Reshape(q, kk) z = Neg(a)", outputs="float y, float z",
    )  # fmt: skip
    after = fires(NAME, text, NAME, **used(text), kk=np.array([2, 3, 2, 1]))
    assert sorted(kinds(after)) == ["Neg", "Reshape", "Reshape", "Split"]


def test_products_with_their_bias(fires: Fires) -> None:
    """Two reshapes more, for three products that may be written as Gemm."""
    text = model(
        "e = Exp(x) m = MatMul(e, w) a = Add(m, b) r = Relu(a) n = MatMul(r, v) d = Add(n, c) "
        "p = MatMul(d, w) q = Add(k, p) y = Neg(q)", "float[2, 3, 4] x",
    )  # fmt: skip
    after = fires(NAME, text, NAME, **used(text))
    assert kinds(after).count("Reshape") == 2
    assert all(n.output.rank == 2 for n in after if n.op_type == "MatMul")


def test_constants_move_along(fires: Fires) -> None:
    text = model("r = Reshape(x, cube) e = Add(r, t) f = Mul(e, o) y = Reshape(f, rows)")
    more = {"t": RNG.standard_normal((2, 3, 4)).astype(np.float32),
            "o": RNG.standard_normal((1, 1, 4)).astype(np.float32)}  # fmt: skip
    assert kinds(fires(NAME, text, NAME, **used(text), **more)) == ["Add", "Mul"]


def test_an_open_batch(fires: Fires) -> None:
    text = model("r = Reshape(x, kk) e = Exp(r) y = Reshape(e, mm)", 'float["n", 12] x')
    after = fires(NAME, text, NAME, kk=np.array([-1, 3, 4]), mm=np.array([-1, 12]))
    assert kinds(after) == ["Exp"]


def test_a_body(fires: Fires) -> None:
    text = model(
        "y = If<then_branch = t () => (float[6, 4] a) "
        "{ r = Reshape(x, cube) e = Exp(r) a = Reshape(e, rows) }, "
        "else_branch = e () => (float[6, 4] d) { d = Neg(x) }>(f)", "float[6, 4] x, bool f",
    )  # fmt: skip
    assert kinds(fires(NAME, text, NAME, **used(text))) == ["If", "Exp", "Neg"]


@pytest.mark.parametrize(
    ("body", "inputs", "reason"),
    [
        ("r = Reshape(x, cube) y = Exp(r)", "float[6, 4] x", "no fewer"),
        ("q = Abs(x) r = Reshape(q, cube) y = Exp(r) z = Neg(q)", "float[6, 4] x", "no fewer"),
        ("r = Reshape(x, cube) e = Softmax<axis = 1>(r) y = Reshape(e, rows)", "float[6, 4] x",
         None),
        ("r = Reshape(x, cube) e = Add(r, u) y = Reshape(e, rows)",
         "float[6, 4] x, float[1, 3, 4] u", None),
        ("r = Reshape(x, cube) e = Add(r, u) y = Reshape(e, rows)",
         "float[6, 4] x, float[2, 1, 1] u", None),
        ("r = Reshape(x, cube) e = MatMul(r, u) y = Reshape(e, rows)",
         "float[6, 4] x, float[2, 4, 4] u", None),
        ("r = Reshape(x, cube) e = Concat<axis = 1>(r, r) y = Reshape(e, flat2)", "float[6, 4] x",
         None),
        ("r = Reshape(x, cube) e = ReduceSum(r, one) y = Reshape(e, two4)", "float[6, 4] x", None),
        ("m = MatMul(x, w) a = Add(m, b) y = Neg(a)", "float[2, 3, 4] x", "no fewer"),
        ("m = MatMul(x, w) a = Add(m, u) n = MatMul(a, w) d = Add(n, u) y = Neg(d)",
         "float[2, 3, 4] x, float[4] u", None),
        ("r = Reshape(x, s) e = Exp(r) y = Reshape(e, rows)", "float[6, 4] x, int64[3] s", None),
    ],
)  # fmt: skip
def test_stays(misses: Misses, body: str, inputs: str, reason: str | None) -> None:
    constants = used(body)
    if "flat2" in body:
        constants["flat2"] = np.array([12, 4])
    if "two4" in body:
        constants["two4"] = np.array([2, 4])
    outputs = "float y, float z" if " z = " in body else "float y"
    misses(NAME, model(body, inputs, outputs), reason, **constants)


def test_code_generation_does_not_gain(misses: Misses) -> None:
    text = model("r = Reshape(x, cube) e = Exp(r) y = Reshape(e, rows)")
    misses(NAME, text, None, target=True, **used(text))


def test_old_opsets_count_axes_from_the_front(misses: Misses) -> None:
    text = model("r = Reshape(x, cube) e = Exp(r) y = Reshape(e, rows)")
    misses(NAME, text, None, opset=12, **used(text))
