"""recognise-activations: HardSigmoid, HardSwish, Softplus, Mish, Swish."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "recognise-activations"
NUMBERS = {
    name: np.float32(value)
    for name, value in {
        "three": 3, "six": 6, "sixth": 1 / 6, "zero": 0, "one": 1, "slope": 1.702, "other": 5,
    }.items()
}  # fmt: skip
DECLARED = ", ".join(f"float {name}" for name in NUMBERS)
CLIPS = {
    "clip": "c = Clip(a, zero, six)",
    "min-max": "d = Max(a, zero) c = Min(six, d)",
    "max-min": "d = Min(a, six) c = Max(d, zero)",
}


def model(body: str, result: str = "float y") -> str:
    return f"g (float[2, 5] x, {DECLARED}) => ({result}) {{ {body} }}"


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph]


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("tail", ["y = Div(c, six)", "y = Mul(sixth, c)"])
def test_hard_sigmoid(fires: Callable[..., Graph], clip: str, tail: str) -> None:
    graph = fires(NAME, model(f"a = Add(three, x) {CLIPS[clip]} {tail}"), "hard-sigmoid", **NUMBERS)
    assert kinds(graph) == ["HardSigmoid"]


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("tail", [
    "m = Mul(x, c) y = Div(m, six)", "m = Mul(c, x) y = Mul(m, sixth)",
    "m = Div(x, six) y = Mul(m, c)",
])  # fmt: skip
def test_hard_swish(fires: Callable[..., Graph], clip: str, tail: str) -> None:
    graph = fires(NAME, model(f"a = Add(x, three) {CLIPS[clip]} {tail}"), "hard-swish", **NUMBERS)
    assert kinds(graph) == ["HardSwish"]


def test_hard_swish_over_hard_sigmoid(fires: Callable[..., Graph]) -> None:
    body = "a = Add(x, three) c = Clip(a, zero, six) h = Div(c, six) y = Mul(x, h)"
    assert kinds(fires(NAME, model(body), "hard-sigmoid", "hard-swish", **NUMBERS)) == ["HardSwish"]


def test_hard_swish_before_its_opset(fires: Callable[..., Graph]) -> None:
    body = "a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six)"
    graph = fires(NAME, model(body), "hard-swish-gate", opset=12, **NUMBERS)
    assert kinds(graph) == ["HardSigmoid", "Mul"]


def test_clip_by_attributes_before_opset_11(fires: Callable[..., Graph]) -> None:
    body = "a = Add(x, three) c = Clip<min = 0.0, max = 6.0>(a) y = Div(c, six)"
    assert kinds(fires(NAME, model(body), "hard-sigmoid", opset=10, **NUMBERS)) == ["HardSigmoid"]


def test_softplus_and_mish(fires: Callable[..., Graph]) -> None:
    body = "e = Exp(x) p = Add(one, e) s = Log(p) t = Tanh(s) y = Mul(x, t)"
    assert kinds(fires(NAME, model(body), "softplus", "mish", **NUMBERS)) == ["Mish"]


def test_softplus_with_a_threshold(fires: Callable[..., Graph]) -> None:
    body = "s = Softplus(x) g = Greater(x, limit) y = Where(g, x, s)"
    text = model(body).replace("float three", "float limit, float three")
    inputs = {"x": np.float32([[-100, -1, 0, 1, 19.9], [20, 20.1, 25, 50, 1e4]])}
    numbers = {**NUMBERS, "limit": np.float32(20)}
    assert kinds(fires(NAME, text, "softplus", inputs=inputs, **numbers)) == ["Softplus"]


@pytest.mark.parametrize(("body", "limit"), [
    ("s = Softplus(x) g = Greater(x, limit) y = Where(g, x, s)", 10),
    ("s = Softplus(x) g = Less(x, limit) y = Where(g, x, s)", 20),
    ("s = Softplus(x) g = Greater(x, limit) y = Where(g, s, x)", 20),
    ("s = Softplus(x) g = Greater(s, limit) y = Where(g, x, s)", 20),
])  # fmt: skip
def test_declines_softplus_with_another_threshold(
    misses: Callable[..., None], body: str, limit: float
) -> None:
    text = model(body).replace("float three", "float limit, float three")
    misses(NAME, text, None, **{**NUMBERS, "limit": np.float32(limit)})


@pytest.mark.parametrize(("body", "alpha"), [
    ("s = Sigmoid(x) y = Mul(s, x)", 1.0),
    ("a = Mul(slope, x) s = Sigmoid(a) y = Mul(x, s)", 1.702),
])  # fmt: skip
def test_swish_is_a_region_when_compiling(
    fires: Callable[..., Graph], body: str, alpha: float
) -> None:
    graph = fires(NAME, model(body), "swish", target=True, **NUMBERS)
    assert kinds(graph) == ["Swish"]
    assert graph.first is not None
    assert graph.first.is_region
    assert graph.first.attribute("alpha") == pytest.approx(alpha)


def test_swish_stays_spelled_out_in_models(misses: Callable[..., None]) -> None:
    misses(NAME, model("s = Sigmoid(x) y = Mul(s, x)"), None, opset=24, **NUMBERS)


SWISH = "s = Sigmoid(x) y = Mul(x, s)"
HARD = "a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six)"


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("Add(x, three)", "Add(x, six)", "the constant 6.0, the pattern needs 3"),
    ("Clip(a, zero, six)", "Clip(a, zero, other)", "the constant 5.0, the pattern needs 6"),
    ("Clip(a, zero, six)", "Clip(a, one, six)", "the constant 1.0, the pattern needs 0"),
    ("Clip(a, zero, six)", "Clip(a, zero)", "left out, the pattern needs 6"),
    ("y = Div(m, six)", "y = Div(m, three)", "the constant 3.0, the pattern needs 6"),
    ("y = Div(m, six)", "y = Div(six, m)", None),
    ("m = Mul(x, c)", "z = Exp(x) m = Mul(z, c)", "have to be the same one"),
])  # fmt: skip
def test_declines_hard_swish(
    misses: Callable[..., None], old: str, new: str, reason: str | None
) -> None:
    misses(NAME, model(HARD.replace(old, new)), reason, **NUMBERS)


@pytest.mark.parametrize("inner", ["a", "c", "m"])
def test_declines_when_the_middle_is_returned(misses: Callable[..., None], inner: str) -> None:
    misses(NAME, model(HARD, f"float y, float {inner}"), "graph output", **NUMBERS)


@pytest.mark.parametrize(("body", "reason"), [
    ("e = Exp(x) s = Sigmoid(e) y = Mul(x, s)", "have to be the same one"),
    ("a = Mul(x, x) s = Sigmoid(a) y = Mul(x, s)", "have to be the same one"),
    ("s = Sigmoid(x) y = Div(x, s)", None),
    ("s = Sigmoid(x) y = Add(x, s)", None),
])  # fmt: skip
def test_declines_swish(misses: Callable[..., None], body: str, reason: str | None) -> None:
    misses(NAME, model(body), reason, target=True, **NUMBERS)


def test_declines_a_gate_that_is_read(misses: Callable[..., None]) -> None:
    misses(NAME, model(SWISH, "float y, float s"), "graph output", target=True, **NUMBERS)


@pytest.mark.parametrize("body", [
    "h = HardSigmoid(x) y = Mul(x, h)", "h = HardSigmoid<alpha = 0.2, beta = 0.4>(x) y = Mul(x, h)",
])  # fmt: skip
def test_declines_another_hard_sigmoid(misses: Callable[..., None], body: str) -> None:
    misses(NAME, model(body), None, **NUMBERS)


@pytest.mark.parametrize("body", [
    "e = Exp(x) p = Add(six, e) y = Log(p)", "e = Exp(x) p = Sub(e, one) y = Log(p)",
])  # fmt: skip
def test_declines_softplus(misses: Callable[..., None], body: str) -> None:
    misses(NAME, model(body), None, **NUMBERS)


def test_declines_mish_before_opset_18(misses: Callable[..., None]) -> None:
    body = "s = Softplus(x) t = Tanh(s) y = Mul(x, t)"
    misses(NAME, model(body), "needs opset 18", opset=17, **NUMBERS)


def test_a_constant_with_more_axes_than_the_data_stays(misses: Callable[..., None]) -> None:
    numbers = NUMBERS | {"three": np.full((1, 1, 1), 3, np.float32)}
    body = f"a = Add(three, x) {CLIPS['clip']} y = Div(c, six)"
    misses(NAME, model(body), "another shape", **numbers)
