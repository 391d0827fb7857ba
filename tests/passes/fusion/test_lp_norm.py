"""recognise-lp-norm: lengths of vectors, and why dividing by them stays spelled out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.testing import graph as graph_of

NAME = "recognise-lp-norm"
NUMBERS = {
    "two": np.float32(2), "half": np.float32(0.5), "one": np.float32(1), "three": np.float32(3),
    "eps": np.float32(1e-12), "axes": np.array([-1]), "size": np.array([2, 3, 8]),
}  # fmt: skip
DECLARED = ", ".join(
    f"{'int64' if a.dtype == np.int64 else 'float'} {name}" for name, a in NUMBERS.items()
)


def model(body: str, result: str = "float y") -> str:
    return f"g (float[2, 3, 8] x, {DECLARED}) => ({result}) {{ {body} }}"


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph]


@pytest.mark.parametrize("body", [
    "q = Mul(x, x) s = ReduceSum(q, axes) y = Sqrt(s)",
    "q = Pow(x, two) s = ReduceSum<keepdims = 0>(q, axes) y = Pow(s, half)",
    "s = ReduceSumSquare<axes = [1]>(x) y = Sqrt(s)",
    "q = Mul(x, x) s = ReduceSum(q) y = Sqrt(s)",
])  # fmt: skip
@pytest.mark.parametrize("target", [False, True])
def test_length(fires: Callable[..., Graph], body: str, target: bool) -> None:
    graph = fires(NAME, model(body), "l2-length", opset=17, target=target, **NUMBERS)
    assert kinds(graph) == ["ReduceL2"]


def test_axes_as_input_since_opset_18(fires: Callable[..., Graph]) -> None:
    body = "s = ReduceSumSquare<keepdims = 0>(x, axes) y = Sqrt(s)"
    assert kinds(fires(NAME, model(body), "l2-length", opset=18, **NUMBERS)) == ["ReduceL2"]


def test_declines_unknown_axes(misses: Callable[..., None]) -> None:
    text = """g (float[2, 3] x, int64[1] a) => (float y) {
        q = Mul(x, x) s = ReduceSum(q, a) y = Sqrt(s) }"""
    misses(NAME, text, "the axes of the sum are unknown")


def test_declines_integers(misses: Callable[..., None]) -> None:
    text = "g (int32[2, 3] x, int32 h) => (int32 y) { s = ReduceSumSquare(x) y = Pow(s, h) }"
    misses(NAME, text, None, h=np.int32(2))


@pytest.mark.parametrize(("body", "reason"), [
    ("q = Mul(x, x) s = ReduceMean<axes = [1]>(q) y = Sqrt(s)", None),
    ("q = Pow(x, three) s = ReduceSum(q, axes) y = Sqrt(s)", "the pattern needs 2"),
    ("z = Exp(x) q = Mul(x, z) s = ReduceSum(q, axes) y = Sqrt(s)", "the same one"),
    ("q = Mul(x, x) s = ReduceSum(q, axes) t = Add(s, eps) y = Sqrt(t)", None),
])  # fmt: skip
def test_declines_other_lengths(misses: Callable[..., None], body: str, reason: str | None) -> None:
    misses(NAME, model(body), reason, opset=17, **NUMBERS)


@pytest.mark.parametrize("inner", ["q", "s"])
def test_declines_when_the_middle_is_returned(misses: Callable[..., None], inner: str) -> None:
    body = "q = Mul(x, x) s = ReduceSum(q, axes) y = Sqrt(s)"
    misses(NAME, model(body, f"float y, float {inner}"), "graph output", **NUMBERS)


NORMALIZED = {
    "torch": "n = ReduceL2<axes = [-1]>(x) c = Clip(n, eps) e = Expand(c, size) y = Div(x, e)",
    "max": "n = ReduceL1<axes = [1]>(x) c = Max(eps, n) y = Div(x, c)",
    "reciprocal": "n = ReduceL2<axes = [-1]>(x) c = Max(n, eps) r = Reciprocal(c) y = Mul(r, x)",
    "flat": "n = ReduceL2<axes = [2], keepdims = 0>(x) c = Max(n, eps) u = Unsqueeze(c, axes) "
            "y = Div(x, u)",
}  # fmt: skip


@pytest.mark.parametrize("form", NORMALIZED)
def test_epsilon_is_kept_unless_it_may_go(misses: Callable[..., None], form: str) -> None:
    reason = "LpNormalization has no epsilon; --set recognise-lp-norm.tiny=1e-12 leaves it out"
    misses(NAME, model(NORMALIZED[form]), reason, opset=17, **NUMBERS)


def test_zeros_stay_what_they_make(misses: Callable[..., None]) -> None:
    body = "n = ReduceL2<axes = [-1]>(x) y = Div(x, n)"
    misses(NAME, model(body), "makes zeros of zeros", opset=17, **NUMBERS)


@pytest.mark.parametrize(("body", "reason"), [
    ("n = ReduceL2<axes = [1, 2]>(x) c = Max(n, eps) y = Div(x, c)", "not taken along one"),
    ("n = ReduceL2<axes = [-1]>(x) c = Max(n, eps) y = Div(c, x)", None),
    ("z = Exp(x) n = ReduceL2<axes = [-1]>(z) c = Max(n, eps) y = Div(x, c)", "the same one"),
    ("n = ReduceL2<axes = [-1]>(x) c = Add(n, eps) y = Div(x, c)", None),
])  # fmt: skip
def test_declines_other_divisions(
    misses: Callable[..., None], body: str, reason: str | None
) -> None:
    misses(NAME, model(body), reason, opset=17, **NUMBERS)


def test_kernels_have_no_such_operator(misses: Callable[..., None]) -> None:
    misses(NAME, model(NORMALIZED["torch"]), None, opset=17, target=True, **NUMBERS)


@pytest.mark.parametrize(("tiny", "wanted"), [
    (1e-10, ["LpNormalization"]), (1e-13, ["ReduceL2", "Max", "Div"]),
])  # fmt: skip
def test_an_option_gives_short_vectors_up(tiny: float, wanted: list[str]) -> None:
    text = """g (float[2, 8] x) => (float[2, 8] y) {
        e = Constant<value_float = 1e-12>() n = ReduceL2<axes = [-1]>(x) c = Max(n, e)
        y = Div(x, c) }"""
    graph = graph_of(text, opset=17)
    for step in (get_pass("fold-constants"), get_pass(NAME, tiny=tiny)):
        run_pass(graph, step, PassContext())
    assert kinds(graph) == wanted


def test_declines_squares_with_more_axes(misses: Callable[..., None]) -> None:
    text = """
    g (float[2, 3] x, float two, int64[1] last) => (float y) {
        q = Pow(x, two) s = ReduceSum(q, last) y = Sqrt(s)
    }"""
    two = np.full((1, 1, 1, 1), 2, np.float32)
    misses(NAME, text, "more axes than the data", two=two, last=np.array([-1]))
