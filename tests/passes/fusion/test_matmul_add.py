"""fuse-matmul-add."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "fuse-matmul-add"
RNG = np.random.default_rng(0)
W = RNG.standard_normal((4, 6)).astype(np.float32)
TEXT = "g (float[3, 4] x, float w, float b) => (float y) { p = MatMul(x, w) y = Add(p, b) }"


@pytest.mark.parametrize("shape", [(6,), (1, 6), (1,), (), (1, 1)])
@pytest.mark.parametrize("body", ["Add(p, b)", "Add(b, p)"])
def test_becomes_gemm(fires: Callable[..., Graph], shape: tuple[int, ...], body: str) -> None:
    b = RNG.standard_normal(shape).astype(np.float32)
    graph = fires(NAME, TEXT.replace("Add(p, b)", body), "matmul-add", w=W, b=b)
    assert [n.op_type for n in graph] == ["Gemm"]


def test_weights_may_be_computed(fires: Callable[..., Graph]) -> None:
    text = (
        "g (float[3, 4] x, float[4, 6] w, float b) => (float y) { p = MatMul(x, w) y = Add(p, b) }"
    )
    fires(NAME, text, "matmul-add", b=W[0])


def test_not_when_compiling(misses: Callable[..., None]) -> None:
    misses(NAME, TEXT, None, target=True, w=W, b=W[0])


@pytest.mark.parametrize("shape", [(3, 1), (3, 6)])
def test_rows_may_differ(fires: Callable[..., Graph], shape: tuple[int, ...]) -> None:
    fires(NAME, TEXT, "matmul-add", w=W, b=RNG.standard_normal(shape).astype(np.float32))


def test_adds_what_is_computed(fires: Callable[..., Graph]) -> None:
    text = (
        "g (float[N, 4] x, float w, float v) => (float y) "
        "{ p = MatMul(x, w) q = MatMul(x, v) y = Add(p, q) }"
    )
    graph = fires(NAME, text, "matmul-add", w=W, v=-W)
    assert sorted(n.op_type for n in graph) == ["Gemm", "MatMul"]


def test_adds_to_gemm(fires: Callable[..., Graph]) -> None:
    text = TEXT.replace("MatMul(x, w)", "Gemm<alpha = 2.0, transB = 1>(x, w)")
    graph = fires(NAME, text, "matmul-add", w=np.ascontiguousarray(W.T), b=W[0])
    assert [n.op_type for n in graph] == ["Gemm"]


def test_declines_a_second_bias(misses: Callable[..., None]) -> None:
    misses(NAME, TEXT.replace("MatMul(x, w)", "Gemm(x, w, b)"), None, w=W, b=W[0])


def test_declines_a_bias_that_widens_the_result(misses: Callable[..., None]) -> None:
    misses(NAME, TEXT, "more axes", w=W, b=np.ones((2, 3, 6), np.float32))


def test_declines_a_bias_that_widens_one_column(misses: Callable[..., None]) -> None:
    misses(NAME, TEXT, "may be longer", w=W[:, :1], b=np.ones(6, np.float32))


def test_declines_sizes_that_may_differ(misses: Callable[..., None]) -> None:
    text = (
        "g (float[N, 4] x, float[M, 6] b, float w) => (float y) { p = MatMul(x, w) y = Add(p, b) }"
    )
    misses(NAME, text, "may be longer", w=W)


def test_declines_batches(misses: Callable[..., None]) -> None:
    text = TEXT.replace("float[3, 4]", "float[2, 3, 4]")
    misses(NAME, text, "does not multiply two matrices", w=W, b=W[0])


def test_declines_integers(misses: Callable[..., None]) -> None:
    text = TEXT.replace("float", "int32")
    misses(NAME, text, "floating-point", w=W.astype(np.int32), b=W[0].astype(np.int32))


def test_declines_a_product_that_is_returned(misses: Callable[..., None]) -> None:
    text = TEXT.replace("(float y)", "(float y, float p)")
    misses(NAME, text, "graph output", w=W, b=W[0])
