"""Sums of products of bytes are exact, whatever instructions the processor has for them."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.ir import Array
from burnish.oracle import Oracle
from burnish.oracle.saturation import exact
from burnish.testing import graph

MS = "com.microsoft"
SIGNS = [(data, weights) for data in ("uint8", "int8") for weights in ("uint8", "int8")]


def extreme(dtype: str, *shape: int) -> Array:
    """Numbers whose products are as large as they get, so that sums of two do not fit 16 bits."""
    return np.full(shape, np.iinfo(dtype).max, dtype)


def answer(text: str, domains: tuple[str, ...] = (), **feeds: Array) -> Array:
    found = Oracle(graph(text, domains=domains), threads=1).run(feeds)["y"]
    assert isinstance(found, np.ndarray)
    return found


@pytest.mark.parametrize(("data", "weights"), SIGNS)
def test_integer_products_are_exact(data: str, weights: str) -> None:
    x, w = extreme(data, 3, 32), extreme(weights, 32, 8)
    text = (
        f"g ({data}[3, 32] x, {weights}[32, 8] w) => (int32[3, 8] y) {{ y = MatMulInteger(x, w) }}"
    )
    np.testing.assert_array_equal(answer(text, x=x, w=w), x.astype(np.int32) @ w.astype(np.int32))


@pytest.mark.parametrize(("data", "weights"), SIGNS)
def test_integer_convolutions_are_exact(data: str, weights: str) -> None:
    x, w = extreme(data, 1, 4, 5, 5), extreme(weights, 8, 4, 3, 3)
    text = (
        f"g ({data}[1, 4, 5, 5] x, {weights}[8, 4, 3, 3] w) => (int32[1, 8, 3, 3] y) "
        "{ y = ConvInteger(x, w) }"
    )
    want = 36 * int(x.flat[0]) * int(w.flat[0])
    np.testing.assert_array_equal(answer(text, x=x, w=w), want)


@pytest.mark.parametrize("zero", [-128, -3, 0, 127])
def test_zero_points_keep_their_meaning(zero: int) -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (3, 32)).astype(np.uint8)
    w = random.integers(-128, 128, (32, 8)).astype(np.int8)
    text = """g (uint8[3, 32] x, int8[32, 8] w, uint8 a, int8 b) => (int32[3, 8] y) {
        y = MatMulInteger(x, w, a, b) }"""
    found = answer(text, x=x, w=w, a=np.array(7, np.uint8), b=np.array(zero, np.int8))
    np.testing.assert_array_equal(found, (x.astype(np.int32) - 7) @ (w.astype(np.int32) - zero))


@pytest.mark.parametrize(
    ("call", "shape"),
    [
        ("QLinearMatMul(x, one, xz, w, one, wz, sy, xz)", (32, 8)),
        ("QLinearConv(x, one, xz, w, one, wz, sy, xz)", (8, 32, 1)),
    ],
)
def test_products_that_are_rounded_are_exact(call: str, shape: tuple[int, ...]) -> None:
    inputs = (1, 32, 3) if "Conv" in call else (3, 32)
    sizes = ", ".join(map(str, inputs)), ", ".join(map(str, shape))
    text = f"""g (uint8[{sizes[0]}] x, int8[{sizes[1]}] w, uint8 xz, int8 wz, float one, float sy)
        => (uint8 y) {{ y = {call} }}"""
    one = np.array(1, np.float32)
    found = answer(
        text, x=extreme("uint8", *inputs), w=extreme("int8", *shape), xz=np.array(0, np.uint8),
        wz=np.array(0, np.int8), one=one, sy=np.array(32 * 255 * 127 / 200, np.float32),
    )  # fmt: skip
    np.testing.assert_array_equal(found, 200)


@pytest.mark.parametrize(
    "call",
    ["MatMulIntegerToFloat(q, w, one, one)", "DynamicQuantizeMatMul(x, w, one)",
     "QGemm(q, one, qz, w, one, wz)"],
)  # fmt: skip
def test_contributed_products_are_exact(call: str) -> None:
    text = f"""g (float[3, 32] x, uint8[3, 32] q, uint8 qz, int8[32, 8] w, int8 wz, float one) =>
        (float[3, 8] y) {{ y = {MS}.{call} }}"""
    x = np.full((3, 32), 255, np.float32)
    x[:, 0] = 0  # which makes a step of one
    q = x.astype(np.uint8)
    found = answer(
        text, (MS,), x=x, q=q, qz=np.array(0, np.uint8), w=extreme("int8", 32, 8),
        wz=np.array(0, np.int8), one=np.array(1, np.float32),
    )  # fmt: skip
    np.testing.assert_allclose(found, 31 * 255 * 127, rtol=1e-6)


def test_graphs_without_such_sums_stay_as_they_are() -> None:
    plain = graph("g (float[2, 3] x, float[3, 2] w) => (float[2, 2] y) { y = MatMul(x, w) }")
    assert exact(plain) is plain


@pytest.mark.parametrize(("data", "weights"), [("uint8", "uint8"), ("int8", "int8")])
def test_bytes_of_one_sign_stay_as_they_are(data: str, weights: str) -> None:
    same = graph(f"""g ({data}[3, 32] x, {weights}[32, 8] w) => (int32[3, 8] y) {{
        y = MatMulInteger(x, w) }}""")
    assert exact(same) is same


def test_the_graph_that_is_run_stays_as_it_is() -> None:
    given = graph("""g (uint8[3, 32] x, int8[32, 8] w) => (int32[3, 8] y) {
        y = MatMulInteger(x, w) }""")
    assert exact(given) is not given
    assert [node.op_type for node in given] == ["MatMulInteger"]
