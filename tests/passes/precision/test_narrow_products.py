"""narrow-products: products multiply bfloat16 numbers where that gains something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from burnish.ir import DType, Graph
from burnish.oracle import Oracle
from burnish.passes import get_pass
from burnish.passes.precision.narrow_products import NarrowProducts
from burnish.passes.precision.rounding import nearest
from burnish.pipeline import PassContext, run_pass
from burnish.target import BFLOAT16, Target, resolve
from tests.passes.conftest import build

NAME = "narrow-products"


def randoms(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def casts(graph: Graph) -> list[DType]:
    return [node.output.dtype for node in graph if node.op_type == "Cast"]


def test_rounding_is_to_nearest_even_and_leaves_what_is_no_number() -> None:
    halves = np.array([1.00390625, 1.01171875, -1.00390625], np.float32)
    odd = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, 1e-42], np.float32)
    for array in (halves, odd, randoms(1000), randoms(1000) * np.float32(1e30)):
        with np.errstate(over="ignore"):
            expected = array.astype(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_array_equal(nearest(array), expected)


def test_weights_and_data_are_rounded(fires: Callable[..., Graph]) -> None:
    text = """g (float[2, 8] x, float[8, 16] w, float[16] b) => (float[2, 16] y) {
        h = Gelu(x) p = MatMul(h, w) y = Add(p, b) }"""
    w, b = randoms(8, 16), randoms(16)
    after = fires(NAME, text, NAME, w=w, b=b)
    assert casts(after) == [DType.BFLOAT16, DType.FLOAT]
    held = {v.shape: v.constant.numpy() for v in after.constants() if v.constant is not None}
    np.testing.assert_array_equal(held[8, 16], nearest(w))
    np.testing.assert_array_equal(held[16,], b)


def test_what_is_quantized_as_well_is_not_rounded_twice(fires: Callable[..., Graph]) -> None:
    text = """g (float[2, 8] x, float[8, 8] w, float s) => (float[2, 8] y, uint8[2, 8] z) {
        h = Exp(x) y = MatMul(h, w) z = QuantizeLinear(h, s) }"""
    after = fires(NAME, text, NAME, w=randoms(8, 8), s=np.float32(0.1))
    exp = next(node for node in after if node.op_type == "Exp")
    assert {node.op_type for node in exp.output.consumers} == {"Cast", "QuantizeLinear"}


def test_who_else_reads_the_value_reads_it_rounded(fires: Callable[..., Graph]) -> None:
    text = """g (float[2, 8] x, float[8, 8] w, float[8, 8] v) => (float[2, 8] y, float[2, 8] z) {
        h = Exp(x) p = MatMul(h, w) y = Add(p, h) z = MatMul(h, v) }"""
    after = fires(NAME, text, NAME, NAME, w=randoms(8, 8), v=randoms(8, 8))
    assert casts(after) == [DType.BFLOAT16, DType.FLOAT]
    exp = next(node for node in after if node.op_type == "Exp")
    assert [node.op_type for node in exp.output.consumers] == ["Cast"]


def test_what_the_model_returns_is_not_rounded(fires: Callable[..., Graph]) -> None:
    text = """g (float[2, 8] x, float[8, 8] w) => (float[2, 8] h, float[2, 8] y) {
        h = Exp(x) y = MatMul(h, w) }"""
    after = fires(NAME, text, NAME, w=randoms(8, 8))
    assert after.outputs[0].producer is not None
    assert after.outputs[0].producer.op_type == "Exp"


def test_a_value_is_rounded_before_it_is_seen_otherwise(fires: Callable[..., Graph]) -> None:
    text = """g (float[2, 2, 4] x, float[8, 8] w) => (float[2, 8] y) {
        h = Exp(x) s = Constant<value = int64[2] {2, 8}>() r = Reshape(h, s) y = MatMul(r, w) }"""
    after = fires(NAME, text, NAME, w=randoms(8, 8))
    order = [node.op_type for node in after]
    assert order == ["Exp", "Cast", "Cast", "Reshape", "Cast", "Cast", "MatMul"]


def test_convolutions(fires: Callable[..., Graph]) -> None:
    text = """g (float[1, 8, 5, 5] x, float[16, 4, 3, 3] w) => (float[1, 16, 3, 3] y) {
        y = Conv<group = 2>(x, w) }"""
    fires(NAME, text, NAME, w=randoms(16, 4, 3, 3))
    text = """g (float[1, 8, 5] x, float[8, 8, 3] w) => (float[1, 16, 7] y) {
        y = ConvTranspose<group = 2>(x, w) }"""
    fires(NAME, text, NAME, w=randoms(8, 8, 3))


def test_odd_channels_get_another_one_of_zeros(fires: Callable[..., Graph]) -> None:
    text = """g (float[1, 3, 9, 9] x, float[64, 3, 3, 3] w) => (float[1, 64, 7, 7] y) {
        y = Conv(x, w) }"""
    after = fires(NAME, text, NAME, w=randoms(64, 3, 3, 3))
    assert [node.op_type for node in after] == ["Pad", "Cast", "Cast", "Conv"]
    text = "g (float[2, 5, 9] x, float[9, 256] w) => (float[2, 5, 256] y) { y = MatMul(x, w) }"
    after = fires(NAME, text, NAME, w=randoms(9, 256))
    assert [node.op_type for node in after] == ["Pad", "Cast", "Cast", "MatMul"]


def test_gemm_whose_weights_lie_across(fires: Callable[..., Graph]) -> None:
    text = """g (float[2, 8] x, float[16, 8] w) => (float[2, 16] y) {
        y = Gemm<transB = 1>(x, w) }"""
    fires(NAME, text, NAME, w=randoms(16, 8))


def test_misses(misses: Callable[..., None]) -> None:
    odd = """g (float[1, 9, 5, 5] x, float[18, 3, 3, 3] w) => (float[1, 18, 3, 3] y) {
        y = Conv<group = 3>(x, w) }"""
    misses(NAME, odd, "3 input channels are no pairs", w=randoms(18, 3, 3, 3))
    lone = """g (float[1, 8, 5, 5] x, float[8, 1, 3, 3] w) => (float[1, 8, 3, 3] y) {
        y = Conv<group = 8>(x, w) }"""
    misses(NAME, lone, "1 input channels are no pairs", w=randoms(8, 1, 3, 3))
    few = "g (float[2, 8] x, float[8, 2] w) => (float[2, 2] y) { y = MatMul(x, w) }"
    misses(NAME, few, "8 products for each of 2 columns gain nothing", w=randoms(8, 2))


def test_what_is_computed_doubled_or_scaled_stays(misses: Callable[..., None]) -> None:
    product = "g (float[2, 8] x, float[8, 8] w) => (float[2, 8] y) { y = MatMul(x, w) }"
    misses(NAME, product, None)
    misses(NAME, product, None, opset=12, w=randoms(8, 8))
    misses(NAME, product.replace("float", "double"), None, w=randoms(8, 8).astype(np.float64))
    scaled = product.replace("MatMul", "Gemm<alpha = 0.3>")
    misses(NAME, scaled, None, w=randoms(8, 8))


def test_products_that_are_to_be_kept() -> None:
    text = """g (float[2, 8] x, float[8, 8] w) => (float[2, 8] y) {
        h = MatMul(x, w) y = MatMul(h, w) }"""
    graph = build(text, 21, {"w": randoms(8, 8)})
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    first = next(iter(graph)).provenance[0]
    result = NarrowProducts(keep=(first,)).run(graph, PassContext(explain=True))
    assert len(result.fired) == 1
    assert [miss.reason for miss in result.missed] == ["it is to be kept"]


ATTENTION = """g (float[1, 4, 5, {d}] q, float[1, 2, {s}, {d}] k, float[1, 2, {s}, 24] v)
    => (float[1, 4, 5, 24] y) {{ r = Neg(v) y = Attention<is_causal = 1>(q, k, r) }}"""
TARGET = replace(resolve("x86-64-v4"), features=frozenset({BFLOAT16}))


def narrowed(text: str, target: Target | None = TARGET, **options: Any) -> tuple[Graph, list[str]]:
    """The graph afterwards, and why what stayed did."""
    graph = build(text, 23, {})
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    context = PassContext(target=target, explain=True)
    result = NarrowProducts(**options).run(graph, context)
    return graph, [miss.reason for miss in result.missed]


def test_attention_rounds_its_operands_and_its_weights() -> None:
    text = ATTENTION.format(d=24, s=40)
    before = build(text, 23, {})
    graph, missed = narrowed(text)
    assert missed == []
    (region,) = [node for node in graph if node.is_region]
    assert region.op_type == "Attention"
    assert region.attributes == {"is_causal": 1}
    assert [value.producer.op_type for value in region.inputs] == ["Cast"] * 3
    inner = [node.op_type for node in region.subgraphs["body"]]
    assert inner.count("Cast") == 2
    assert inner.index("Exp") < inner.index("Cast") < inner.index("ReduceSum")
    feeds = {v.name: randoms(*(v.static_shape or ())) for v in graph.inputs}
    (exact,), (rounded,) = (Oracle(each).run(feeds).values() for each in (before, graph))
    error = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 1e-4 < error < 1e-2


@pytest.mark.parametrize(
    ("text", "target", "reason"),
    [
        (ATTENTION.format(d=25, s=40), TARGET, "25 channels of a head are no pairs"),
        (ATTENTION.format(d=8, s=47), TARGET, "47 keys of 8 channels gain nothing"),
        (ATTENTION.format(d=24, s=31), TARGET, "31 keys of 24 channels gain nothing"),
        (ATTENTION.format(d=24, s=40), None, "the target has no kernel for attention in pairs"),
        (
            ATTENTION.format(d=24, s=40),
            replace(TARGET, features=frozenset()),
            "the target has no kernel for attention in pairs",
        ),
    ],
)
def test_attention_that_gains_nothing(text: str, target: Target | None, reason: str) -> None:
    graph, missed = narrowed(text, target)
    assert missed == [reason]
    assert [node.op_type for node in graph] == ["Neg", "Attention"]


def test_attention_that_is_to_be_kept() -> None:
    text = ATTENTION.format(d=24, s=40)
    name = list(build(text, 23, {}))[-1].provenance[0]
    graph, missed = narrowed(text, keep=(name,))
    assert missed == ["it is to be kept"]
    assert casts(graph) == []


def test_attention_with_a_cache_is_no_site() -> None:
    text = ATTENTION.format(d=24, s=40).replace("(q, k, r)", "(q, k, r, , k, v)")
    graph, missed = narrowed(text)
    assert missed == []
    assert casts(graph) == []
