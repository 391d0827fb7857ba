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


WIDER = {
    **NUMBERS, "half": np.float32(0.5), "two": np.float32(2), "minus": np.float32(-1),
    "fifth": np.float32(0.2), "limit": np.float32(20), "beta": np.float32(1.5),
}  # fmt: skip


def wider(body: str, result: str = "float y") -> str:
    extra = ", ".join(f"float {name}" for name in WIDER if name not in NUMBERS)
    return model(body, result).replace("float three", f"{extra}, float three")


@pytest.mark.parametrize("body", [
    "n = Neg(x) e = Exp(n) d = Add(e, one) y = Reciprocal(d)",
    "n = Mul(x, minus) e = Exp(n) d = Add(one, e) y = Div(one, d)",
    "n = Sub(zero, x) e = Exp(n) d = Sub(e, minus) y = Pow(d, minus)",
    "e = Exp(x) d = Add(e, one) y = Div(e, d)",
    "h = Mul(x, half) t = Tanh(h) s = Add(t, one) y = Mul(half, s)",
    "h = Div(x, two) t = Tanh(h) s = Mul(t, half) y = Add(s, half)",
])  # fmt: skip
def test_sigmoid(fires: Callable[..., Graph], body: str) -> None:
    assert kinds(fires(NAME, wider(body), "sigmoid", **WIDER)) == ["Sigmoid"]


def test_swish_as_a_quotient(fires: Callable[..., Graph]) -> None:
    body = "n = Neg(x) e = Exp(n) d = Add(e, one) y = Div(x, d)"
    assert kinds(fires(NAME, wider(body), "swish-gate", **WIDER)) == ["Sigmoid", "Mul"]


@pytest.mark.parametrize(("body", "rules"), [
    ("a = Mul(x, two) s = Sigmoid(a) d = Mul(two, s) y = Sub(d, one)", ["tanh"]),
    ("a = Add(x, x) s = Sigmoid(a) d = Mul(two, s) y = Add(minus, d)", ["tanh"]),
    ("p = Exp(x) n = Neg(x) q = Exp(n) s = Sub(p, q) d = Add(q, p) y = Div(s, d)", ["tanh"]),
    ("a = Mul(x, two) n = Neg(a) e = Exp(n) t = Add(e, one) s = Div(one, t) d = Mul(two, s) "
     "y = Sub(d, one)", ["sigmoid", "tanh"]),
])  # fmt: skip
def test_tanh(fires: Callable[..., Graph], body: str, rules: list[str]) -> None:
    assert kinds(fires(NAME, wider(body), *rules, **WIDER)) == ["Tanh"]


def test_softsign(fires: Callable[..., Graph]) -> None:
    body = "a = Abs(x) d = Add(one, a) y = Div(x, d)"
    assert kinds(fires(NAME, wider(body), "softsign", **WIDER)) == ["Softsign"]


@pytest.mark.parametrize("clip", [
    "c = Clip(a, zero, one) y = Identity(c)", "b = Min(a, one) c = Max(b, zero) y = Identity(c)",
])  # fmt: skip
def test_hard_sigmoid_of_keras(fires: Callable[..., Graph], clip: str) -> None:
    graph = fires(
        NAME, wider(f"m = Mul(fifth, x) a = Add(m, half) {clip}"), "hard-sigmoid-line", **WIDER
    )
    assert graph.first is not None
    assert graph.first.op_type == "HardSigmoid"
    assert graph.first.attribute("alpha") == pytest.approx(0.2)


def test_hard_swish_of_a_line(fires: Callable[..., Graph]) -> None:
    body = "m = Mul(sixth, x) a = Add(m, half) c = Clip(a, zero, one) y = Mul(x, c)"
    graph = fires(NAME, wider(body), "hard-sigmoid-line", "hard-swish", **WIDER)
    assert kinds(graph) == ["HardSwish"]


@pytest.mark.parametrize("positive", ["r = Relu(x)", "r = Max(x, zero)", "r = Clip(x, zero)"])
def test_stable_softplus(fires: Callable[..., Graph], positive: str) -> None:
    body = f"a = Abs(x) n = Neg(a) e = Exp(n) p = Add(e, one) s = Log(p) {positive} y = Add(s, r)"
    assert kinds(fires(NAME, wider(body), "softplus", "softplus", **WIDER)) == ["Softplus"]


SCALED = (
    "b = Mul(x, beta) s = Softplus(b) d = Div(s, beta) g = Greater(b, limit) y = Where(g, x, d)"
)


def test_scaled_softplus_with_a_threshold(fires: Callable[..., Graph]) -> None:
    inputs = {"x": np.float32([[-100, -1, 0, 1, 13.3], [13.4, 20.1, 25, 50, 1e4]])}
    graph = fires(NAME, wider(SCALED), "softplus-scaled", inputs=inputs, **WIDER)
    assert kinds(graph) == ["Mul", "Softplus", "Div"]


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("Div(s, beta)", "Div(s, two)", "not divided by the factor of its argument"),
    ("Greater(b, limit)", "Greater(b, two)", "a fitting constant"),
    ("Greater(b, limit)", "Greater(x, limit)", None),
    ("Where(g, x, d)", "Where(g, d, x)", None),
    ("Where(g, x, d)", "Where(g, b, d)", None),
])  # fmt: skip
def test_declines_scaled_softplus(
    misses: Callable[..., None], old: str, new: str, reason: str | None
) -> None:
    misses(NAME, wider(SCALED.replace(old, new)), reason, **WIDER)


@pytest.mark.parametrize(("body", "reason"), [
    ("e = Exp(x) d = Add(e, one) y = Reciprocal(d)", "a graph input, the pattern needs"),
    ("n = Neg(x) e = Exp(n) d = Add(e, two) y = Reciprocal(d)", "the constant 2"),
    ("n = Neg(x) e = Exp(n) d = Add(e, one) y = Div(two, d)", None),
    ("n = Neg(x) e = Exp(n) d = Add(e, one) y = Div(d, e)", None),
    ("z = Neg(x) e = Exp(z) d = Add(e, one) y = Div(z, d)", "the same one"),
    ("h = Mul(x, two) t = Tanh(h) s = Add(t, one) y = Mul(half, s)", None),
    ("a = Mul(x, half) s = Sigmoid(a) d = Mul(two, s) y = Sub(d, one)", None),
    ("a = Mul(x, two) s = Sigmoid(a) d = Mul(two, s) y = Sub(one, d)", None),
    ("p = Exp(x) n = Neg(x) q = Exp(n) s = Sub(q, p) d = Add(q, p) y = Div(s, d)", None),
    ("p = Exp(x) n = Neg(x) q = Exp(n) s = Add(q, p) d = Sub(p, q) y = Div(s, d)", None),
    ("a = Abs(x) d = Add(two, a) y = Div(x, d)", None),
    ("a = Relu(x) d = Add(one, a) y = Div(x, d)", None),
    ("m = Mul(fifth, x) a = Add(m, half) y = Clip(a, zero, two)", None),
    ("m = Mul(fifth, x) a = Add(m, half) y = Clip(a, minus, one)", None),
    ("m = Mul(fifth, x) a = Add(m, x) y = Clip(a, zero, one)", None),
    ("a = Abs(x) e = Exp(a) p = Add(e, one) r = Relu(x) s = Reciprocal(p) y = Add(s, r)", None),
])  # fmt: skip
def test_declines_smooth_functions(
    misses: Callable[..., None], body: str, reason: str | None
) -> None:
    misses(NAME, wider(body), reason, **WIDER)


def test_declines_a_sigmoid_of_integers(misses: Callable[..., None]) -> None:
    text = "g (int32[2, 3] x, int32 one) => (int32 y) { a = Abs(x) d = Add(a, one) y = Div(x, d) }"
    misses(NAME, text, "the data are int32", one=np.int32(1))


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


@pytest.mark.parametrize("body", [
    "a = Abs(x) d = Add(one, a) y = Div(x, d)", "e = Exp(x) p = Add(one, e) y = Log(p)",
    "m = Mul(one, x) a = Add(m, one) y = Clip(a, zero, one)",
])  # fmt: skip
def test_declines_what_lacks_a_kernel_in_double(misses: Callable[..., None], body: str) -> None:
    text = f"g (double[2, 3] x, double zero, double one) => (double y) {{ {body} }}"
    misses(NAME, text, "lacks the operator for double", zero=np.float64(0), one=np.float64(1))
