"""recognise-rectifiers: functions that bend at zero, and what only looks like one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "recognise-rectifiers"
NUMBERS = {
    "zero": np.float32(0), "one": np.float32(1), "minus": np.float32(-1), "slope": np.float32(0.2),
    "steep": np.float32(1.5), "alpha": np.float32(0.7), "other": np.float32(0.9),
    "a": np.float32(1.6732632), "g": np.float32(1.0507010), "slopes": np.float32([0.1, -2, 0.3]),
    "zeros": np.zeros((2, 5, 3), np.float32),
}  # fmt: skip
DECLARED = ", ".join(f"float {name}" for name in NUMBERS)


def model(body: str, result: str = "float y", data: str = "float[2, 5, 3] x") -> str:
    return f"g ({data}, {DECLARED}) => ({result}) {{ {body} }}"


def only(graph: Graph) -> tuple[str, float | None]:
    assert len(graph) == 1
    assert graph.first is not None
    alpha = graph.first.attribute("alpha")
    return graph.first.op_type, None if alpha is None else round(alpha, 5)


POSITIVE = {
    "greater": "p = Greater(x, zero)",
    "at least": "p = GreaterOrEqual(x, zero)",
    "less": "p = Less(zero, x)",
    "not less": "q = Less(x, zero) p = Not(q)",
    "not greater": "q = GreaterOrEqual(zero, x) p = Not(q)",
}


@pytest.mark.parametrize("condition", POSITIVE)
def test_leaky_relu_by_condition(fires: Callable[..., Graph], condition: str) -> None:
    text = model(f"{POSITIVE[condition]} m = Mul(slope, x) y = Where(p, x, m)")
    assert only(fires(NAME, text, "leaky-relu", **NUMBERS)) == ("LeakyRelu", 0.2)


@pytest.mark.parametrize(("body", "rule", "slope"), [
    ("p = Less(x, zero) m = Mul(x, steep) y = Where(p, m, x)", "leaky-relu", 1.5),
    ("r = Relu(x) n = Neg(x) q = Relu(n) m = Mul(slope, q) y = Sub(r, m)", "leaky-relu", 0.2),
    ("r = Max(x, zero) n = Mul(x, minus) q = Clip(n, zero) m = Mul(q, slope) s = Neg(m) "
     "y = Add(s, r)", "leaky-relu", 0.2),
    ("r = Relu(x) q = Min(x, zero) m = Mul(q, slope) y = Add(m, r)", "leaky-relu", 0.2),
    ("r = Relu(x) n = Sub(zero, x) q = Relu(n) s = Neg(q) m = Mul(s, slope) y = Add(m, r)",
     "leaky-relu", 0.2),
    ("r = Relu(x) n = Neg(x) q = Relu(n) m = Mul(q, slope) y = Add(r, m)", "leaky-relu-negated",
     -0.2),
    ("m = Mul(x, slope) y = Max(m, x)", "leaky-relu-max", 0.2),
    ("y = PRelu(x, slope)", "prelu-single", 0.2),
])  # fmt: skip
def test_leaky_relu(fires: Callable[..., Graph], body: str, rule: str, slope: float) -> None:
    assert only(fires(NAME, model(body), rule, **NUMBERS)) == ("LeakyRelu", slope)


@pytest.mark.parametrize(("body", "rule"), [
    ("r = Relu(x) n = Neg(x) q = Relu(n) m = Mul(slopes, q) y = Sub(r, m)", "prelu"),
    ("r = Relu(x) n = Neg(x) q = Relu(n) m = Mul(q, slopes) y = Add(r, m)", "prelu-negated"),
])  # fmt: skip
def test_prelu_is_for_code_generation(
    fires: Callable[..., Graph], misses: Callable[..., None], body: str, rule: str
) -> None:
    assert only(fires(NAME, model(body), rule, target=True, **NUMBERS)) == ("PRelu", None)
    misses(NAME, model(body), None, **NUMBERS)


@pytest.mark.parametrize(("body", "kind"), [
    ("n = Neg(x) y = Max(n, x)", "Abs"),
    ("r = Relu(x) n = Neg(x) q = Relu(n) y = Add(r, q)", "Abs"),
    ("p = Greater(x, zero) y = Where(p, x, zero)", "Relu"),
    ("p = Less(x, zero) y = Where(p, zero, x)", "Relu"),
    ("p = Greater(x, zero) y = Where(p, x, zeros)", "Relu"),
    ("p = Greater(x, zero) s = Shape(x) o = ConstantOfShape(s) y = Where(p, x, o)", "Relu"),
])  # fmt: skip
def test_abs_and_relu(fires: Callable[..., Graph], body: str, kind: str) -> None:
    graph = fires(NAME, model(body), kind.lower(), **NUMBERS)
    assert [node.op_type for node in graph if node.op_type != "Shape"] == [kind]


@pytest.mark.parametrize("body", [
    "p = Greater(x, alpha) y = Where(p, x, zero)", "p = Less(alpha, x) y = Where(p, x, zeros)",
    "p = Greater(x, alpha) c = Cast<to = 1>(p) y = Mul(x, c)",
])  # fmt: skip
def test_thresholded_relu(fires: Callable[..., Graph], body: str) -> None:
    graph = fires(NAME, model(body), "thresholded-relu", **NUMBERS)
    assert only(graph) == ("ThresholdedRelu", 0.7)


@pytest.mark.parametrize(("body", "alpha"), [
    ("p = Greater(x, zero) e = Exp(x) s = Sub(e, one) y = Where(p, x, s)", 1.0),
    ("p = Greater(x, zero) e = Exp(x) s = Sub(e, one) m = Mul(s, alpha) y = Where(p, x, m)", 0.7),
    ("p = Less(x, zero) e = Exp(x) s = Add(e, minus) m = Mul(alpha, s) y = Where(p, m, x)", 0.7),
    ("p = Greater(x, zero) n = Where(p, zero, x) e = Exp(n) s = Sub(e, one) y = Where(p, x, s)",
     1.0),
    ("n = Min(x, zero) e = Exp(n) s = Sub(e, one) m = Mul(s, alpha) r = Relu(x) y = Add(r, m)",
     0.7),
    ("e = Exp(x) s = Sub(e, one) m = Mul(s, alpha) n = Min(m, zero) r = Relu(x) y = Add(r, n)",
     0.7),
])  # fmt: skip
def test_elu(fires: Callable[..., Graph], body: str, alpha: float) -> None:
    assert only(fires(NAME, model(body), "elu", **NUMBERS)) == ("Elu", alpha)


def test_selu(fires: Callable[..., Graph]) -> None:
    body = """p = Greater(x, zero) e = Exp(x) s = Sub(e, one) m = Mul(s, a) t = Where(p, x, m)
        y = Mul(t, g)"""
    assert only(fires(NAME, model(body), "elu", "selu", **NUMBERS)) == ("Selu", 1.67326)


@pytest.mark.parametrize("tail", [
    "n = Min(m, zero) r = Relu(x) y = Add(r, n)", "p = Greater(x, zero) y = Where(p, x, m)",
])  # fmt: skip
def test_celu(fires: Callable[..., Graph], tail: str) -> None:
    body = f"d = Div(x, alpha) e = Exp(d) s = Sub(e, one) m = Mul(alpha, s) {tail}"
    assert only(fires(NAME, model(body), "celu", **NUMBERS)) == ("Celu", 0.7)


@pytest.mark.parametrize(("body", "reason"), [
    ("m = Mul(x, steep) y = Max(m, x)", "the slope is 1.5: the larger is not the data"),
    ("m = Mul(x, minus) n = Mul(m, slope) y = Max(n, x)", None),
    ("m = Mul(x, slope) y = Min(m, x)", None),
    ("m = Mul(x, slopes) y = Max(m, x)", None),
    ("p = Greater(x, one) m = Mul(x, slope) y = Where(p, x, m)", "the constant 1.0"),
    ("p = Greater(x, zero) m = Mul(x, slope) y = Where(p, m, x)", None),
    ("p = Greater(x, zero) z = Exp(x) m = Mul(z, slope) y = Where(p, x, m)", "the same one"),
    ("p = Greater(x, zero) m = Mul(x, slopes) y = Where(p, x, m)", "a constant tensor"),
    ("r = Relu(x) n = Neg(x) q = Relu(n) m = Mul(slope, q) y = Sub(m, r)", None),
    ("r = Relu(x) q = Relu(x) m = Mul(slope, q) y = Sub(r, m)", None),
])  # fmt: skip
def test_declines_leaky_relu(misses: Callable[..., None], body: str, reason: str | None) -> None:
    misses(NAME, model(body), reason, **NUMBERS)


@pytest.mark.parametrize(("body", "reason"), [
    ("p = Greater(x, zero) e = Exp(x) s = Sub(e, slope) y = Where(p, x, s)", None),
    ("p = Greater(x, zero) e = Exp(x) s = Sub(one, e) y = Where(p, x, s)", None),
    ("p = Greater(x, zero) e = Exp(x) s = Sub(e, one) m = Mul(s, minus) y = Where(p, x, m)",
     "Elu wants one above 0"),
    ("p = Greater(x, zero) e = Exp(x) s = Sub(e, one) m = Mul(s, slopes) y = Where(p, x, m)", None),
    ("n = Max(x, zero) e = Exp(n) s = Sub(e, one) r = Relu(x) y = Add(r, s)", None),
    ("e = Exp(x) s = Sub(e, one) m = Mul(s, alpha) n = Max(m, zero) r = Relu(x) y = Add(r, n)",
     None),
    ("d = Div(x, other) e = Exp(d) s = Sub(e, one) m = Mul(alpha, s) n = Min(m, zero) r = Relu(x) "
     "y = Add(r, n)", "is not what the result is times"),
    ("t = Elu<alpha = 1.5>(x) y = Mul(t, g)", None),
    ("t = Elu<alpha = 1.6732632>(x) y = Mul(t, alpha)", None),
])  # fmt: skip
def test_declines_exponentials(misses: Callable[..., None], body: str, reason: str | None) -> None:
    misses(NAME, model(body), reason, **NUMBERS)


@pytest.mark.parametrize("body", [
    "p = Greater(x, alpha) y = Where(p, zero, x)", "p = Greater(x, alpha) y = Where(p, x, one)",
    # What is not a number would become zero.
    "p = LessOrEqual(x, alpha) y = Where(p, zero, x)",
    "p = GreaterOrEqual(x, alpha) y = Where(p, x, zero)", "n = Neg(x) y = Min(n, x)",
    "p = Greater(x, slopes) y = Where(p, x, zero)", "n = Exp(x) y = Max(n, x)",
])  # fmt: skip
def test_declines_thresholds(misses: Callable[..., None], body: str) -> None:
    misses(NAME, model(body), None, **NUMBERS)


def test_declines_integers(misses: Callable[..., None]) -> None:
    text = "g (int32[2, 3] x) => (int32 y) { n = Neg(x) y = Max(x, n) }"
    misses(NAME, text, "the data are int32")


def test_declines_zeros_that_widen(misses: Callable[..., None]) -> None:
    zeros = NUMBERS | {"zeros": np.zeros((4, 2, 5, 3), np.float32)}
    text = model("p = Greater(x, zero) y = Where(p, x, zeros)")
    misses(NAME, text, "another shape", **zeros)


@pytest.mark.parametrize(("shape", "reason"), [
    ((4, 1, 1, 1), "more axes than the data"), ((5, 1), None), ((1,), "it is LeakyRelu"),
])  # fmt: skip
def test_declines_prelu(
    misses: Callable[..., None], fires: Callable[..., Graph], shape: tuple[int, ...],
    reason: str | None,
) -> None:  # fmt: skip
    numbers = NUMBERS | {"slopes": np.full(shape, 0.5, np.float32)}
    body = "r = Relu(x) n = Neg(x) q = Relu(n) m = Mul(slopes, q) y = Sub(r, m)"
    if reason is None:
        fires(NAME, model(body), "prelu", target=True, **numbers)
    elif np.prod(shape) == 1:
        fires(NAME, model(body), "leaky-relu", target=True, **numbers)
    else:
        misses(NAME, model(body), reason, target=True, **numbers)


def test_declines_prelu_of_fewer_channels(misses: Callable[..., None]) -> None:
    body = "r = Relu(x) n = Neg(x) q = Relu(n) m = Mul(slopes, q) y = Sub(r, m)"
    text = model(body, data="float[2, 5, 1] x")
    misses(NAME, text, "another shape than the data", target=True, **NUMBERS)


@pytest.mark.parametrize("inner", ["r", "q", "m"])
def test_declines_when_the_middle_is_returned(misses: Callable[..., None], inner: str) -> None:
    body = "r = Relu(x) n = Neg(x) q = Relu(n) m = Mul(slope, q) y = Sub(r, m)"
    misses(NAME, model(body, f"float y, float {inner}"), "graph output", **NUMBERS)


@pytest.mark.parametrize("body", [
    "p = Greater(x, zero) e = Exp(x) s = Sub(e, one) y = Where(p, x, s)",
    "p = Greater(x, one) y = Where(p, x, zero)",
    "m = Mul(x, half) y = Max(x, m)",
    "p = Greater(x, zero) m = Mul(x, half) y = Where(p, x, m)",
])  # fmt: skip
def test_declines_what_lacks_a_kernel_in_double(misses: Callable[..., None], body: str) -> None:
    numbers = {"zero": np.float64(0), "one": np.float64(1), "half": np.float64(0.5)}
    text = f"g (double[2, 3] x, double zero, double one, double half) => (double y) {{ {body} }}"
    misses(NAME, text, "lacks the operator for double", **numbers)


def test_declines_a_slope_with_more_axes(misses: Callable[..., None]) -> None:
    text = "g (float[2, 3] x, float slope) => (float y) { y = PRelu(x, slope) }"
    misses(NAME, text, "more axes than the data", slope=np.full((1, 1, 1), 0.2, np.float32))
