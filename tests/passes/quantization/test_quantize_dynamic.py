"""quantize-dynamic: products of integers whose scales are found as the model runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.ir import Graph
from burnish.ir.verify import verify
from burnish.oracle import Oracle, random_inputs
from burnish.passes import get_pass
from burnish.pipeline import PassContext, PassReport, run_pass
from burnish.target import resolve
from tests.passes.conftest import build
from tests.passes.quantization.calibrated import uneven

NAME = "quantize-dynamic"
MATMUL = "g (float[2, 5, 64] x, float[64, 96] w) => (float[2, 5, 96] y) { y = MatMul(x, w) }"
GEMM = """g (float[5, 64] x, float[96, 64] w, float[96] b) => (float[5, 96] y) {
    y = Gemm<transB = 1, alpha = 0.5, beta = 2.0>(x, w, b) }"""
TOKENS = "Abs ReduceMax Max Mul Div Round Clip Cast"
BOTH = [pytest.param(True, id="tokens"), pytest.param(False, id="tensor")]


def weights(*shape: int, **more: Any) -> dict[str, Any]:
    return {"w": uneven(3, *shape, axis=1, decades=0.3), **more}


def applied(
    text: str, constants: dict[str, Any], *, opset: int = 21, target: bool = False, **options: Any
) -> tuple[Graph, Graph, PassReport]:
    before, after = build(text, opset, constants), build(text, opset, constants)
    context = PassContext(explain=True, target=resolve("x86-64-v3") if target else None)
    for graph in (before, after):
        run_pass(graph, get_pass("infer-shapes"), context)
    report = run_pass(after, get_pass(NAME, **options), context)
    verify(after)
    assert not run_pass(after, get_pass(NAME, **options), context).changed
    return before, after, report


def error(before: Graph, after: Graph, feeds: dict[str, Any] | None = None) -> float:
    """Root mean square error of the first output, relative to its own."""
    feeds = feeds or random_inputs(before, 0)
    wanted, found = (next(iter(Oracle(g).run(feeds).values())) for g in (before, after))
    assert wanted.dtype == found.dtype and wanted.shape == found.shape
    return float(np.sqrt(np.mean((wanted - found) ** 2) / np.mean(wanted**2)))


@pytest.mark.parametrize("by_token", BOTH)
@pytest.mark.parametrize("text", [MATMUL, GEMM], ids=["matmul", "gemm"])
def test_the_error_is_that_of_8_bits(text, by_token):
    shape = (64, 96) if text is MATMUL else (96, 64)
    more = {} if text is MATMUL else {"b": uneven(4, 96, axis=0, decades=0)}
    before, after, report = applied(text, weights(*shape, **more), by_token=by_token)
    assert [firing.rule for firing in report.fired] == [NAME]
    assert "MatMulInteger" in [node.op_type for node in after]
    assert 0 < error(before, after) < 0.02


def test_scales_for_tokens_where_native_code_is_generated():
    _, native, _ = applied(MATMUL, weights(64, 96), target=True)
    _, portable, _ = applied(MATMUL, weights(64, 96))
    product = "MatMulInteger Cast Mul"
    assert [n.op_type for n in native] == f"{TOKENS} {product} Mul".split()
    assert [n.op_type for n in portable] == [
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "Cast",
        "Mul",
        "Mul",
    ]


def test_rows_of_very_different_size_keep_their_digits():
    x = random_inputs(build(MATMUL, 21, weights(64, 96)), 1)["x"]
    x = x * np.float32([1e-4, 1, 1e4, 1e-2, 1e2])[:, None]
    before, tokens, _ = applied(MATMUL, weights(64, 96), by_token=True)
    _, tensor, _ = applied(MATMUL, weights(64, 96), by_token=False)
    wanted, fine, coarse = (
        next(iter(Oracle(graph).run({"x": x}).values())) for graph in (before, tokens, tensor)
    )
    for row in range(5):
        size = np.abs(wanted[:, row]).max()
        assert np.abs(fine[:, row] - wanted[:, row]).max() < 0.03 * size
    assert np.abs(coarse[:, 0] - wanted[:, 0]).max() > 0.5 * np.abs(wanted[:, 0]).max()


@pytest.mark.parametrize("by_token", BOTH)
@pytest.mark.parametrize("number", [0.0, 1e-30, 1e30])
def test_extreme_rows(number, by_token):
    before, after, _ = applied(MATMUL, weights(64, 96), by_token=by_token)
    x = np.full((2, 5, 64), number, np.float32)
    wanted, found = (next(iter(Oracle(g).run({"x": x}).values())) for g in (before, after))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, wanted, rtol=0.1, atol=np.abs(wanted).max() * 0.05 + 1e-25)


def test_products_of_one_value_share_its_integers():
    text = """g (float[5, 64] x, float[64, 96] w, float[64, 64] v)
        => (float[5, 96] y, float[5, 64] z) { y = MatMul(x, w)  z = MatMul(x, v) }"""
    _, after, report = applied(text, weights(64, 96, v=uneven(5, 64, 64, axis=1)), by_token=True)
    assert len(report.fired) == 2
    assert [node.op_type for node in after].count("ReduceMax") == 1


@pytest.mark.parametrize(
    ("text", "constants", "options", "reason"),
    [
        (MATMUL, {}, {}, "computed"),
        (MATMUL, weights(64, 96), {"fewest": 10**6}, "do not pay"),
        (MATMUL, weights(64, 96), {"keep": ("MatMul_0",)}, "to be kept"),
        (MATMUL.replace("5, 64]", "5, 64]").replace("[64, 96] w", "[2, 64, 96] w"),
         {"w": uneven(1, 2, 64, 96, axis=2)}, {}, "3 axes"),
        (GEMM.replace("transB = 1", "transB = 1, transA = 1").replace("[5, 64] x", "[64, 5] x"),
         weights(96, 64, b=np.ones(96, np.float32)), {}, "no tokens"),
        (MATMUL.replace("float[", "float16["), {"w": np.ones((64, 96), np.float16)}, {}, "float16"),
    ],
)  # fmt: skip
def test_what_stays(text, constants, options, reason):
    *_, report = applied(text, constants, **options)
    assert not report.changed
    assert any(reason in miss.reason for miss in report.missed), report.missed


def test_an_old_opset_has_scales_for_tensors_only():
    _, _, report = applied(MATMUL, weights(64, 96), opset=13, by_token=True)
    assert not report.changed
    assert any("--opset 18" in miss.reason for miss in report.missed)
    assert applied(MATMUL, weights(64, 96), opset=13)[2].changed


def test_convolutions_and_products_of_values_stay():
    text = """g (float[1, 64, 8, 8] x, float[64, 64, 1, 1] w, float[8, 8] a) => (float y, float z) {
        y = Conv(x, w)  z = MatMul(x, a) }"""
    _, _, report = applied(text, {"w": uneven(1, 64, 64, 1, 1, axis=0)})
    assert not report.changed


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.integers(0, 1000), st.integers(1, 9), st.integers(1, 80), st.integers(1, 40), st.booleans()
)
def test_any_product(seed, rows, depth, columns, by_token):
    text = f"""g (float[{rows}, {depth}] x, float[{depth}, {columns}] w)
        => (float[{rows}, {columns}] y) {{ y = MatMul(x, w) }}"""
    constants = {"w": np.float32(np.random.default_rng(seed).normal(size=(depth, columns)))}
    before, after, report = applied(text, constants, by_token=by_token, fewest=1)
    assert report.changed
    feeds = random_inputs(before, seed)
    x = feeds["x"].astype(np.float64)
    wanted, found = (next(iter(Oracle(g).run(feeds).values())) for g in (before, after))
    step = np.abs(x).max(initial=0) * (1 if by_token else 2) / 127
    bound = (step * np.abs(constants["w"]).sum(0) + np.abs(x).sum(1, keepdims=True) * 0.05).max()
    assert np.abs(wanted - found).max() <= bound
