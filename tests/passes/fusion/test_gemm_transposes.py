"""fuse-gemm-transposes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "fuse-gemm-transposes"
Fires = Callable[..., Graph]
Misses = Callable[..., None]
TEXT = "g (float[{a}] a, float[{b}] b{more}) => (float y) {{ {body} }}"


def text(body: str, a: str = "4,3", b: str = "4,5", more: str = "") -> str:
    return TEXT.format(body=body, a=a, b=b, more=more)


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph]


@pytest.mark.parametrize(
    ("body", "a", "b"),
    [
        ("t = Transpose(a) y = MatMul(t, b)", "4,3", "4,5"),
        ("t = Transpose<perm = [1, 0]>(b) y = MatMul(a, t)", "3,4", "5,4"),
        ("t = Transpose(a) u = Transpose(b) y = MatMul(t, u)", "4,3", "5,4"),
        ("t = Transpose(a) y = Gemm(t, b)", "4,3", "4,5"),
        ("t = Transpose(a) y = Gemm<transA = 1, alpha = 2.0>(t, b)", "3,4", "4,5"),
        ("t = Transpose(b) y = Gemm<transB = 1>(a, t)", "3,4", "4,5"),
    ],
)
def test_reads_transposed(fires: Fires, body: str, a: str, b: str) -> None:
    assert kinds(fires(NAME, text(body, a, b), "transposed-operands")) == ["Gemm"]


@pytest.mark.parametrize("call", ["MatMul(a, b)", "Gemm(a, b)", "Gemm<alpha = 0.5>(a, b)"])
def test_writes_transposed(fires: Fires, call: str) -> None:
    body = f"p = {call} y = Transpose(p)"
    assert kinds(fires(NAME, text(body, "3,4", "4,5"), "transposed-result")) == ["Gemm"]


def test_keeps_what_is_added(fires: Fires) -> None:
    body = "t = Transpose(a) y = Gemm<beta = 2.0>(t, b, c)"
    graph = fires(NAME, text(body, more=", float[5] c"), "transposed-operands")
    assert len(next(iter(graph)).inputs) == 3


def test_a_transpose_may_have_other_readers(fires: Fires) -> None:
    body = "t = Transpose(a) p = MatMul(t, b) s = Relu(t) y = MatMul(s, p)"
    after = fires(NAME, text(body, "4,4", "4,4"), "transposed-operands")
    assert sorted(kinds(after)) == ["Gemm", "MatMul", "Relu", "Transpose"]


@pytest.mark.parametrize(
    ("body", "a", "b", "reason"),
    [
        ("t = Transpose<perm = [0, 2, 1]>(a) y = MatMul(t, b)", "2,4,3", "2,4,5", "neither"),
        ("t = Transpose<perm = [0, 1]>(a) y = MatMul(t, b)", "3,4", "4,5", "neither"),
        ("y = MatMul(a, b)", "3,4", "4,5", "neither"),
        ("t = Transpose(a) y = MatMul(t, b)", "4,3", "2,4,5", "two matrices"),
        ("p = MatMul(a, b) y = Transpose<perm = [0, 2, 1]>(p)", "2,3,4", "2,4,5", "no matrix"),
        ("p = Gemm(a, b, a) y = Transpose(p)", "4,4", "4,4", None),
    ],
)
def test_near_misses(misses: Misses, body: str, a: str, b: str, reason: str | None) -> None:
    misses(NAME, text(body, a, b), reason)


def test_declines_integers(misses: Misses) -> None:
    body = "t = Transpose(a) y = MatMul(t, b)"
    misses(NAME, text(body).replace("float", "int32"), "floating-point")


def test_declines_a_product_that_is_returned(misses: Misses) -> None:
    body = text("p = MatMul(a, b) y = Transpose(p)", "3,4", "4,5")
    misses(NAME, body.replace("(float y)", "(float y, float p)"), "graph output")


def test_not_when_compiling(misses: Misses) -> None:
    misses(NAME, text("t = Transpose(a) y = MatMul(t, b)"), None, target=True)


def test_weights_are_not_touched(fires: Fires) -> None:
    body = "g (float[4,3] a, float w) => (float y) { t = Transpose(a) y = MatMul(t, w) }"
    graph = fires(NAME, body, "transposed-operands", w=np.ones((4, 5), np.float32))
    assert next(iter(graph)).inputs[1].shape == (4, 5)
