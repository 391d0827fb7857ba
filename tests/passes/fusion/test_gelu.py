"""recognise-gelu: every order of factors, and what only looks like it."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "recognise-gelu"
NUMBERS = {
    name: np.float32(value)
    for name, value in {
        "half": 0.5, "one": 1.0, "two": 2.0, "three": 3.0, "root": np.sqrt(2), "inverse":
        np.sqrt(0.5), "slope": np.sqrt(2 / np.pi), "cubic": 0.044715,
        "twice": 2 * np.sqrt(2 / np.pi), "drawn": 0.044715 * np.sqrt(2 / np.pi), "minus": -1.0,
    }.items()
}  # fmt: skip
DECLARED = ", ".join(f"float {name}" for name in NUMBERS)
ERF = "a = Div(x, root) f = Erf(a) g = Add(f, one)"
TANH = "p = Pow(x, three) q = Mul(cubic, p) s = Add(x, q) a = Mul(slope, s) f = Tanh(a) g = Add(one, f)"  # noqa: E501
GATED = {
    "(x g) / 2": "h = Mul(x, g) y = Mul(h, half)",
    "x (g / 2)": "h = Mul(half, g) y = Mul(x, h)",
    "(x / 2) g": "h = Mul(x, half) y = Mul(h, g)",
    "divided": "h = Mul(g, x) y = Div(h, two)",
    "halved": "h = Div(x, two) y = Mul(h, g)",
    "halved gate": "h = Div(g, two) y = Mul(h, x)",
    "half and half": "k = Mul(f, half) h = Add(half, k) y = Mul(h, x)",
    "halved function": "k = Div(f, two) h = Add(k, half) y = Mul(x, h)",
    "a sum": "k = Mul(x, f) h = Add(x, k) y = Mul(half, h)",
    "minus minus one": "e = Sub(f, minus) h = Mul(x, e) y = Mul(half, h)",
}
TANHS = {
    "pow": TANH,
    "cube of products": TANH.replace("p = Pow(x, three)", "r = Mul(x, x) p = Mul(r, x)"),
    "jax": TANH.replace(
        "p = Pow(x, three) q = Mul(cubic, p)", "r = Mul(cubic, x) p = Mul(x, r) q = Mul(x, p)"
    ),
    "factored": "r = Mul(x, x) p = Mul(r, cubic) q = Add(p, one) s = Mul(slope, x) "
    "a = Mul(s, q) f = Tanh(a) g = Add(f, one)",
    "drawn in": "l = Mul(slope, x) p = Pow(x, three) q = Mul(p, drawn) a = Add(l, q) f = Tanh(a) "
    "g = Add(f, one)",
    "drawn in and factored": "r = Mul(x, x) p = Mul(r, drawn) q = Add(p, slope) a = Mul(q, x) "
    "f = Tanh(a) g = Add(f, one)",
    "transformers": "s = Mul(x, slope) r = Mul(cubic, x) p = Mul(r, x) q = Add(one, p) "
    "a = Mul(s, q) f = Tanh(a) g = Add(f, one)",
}


def model(body: str, result: str = "float y") -> str:
    if "g)" not in body and "(g" not in body:
        body = re.sub(r"g = Add\((f, one|one, f)\)", "", body)
    return f"g (float[2, 5] x, {DECLARED}) => ({result}) {{ {body} }}"


@pytest.mark.parametrize("order", GATED)
@pytest.mark.parametrize("argument", ["a = Div(x, root)", "a = Mul(inverse, x)"])
def test_erf(fires: Callable[..., Graph], order: str, argument: str) -> None:
    body = ERF.replace("a = Div(x, root)", argument) + " " + GATED[order]
    graph = fires(NAME, model(body), "gelu-erf", **NUMBERS)
    assert [n.op_type for n in graph] == ["Gelu"]
    assert graph.first is not None
    assert graph.first.attributes == {"approximate": "none"}


@pytest.mark.parametrize("product", ["Mul(x, g)", "Mul(g, x)"])
@pytest.mark.parametrize("argument", ["a = Div(x, root)", "a = Mul(inverse, x)"])
def test_erf_without_the_half(fires: Callable[..., Graph], argument: str, product: str) -> None:
    body = ERF.replace("a = Div(x, root)", argument) + f" h = {product} y = Neg(h)"
    graph = fires(NAME, model(body), "gelu-erf-doubled", **NUMBERS)
    assert [n.op_type for n in graph] == ["Gelu", "Mul", "Neg"]


@pytest.mark.parametrize(("old", "new"), [
    ("y = Neg(h)", "y = Mul(h, x)"), ("y = Neg(h)", "y = Div(h, three)"),
    ("Add(f, one)", "Add(f, half)"), ("Div(x, root)", "Div(x, two)"), ("Erf(a)", "Tanh(a)"),
    ("h = Mul(x, g)", "z = Exp(x) h = Mul(z, g)"),
])  # fmt: skip
def test_declines_without_the_half(misses: Callable[..., None], old: str, new: str) -> None:
    body = f"{ERF} h = Mul(x, g) y = Neg(h)"
    misses(NAME, model(body.replace(old, new)), None, **NUMBERS)


@pytest.mark.parametrize("order", GATED)
@pytest.mark.parametrize("form", TANHS)
def test_tanh(fires: Callable[..., Graph], order: str, form: str) -> None:
    graph = fires(NAME, model(f"{TANHS[form]} {GATED[order]}"), "gelu-tanh", **NUMBERS)
    assert [n.op_type for n in graph] == ["Gelu"]
    assert graph.first is not None
    assert graph.first.attributes == {"approximate": "tanh"}


POLYNOMIALS = {
    "torch": "p = Pow(x, three) q = Mul(cubic, p) s = Add(x, q) a = Mul(s, twice)",
    "factored": "r = Mul(x, x) p = Mul(r, cubic) q = Add(p, one) s = Mul(twice, x) a = Mul(s, q)",
}


@pytest.mark.parametrize("form", POLYNOMIALS)
def test_tanh_by_sigmoid(fires: Callable[..., Graph], form: str) -> None:
    body = f"{POLYNOMIALS[form]} t = Sigmoid(a) y = Mul(x, t)"
    graph = fires(NAME, model(body), "gelu-tanh", **NUMBERS)
    assert [n.op_type for n in graph] == ["Gelu"]


@pytest.mark.parametrize(("old", "new"), [
    ("twice", "slope"), ("Sigmoid", "Tanh"), ("Mul(x, t)", "Mul(s, t)"), ("cubic", "half"),
])  # fmt: skip
def test_declines_another_sigmoid(misses: Callable[..., None], old: str, new: str) -> None:
    body = f"{POLYNOMIALS['torch']} t = Sigmoid(a) y = Mul(x, t)"
    misses(NAME, model(body.replace(old, new)), "the pattern needs" if old != "Mul(x, t)" else None,
           **NUMBERS)  # fmt: skip


PLAIN = f"{ERF} {GATED['(x g) / 2']}"


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("Div(x, root)", "Div(x, two)", "the constant 2.0, the pattern needs 1.41421"),
    ("Add(f, one)", "Add(f, half)", "the constant 0.5, the pattern needs 1"),
    ("Add(f, one)", "Sub(f, one)", None),
    ("y = Mul(h, half)", "y = Mul(h, two)", "the pattern needs"),
    ("y = Mul(h, half)", "y = Mul(h, x)", "the pattern needs"),
    ("h = Mul(x, g)", "z = Exp(x) h = Mul(z, g)", "have to be the same one"),
    ("f = Erf(a)", "f = Tanh(a)", "the pattern needs Erf"),
])  # fmt: skip
def test_declines(misses: Callable[..., None], old: str, new: str, reason: str | None) -> None:
    misses(NAME, model(PLAIN.replace(old, new)), reason, **NUMBERS)


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("a = Mul(slope, s)", "a = Mul(half, s)", "the pattern needs"),
    ("q = Mul(cubic, p)", "q = Mul(half, p)", "the pattern needs"),
    ("p = Pow(x, three)", "p = Pow(x, two)", "the pattern needs 3"),
    ("s = Add(x, q)", "z = Exp(x) s = Add(z, q)", "have to be the same one"),
])  # fmt: skip
def test_declines_another_tanh(
    misses: Callable[..., None], old: str, new: str, reason: str
) -> None:
    misses(NAME, model(f"{TANH} {GATED['(x g) / 2']}".replace(old, new)), reason, **NUMBERS)


def test_declines_before_opset_20(misses: Callable[..., None]) -> None:
    misses(NAME, model(PLAIN), "needs opset 20, the model has 19", opset=19, **NUMBERS)


@pytest.mark.parametrize("inner", ["a", "f", "g", "h"])
def test_declines_when_the_middle_is_returned(misses: Callable[..., None], inner: str) -> None:
    misses(NAME, model(PLAIN, f"float y, float {inner}"), "graph output", **NUMBERS)


def test_declines_a_half_per_channel(misses: Callable[..., None]) -> None:
    numbers = {**NUMBERS, "half": np.full(5, 0.5, np.float32)}
    misses(NAME, model(PLAIN), "a constant tensor, the pattern needs", **numbers)


def test_a_constant_with_more_axes_than_the_data_stays(misses: Callable[..., None]) -> None:
    numbers = NUMBERS | {"one": np.ones((1, 1, 1, 1), np.float32)}
    misses(NAME, model(f"{ERF} {GATED['(x g) / 2']}"), "another shape", **numbers)
