"""recognise-softmax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "recognise-softmax"
NUMBERS = {
    "axes": np.array([-1]), "kept": np.array([2, 3, 1]), "low": np.float32(-np.inf),
    "first": np.array([1]),
}  # fmt: skip
DECLARED = "int64 axes, int64 kept, int64 first, float low"
STABLE = (
    "m = ReduceMax<axes = [-1]>(x) c = Sub(x, m) e = Exp(c) s = ReduceSum(e, axes) y = Div(e, s)"
)
FLAT = """
    m = ReduceMax<axes = [2], keepdims = 0>(x) n = Max(low, m) r = Reshape(n, kept)
    c = Sub(x, r) e = Exp(c) s = ReduceSum<keepdims = 0>(e, axes) t = Unsqueeze(s, axes)
    y = Div(e, t)"""


def model(body: str, result: str = "float y", shape: str = "2, 3, 8") -> str:
    return f"g (float[{shape}] x, {DECLARED}) => ({result}) {{ {body} }}"


def axis(graph: Graph) -> int:
    assert graph.first is not None
    assert graph.first.op_type == "Softmax"
    assert len(graph) == 1
    found: int = graph.first.attribute("axis")
    return found


@pytest.mark.parametrize(("body", "rule"), [
    (STABLE, "softmax"), (FLAT, "softmax"),
    ("e = Exp(x) s = ReduceSum(e, axes) y = Div(e, s)", "softmax-plain"),
    ("e = Exp(x) s = ReduceSum(e, axes) r = Reciprocal(s) y = Mul(r, e)", "softmax-plain"),
])  # fmt: skip
def test_spellings(fires: Callable[..., Graph], body: str, rule: str) -> None:
    assert axis(fires(NAME, model(body), rule, opset=17, **NUMBERS)) == -1


def test_along_another_axis(fires: Callable[..., Graph]) -> None:
    body = "e = Exp(x) s = ReduceSum(e, first) y = Div(e, s)"
    assert axis(fires(NAME, model(body), "softmax-plain", **NUMBERS)) == 1


@pytest.mark.parametrize(("old", "new"), [
    ("ReduceMax<axes = [-1]>", "ReduceMax<axes = [1]>"), ("c = Sub(x, m)", "c = Sub(m, x)"),
])  # fmt: skip
def test_what_is_subtracted_otherwise_stays(
    fires: Callable[..., Graph], old: str, new: str
) -> None:
    text = model(STABLE.replace(old, new))
    graph = fires(NAME, text, "softmax-plain", opset=17, **NUMBERS)
    assert [n.op_type for n in graph] == ["ReduceMax", "Sub", "Softmax"]


def test_keeps_other_axes_before_opset_13(misses: Callable[..., None]) -> None:
    body = "e = Exp(x) s = ReduceSum<axes = [1]>(e) y = Div(e, s)"
    misses(NAME, model(body), "needs opset 13", opset=12, **NUMBERS)


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("ReduceSum(e, axes)", "ReduceSum(e)", "does not go over one known axis"),
    ("ReduceSum(e, axes)", "ReduceMean<axes = [-1]>(e)", "the pattern needs ReduceSum"),
    ("y = Div(e, s)", "y = Div(s, e)", None),
    ("s = ReduceSum(e, axes)", "z = Exp(x) s = ReduceSum(z, axes)", "have to be the same one"),
])  # fmt: skip
def test_declines(misses: Callable[..., None], old: str, new: str, reason: str | None) -> None:
    misses(NAME, model(STABLE.replace(old, new)), reason, opset=17, **NUMBERS)


@pytest.mark.parametrize("inner", ["e", "s"])
def test_declines_when_the_middle_is_returned(misses: Callable[..., None], inner: str) -> None:
    misses(NAME, model(STABLE, f"float y, float {inner}"), "graph output", opset=17, **NUMBERS)


def test_declines_a_sum_spread_along_another_axis(misses: Callable[..., None]) -> None:
    body = "e = Exp(x) s = ReduceSum<keepdims = 0>(e, axes) t = Unsqueeze(s, first) y = Div(e, t)"
    misses(NAME, model(body, shape="8, 8, 8"), "not spread along the axes", **NUMBERS)


def test_a_sum_that_is_turned_after_keeping_its_axis_stays(misses: Callable[..., None]) -> None:
    body = "e = Exp(x) s = ReduceSum(e, axes) r = Reshape(s, turned) y = Div(e, r)"
    text = model(body, shape="2, 2, 2").replace("int64 axes", "int64 turned, int64 axes")
    numbers = NUMBERS | {"turned": np.array([2, 1, 2])}
    misses(NAME, text, "not spread along the axes", **numbers)


LOWERED = "m = ReduceMax<axes = [-1]>(x) c = Sub(x, m) "
LOGS = {
    "of softmax": ("s = Softmax(x) y = Log(s)", "log-of-softmax"),
    "sum": ("t = ReduceLogSumExp<axes = [-1]>(x) y = Sub(x, t)", "log-softmax"),
    "flat sum": ("t = ReduceLogSumExp<axes = [-1], keepdims = 0>(x) u = Reshape(t, kept) "
                 "y = Sub(x, u)", "log-softmax"),
    "plain": ("e = Exp(x) s = ReduceSum(e, axes) l = Log(s) y = Sub(x, l)", "log-softmax"),
    "stable": (LOWERED + "e = Exp(c) s = ReduceSum(e, axes) l = Log(s) y = Sub(c, l)",
               "log-softmax"),
    "added": (LOWERED + "e = Exp(c) s = ReduceSum(e, axes) l = Log(s) t = Add(l, m) y = Sub(x, t)",
              "log-softmax"),
    "flat": (LOWERED + "e = Exp(c) s = ReduceSum<keepdims = 0>(e, axes) l = Log(s) "
             "u = Unsqueeze(l, axes) y = Sub(c, u)", "log-softmax"),
}  # fmt: skip


@pytest.mark.parametrize("form", LOGS)
def test_log_softmax(fires: Callable[..., Graph], form: str) -> None:
    body, rule = LOGS[form]
    graph = fires(NAME, model(body), rule, opset=17, **NUMBERS)
    assert [node.op_type for node in graph] == ["LogSoftmax"]


def test_log_softmax_before_opset_13(fires: Callable[..., Graph]) -> None:
    text = "g (float[2, 3, 4] x) => (float y) { s = Softmax(x) y = Log(s) }"
    graph = fires(NAME, text, "log-of-softmax", opset=11)
    assert [node.op_type for node in graph] == ["LogSoftmax"]


def test_exponential_of_log_softmax(fires: Callable[..., Graph]) -> None:
    body = "t = ReduceLogSumExp<axes = [1]>(x) l = Sub(x, t) y = Exp(l)"
    graph = fires(NAME, model(body), "log-softmax", "exp-of-log-softmax", opset=17, **NUMBERS)
    assert axis(graph) == 1


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
def test_softmax_needs_no_lowering(fires: Callable[..., Graph], kind: str) -> None:
    graph = fires(NAME, model(f"{LOWERED} y = {kind}(c)"), "softmax-shifted", opset=17, **NUMBERS)
    assert [node.op_type for node in graph] == [kind]


@pytest.mark.parametrize(("body", "reason"), [
    ("s = Softmax<axis = 1>(c) y = Identity(s)", "different axes"),
    ("s = Softmax(c) y = Add(s, c)", "also read by another Add"),
    ("s = Sub(m, x) y = Softmax(s)", None),
])  # fmt: skip
def test_declines_another_lowering(
    misses: Callable[..., None], body: str, reason: str | None
) -> None:
    misses(NAME, model(LOWERED + body), reason, opset=17, **NUMBERS)


@pytest.mark.parametrize(("body", "reason"), [
    ("t = ReduceLogSumExp(x) y = Sub(x, t)", "does not go over one known axis"),
    ("t = ReduceLogSumExp<axes = [-1]>(x) y = Sub(t, x)", None),
    ("t = ReduceLogSumExp<axes = [-1]>(x) y = Add(x, t)", None),
    ("z = Tanh(x) t = ReduceLogSumExp<axes = [-1]>(z) y = Sub(x, t)", "the same one"),
    ("t = ReduceLogSumExp<axes = [0], keepdims = 0>(x) u = Unsqueeze(t, axes) y = Sub(x, u)",
     "is not spread along"),
    (LOWERED + "e = Exp(c) s = ReduceSum(e, axes) l = Log(s) y = Sub(x, l)", "the same one"),
    (LOWERED + "e = Exp(c) s = ReduceSum(e, first) l = Log(s) t = Add(l, m) y = Sub(x, t)",
     "along different axes"),
    ("s = Softmax(x) t = Neg(s) y = Log(t)", None),
    ("s = Sigmoid(x) y = Log(s)", None),
])  # fmt: skip
def test_declines_log_softmax(misses: Callable[..., None], body: str, reason: str | None) -> None:
    misses(
        NAME,
        model(body, shape="8, 8, 8" if "Unsqueeze" in body else "2, 3, 8"),
        reason,
        opset=17,
        **NUMBERS,
    )


def test_declines_when_softmax_is_returned(misses: Callable[..., None]) -> None:
    text = model("s = Softmax(x) y = Log(s)", "float y, float s")
    misses(NAME, text, "graph output", opset=17, **NUMBERS)
