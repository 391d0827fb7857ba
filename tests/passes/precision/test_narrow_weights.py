"""narrow-weights: weights that are read once per run are kept in half the bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from burnish.ir import Graph
from burnish.passes import get_pass
from burnish.passes.precision.narrow_weights import NarrowWeights
from burnish.passes.precision.rounding import nearest
from burnish.pipeline import PassContext, run_pass
from tests.passes.conftest import build

NAME = "narrow-weights"
PRODUCT = "g (float[{rows}, 80] x, float[80, 64] w) => (float[{rows}, 64] y) {{ y = MatMul(x, w) }}"


def randoms(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def held(graph: Graph) -> list[np.ndarray]:
    return [v.constant.numpy() for v in graph.constants() if v.constant is not None]


def test_products_of_few_rows(fires: Callable[..., Graph]) -> None:
    w = randoms(80, 64)
    after = fires(NAME, PRODUCT.format(rows=16), NAME, w=w)
    np.testing.assert_array_equal(held(after)[0], nearest(w))


def test_tables(fires: Callable[..., Graph]) -> None:
    text = "g (int64[3] i, float[80, 64] w) => (float[3, 64] y) { y = Gather(w, i) }"
    w = randoms(80, 64)
    after = fires(NAME, text, NAME, w=w, inputs={"i": np.array([0, 79, -1])})
    np.testing.assert_array_equal(held(after)[0], nearest(w))


def test_a_table_that_is_also_multiplied_is_rounded_once(fires: Callable[..., Graph]) -> None:
    text = """g (int64[3] i, float[3, 64] x, float[80, 64] w) =>
        (float[3, 64] y, float[3, 80] z) { y = Gather(w, i) z = Gemm<transB = 1>(x, w) }"""
    inputs = {"i": np.array([0, 79, -1]), "x": randoms(3, 64)}
    after = fires(NAME, text, NAME, NAME, w=randoms(80, 64), inputs=inputs)
    assert len(held(after)) == 1


def test_misses(misses: Callable[..., None]) -> None:
    misses(NAME, PRODUCT.format(rows=17), None, w=randoms(80, 64))
    misses(NAME, PRODUCT.format(rows=1), None, w=nearest(randoms(80, 64)))
    small = "g (float[1, 8] x, float[8, 8] w) => (float[1, 8] y) { y = MatMul(x, w) }"
    misses(NAME, small, None, w=randoms(8, 8))
    whole = "g (int64[3] i, int64[80, 64] w) => (int64[3, 64] y) { y = Gather(w, i) }"
    misses(NAME, whole, None, w=np.arange(80 * 64).reshape(80, 64))


def test_weights_that_are_to_be_kept() -> None:
    graph = build(PRODUCT.format(rows=1), 21, {"w": randoms(80, 64)})
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    first = next(iter(graph)).provenance[0]
    assert not NarrowWeights(keep=(first,)).run(graph, PassContext()).changed
