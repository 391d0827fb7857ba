"""regroup-slices: a Split for slices that cover a value, a Gather for one place or any order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "regroup-slices"
Fires = Callable[..., Graph]
Misses = Callable[..., None]

LISTS = {"n1": [-1], "zero": [0], "one": [1], "two": [2], "four": [4], "six": [6], "far": [2**62]}


def used(body: str) -> dict[str, Any]:
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return {name: np.array(values, np.int64) for name, values in LISTS.items() if name in words}


def model(body: str, inputs: str = "float[3, 6, 8] x", outputs: str = "float y") -> str:
    return f"g ({inputs}) => ({outputs}) {{ {body} }}"


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph.walk()]


def test_one_element(fires: Fires) -> None:
    text = model("s = Slice(x, one, two, zero) y = Squeeze(s, zero)")
    after = fires(NAME, text, "slice-to-gather", **used(text))
    assert kinds(after) == ["Gather"]
    text = model("s = Slice(x, n1, far, one) y = Reshape(s, k)")
    after = fires(NAME, text, "slice-to-gather", **used(text), k=np.array([3, 8]))
    assert after.first is not None
    assert after.first.attributes == {"axis": 1}
    text = model("s = Slice(x, one, two, one) y = Squeeze(s, one)", 'float["n", 6, 8] x')
    fires(NAME, text, "slice-to-gather", **used(text))


def test_slices_that_cover(fires: Fires) -> None:
    text = model(
        "e = Exp(x) c = Slice(e, four, far, one) a = Slice(e, zero, one, one) "
        "b = Slice(e, one, four, one) y = Neg(c) u = Neg(b) v = Neg(a)",
        outputs="float y, float u, float v",
    )  # fmt: skip
    after = fires(NAME, text, "slices-to-split", **used(text))
    assert sorted(kinds(after)) == ["Exp", "Neg", "Neg", "Neg", "Split"]


def test_slices_of_an_input(fires: Fires) -> None:
    text = model("a = Slice(x, zero, two, two) b = Slice(x, two, far, two) "
                 "y = Concat<axis = 2>(b, a)")  # fmt: skip
    after = fires(NAME, text, "slices-to-split", **used(text))
    assert kinds(after) == ["Split", "Concat"]


def test_slices_before_splits_had_inputs(fires: Fires) -> None:
    text = model("a = Slice(x, zero, two, two) b = Slice(x, two, far, two) "
                 "y = Concat<axis = 2>(b, a)")  # fmt: skip
    after = fires(NAME, text, "slices-to-split", opset=12, **used(text))
    assert after.first is not None
    assert after.first.attributes["split"] == (2, 6)


def test_rolled(fires: Fires) -> None:
    text = model("a = Slice(x, zero, two, one) b = Slice(x, two, far, one) "
                 "y = Concat<axis = 1>(b, a)")  # fmt: skip
    after = fires(NAME, text, "slices-to-split", "pieces-to-gather", **used(text))
    assert kinds(after) == ["Gather"]
    assert after.first is not None
    indices = after.first.constant_input(1)
    assert indices is not None
    assert indices.numpy().tolist() == [2, 3, 4, 5, 0, 1]


def test_unbound(fires: Fires) -> None:
    text = model("a, b, c = Split(x, ones) p = Squeeze(a, zero) q = Squeeze(b, zero) "
                 "y = Add(p, q)")  # fmt: skip
    after = fires(NAME, text, "split-to-gathers", **used(text), ones=np.array([1, 1, 1]))
    assert kinds(after) == ["Gather", "Gather", "Add"]


def test_slices_stay_for_code_generation(misses: Misses) -> None:
    text = model("s = Slice(x, one, two, zero) y = Squeeze(s, zero)")
    misses(NAME, text, None, target=True, **used(text))


@pytest.mark.parametrize(
    ("body", "inputs", "reason"),
    [
        ("s = Slice(x, zero, two, zero) y = Reshape(s, k)", "float[3, 6, 8] x", "several elements"),
        ("s = Slice(x, one, two, zero) y = Reshape(s, k)", "float[3, 6, 8] x", "not removed"),
        ("s = Slice(x, n1, far, zero) y = Squeeze(s, zero)", 'float["n", 8] x', "not known"),
        ("s = Slice(x, one, two, b) y = Squeeze(s, zero)", "float[3, 8] x, int64[1] b",
         "only when it runs"),
        ("s = Slice(x, one, two, zero) p = Squeeze(s, zero) y = Add(s, p)", "float[3, 8] x",
         "also read"),
        ("a = Slice(x, zero, two, one) b = Slice(x, four, far, one) y = Concat<axis = 0>(b, a)",
         "float[3, 6, 8] x", "gaps or overlap"),
        ("a = Slice(x, zero, four, one) b = Slice(x, two, far, one) y = Concat<axis = 0>(b, a)",
         "float[3, 6, 8] x", "gaps or overlap"),
        ("a = Slice(x, zero, two, one) b = Slice(x, two, four, two) y = Concat<axis = 1>(b, b) "
         "z = Neg(a)", "float[3, 6, 8] x", "gaps or overlap"),
        ("a = Slice(x, zero, far, one, two) b = Neg(a) y = Neg(b)", "float[3, 6, 8] x", "in steps"),
        ("a = Slice(x, zero, two, one) b = Slice(x, four, far, one) y = Concat<axis = 1>(b, a)",
         "float[3, 6, 4] x", "single elements"),
        ("a = Slice(x, zero, two, one) b = Neg(x) y = Concat<axis = 1>(b, a)", "float[3, 6, 8] x",
         "other things"),
        ("a = Slice(x, zero, two, one) b = Slice(x, zero, two, two) y = Concat<axis = 0>(a, a) "
         "z = Neg(b)", "float[3, 6, 8] x", "along other axes"),
        ("a, b = Split<axis = 1>(x, halves) p = Squeeze(a, one) y = Add(p, b)", "float[3, 2] x",
         "read as they are"),
        ("a, b = Split<axis = 1>(x, halves) y = Add(b, a)", "float[3, 2] x", "read as they are"),
        ("a, b = Split<axis = 1>(x, halves) p = Squeeze(a, one) q = Squeeze(b, one) y = Add(p, q) "
         "z = Neg(a)", "float[3, 2] x", "read as they are"),
        ("a, b = Split<axis = 1>(x, halves) p = Reshape(a, k) q = Reshape(b, k) y = Add(p, q)",
         "float[48, 2] x", "not removed"),
        ("r = Reshape(x, b) a, c = Split(r, halves) y = Add(a, c)", 'float[6, 8] x, int64["n"] b',
         "rank is not known"),
        ("a = Slice(x, zero, far, one) y = Neg(a)", "float[3, 6, 8] x", "not the first"),
        ("a = Slice(x, zero, two, one) b = Slice(x, four, far, one) y = Concat<axis = 1>(b, a) "
         "z = Neg(a)", "float[3, 6, 8] x", "also read as they are"),
    ],
)  # fmt: skip
def test_stays(misses: Misses, body: str, inputs: str, reason: str) -> None:
    more: dict[str, Any] = {}
    if "k)" in body:
        more["k"] = np.array([2, 6, 8]) if "zero, two, zero" in body else np.array([1, 48])
    if "halves" in body:
        more["halves"] = np.array([1, 1])
    outputs = "float y, float z" if " z = " in body else "float y"
    misses(NAME, model(body, inputs, outputs), reason, **used(body), **more)


def test_what_many_read_is_not_searched(misses: Misses) -> None:
    text = model(
        "a = Slice(x, zero, two, one) b = Slice(x, two, far, one) y = Neg(b) z = Neg(a) "
        f"u = Concat<axis = 0>({', '.join(['x'] * 64)})", outputs="float y, float z, float u",
    )  # fmt: skip
    misses(NAME, text, "too many", **used(text))
