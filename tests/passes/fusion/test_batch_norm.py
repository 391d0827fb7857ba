"""fuse-batch-norm: what goes into weights, and what has to stay outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "fuse-batch-norm"
RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def statistics(channels: int) -> dict[str, np.ndarray]:
    return {
        "gamma": normal(channels), "beta": normal(channels), "mean": normal(channels),
        "variance": np.abs(normal(channels)) + 0.1,
    }  # fmt: skip


PARAMETERS = "float gamma, float beta, float mean, float variance"


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph]


def after(linear: str, shape: str, weights: str = "float w", result: str = "float y") -> str:
    return f"""
    g (float[{shape}] x, {weights}, {PARAMETERS}) => ({result}) {{
        c = {linear}
        y = BatchNormalization(c, gamma, beta, mean, variance)
    }}"""


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("group", [1, 2])
def test_batch_norm_after_conv(fires: Callable[..., Graph], bias: bool, group: int) -> None:
    linear = f"Conv<group = {group}, pads = [1, 1, 1, 1]>(x, w{', b' if bias else ''})"
    extra: dict[str, Any] = {"b": normal(6)} if bias else {}
    text = after(linear, "2, 4, 5, 5", "float w, float b" if bias else "float w")
    w = normal(6, 4 // group, 3, 3)
    graph = fires(NAME, text, "affine-after-linear", w=w, **extra, **statistics(6))
    assert kinds(graph) == ["Conv"]


@pytest.mark.parametrize("group", [1, 2])
def test_batch_norm_after_conv_transpose(fires: Callable[..., Graph], group: int) -> None:
    text = after(f"ConvTranspose<group = {group}, strides = [2, 2]>(x, w)", "2, 4, 5, 5")
    w = normal(4, 6 // group, 3, 3)
    graph = fires(NAME, text, "affine-after-linear", w=w, **statistics(6))
    assert kinds(graph) == ["ConvTranspose"]


@pytest.mark.parametrize("transposed", [0, 1])
def test_batch_norm_after_gemm(fires: Callable[..., Graph], transposed: int) -> None:
    linear = f"Gemm<alpha = 0.5, beta = 2.0, transB = {transposed}>(x, w, b)"
    text = after(linear, "2, 4", "float w, float b")
    w = normal(6, 4) if transposed else normal(4, 6)
    graph = fires(NAME, text, "affine-after-linear", w=w, b=normal(1, 6), **statistics(6))
    assert kinds(graph) == ["Gemm"]
    assert graph.first is not None
    assert graph.first.attributes == {"transB": transposed}


def test_batch_norm_after_matmul_of_two_axes(fires: Callable[..., Graph]) -> None:
    graph = fires(
        NAME, after("MatMul(x, w)", "2, 4"), "affine-after-linear", w=normal(4, 6), **statistics(6)
    )
    assert kinds(graph) == ["MatMul", "Add"]


ARITHMETIC = {
    "Mul(c, k)": "affine-after-linear",
    "Mul(k, c)": "affine-after-linear",
    "Add(c, k)": "affine-after-linear",
    "Sub(c, k)": "affine-after-linear",
    "Sub(k, c)": "affine-after-linear",
    "Div(c, k)": "affine-after-linear",
}


@pytest.mark.parametrize("form", ARITHMETIC)
@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6, 1, 1), (1,), ()])
def test_arithmetic_after_conv(
    fires: Callable[..., Graph], form: str, shape: tuple[int, ...]
) -> None:
    text = f"""
    g (float[2, 4, 5, 5] x, float w, float b, float k) => (float y) {{
        c = Conv(x, w, b)
        y = {form}
    }}"""
    k = (np.abs(normal(*shape)) + 0.5).astype(np.float32)
    graph = fires(NAME, text, ARITHMETIC[form], w=normal(6, 4, 3, 3), b=normal(6), k=k)
    assert kinds(graph) == ["Conv"]


def test_a_chain_of_arithmetic_goes_in_whole(fires: Callable[..., Graph]) -> None:
    text = """
    g (float[2, 4, 5, 5] x, float w, float k, float s) => (float y) {
        c = Conv(x, w)
        m = Mul(s, c)
        y = Add(m, k)
    }"""
    graph = fires(
        NAME, text, *["affine-after-linear"] * 2, w=normal(6, 4, 1, 1), k=normal(1), s=normal(1)
    )
    assert kinds(graph) == ["Conv"]


def test_scale_after_matmul_and_bias(fires: Callable[..., Graph]) -> None:
    text = """
    g (float[2, 3, 4] x, float w, float b, float s) => (float y) {
        c = MatMul(x, w)
        d = Add(b, c)
        y = Mul(d, s)
    }"""
    graph = fires(NAME, text, "affine-after-linear", w=normal(4, 6), b=normal(6), s=normal(6))
    assert kinds(graph) == ["MatMul", "Add"]


BEFORE = """
g (float[2, 4, 5, 5] x, float w, {constants}) => (float y) {{
    m = {form}
    y = {linear}
}}"""


@pytest.mark.parametrize("linear", [
    "Conv<pads = [1, 1, 1, 1]>(m, w)", "Conv<group = 2>(m, w)", "ConvTranspose<group = 2>(m, w)",
])  # fmt: skip
def test_scale_before_convolution(fires: Callable[..., Graph], linear: str) -> None:
    text = BEFORE.format(constants="float k", form="Mul(x, k)", linear=linear)
    size = 2 if linear.startswith("Conv<group") else 4
    graph = fires(NAME, text, "affine-before-linear", w=normal(4, size, 3, 3), k=normal(4, 1, 1))
    assert len(graph) == 1


def test_shift_before_convolution_without_padding(fires: Callable[..., Graph]) -> None:
    text = BEFORE.format(constants="float k", form="Sub(k, x)", linear="Conv<group = 2>(m, w)")
    graph = fires(NAME, text, "affine-before-linear", w=normal(6, 2, 3, 3), k=normal(4, 1, 1))
    assert kinds(graph) == ["Conv"]


def test_batch_norm_before_gemm(fires: Callable[..., Graph]) -> None:
    text = f"""
    g (float[3, 4] x, float w, {PARAMETERS}) => (float y) {{
        n = BatchNormalization(x, gamma, beta, mean, variance)
        y = Gemm<transB = 1>(n, w)
    }}"""
    graph = fires(NAME, text, "affine-before-linear", w=normal(6, 4), **statistics(4))
    assert kinds(graph) == ["Gemm"]


def test_half_precision_weights_stay_half(fires: Callable[..., Graph]) -> None:
    text = """
    g (float16[2, 4, 5, 5] x, float16 w, float16 k) => (float16 y) {
        c = Conv(x, w)
        y = Mul(c, k)
    }"""
    w = normal(6, 4, 1, 1).astype(np.float16)
    graph = fires(NAME, text, "affine-after-linear", w=w, k=np.float16([0.5]))
    assert kinds(graph) == ["Conv"]


def test_shared_weights_are_not_edited(fires: Callable[..., Graph]) -> None:
    text = """
    g (float[2, 4, 5, 5] x, float w, float k) => (float y, float z) {
        c = Conv(x, w)
        y = Mul(c, k)
        z = Conv<pads = [1, 1, 1, 1]>(x, w)
    }"""
    fires(NAME, text, "affine-after-linear", w=normal(6, 4, 3, 3), k=normal(6, 1, 1))


def test_alone_it_becomes_arithmetic_when_compiling(fires: Callable[..., Graph]) -> None:
    text = f"""
    g (float[2, 4, 5, 5] x, {PARAMETERS}) => (float y) {{
        y = BatchNormalization(x, gamma, beta, mean, variance)
    }}"""
    graph = fires(NAME, text, "batch-norm-alone", target=True, **statistics(4))
    assert kinds(graph) == ["Mul", "Add"]


CONV = "g (float[2, 4, 5, 5] x, float w{inputs}) => (float y{outputs}) {{ {body} }}"


def test_declines_a_result_that_others_read(misses: Callable[..., None]) -> None:
    text = CONV.format(
        inputs=", float k", outputs=", float z", body="c = Conv(x, w) y = Mul(c, k) z = Relu(c)"
    )
    misses(NAME, text, "also read by another Relu", w=normal(4, 4, 1, 1), k=normal(1))


def test_declines_a_result_that_is_a_graph_output(misses: Callable[..., None]) -> None:
    text = CONV.format(inputs=", float k", outputs=", float c", body="c = Conv(x, w) y = Mul(c, k)")
    misses(NAME, text, "also read by another graph output", w=normal(4, 4, 1, 1), k=normal(1))


@pytest.mark.parametrize("shape", [(5,), (5, 5), (4, 5, 5), (2, 4, 1, 1), (4, 1, 5)])
def test_declines_what_differs_within_a_channel(
    misses: Callable[..., None], shape: tuple[int, ...]
) -> None:
    text = CONV.format(inputs=", float k", outputs="", body="c = Conv(x, w) y = Add(c, k)")
    misses(NAME, text, "not one number per channel", w=normal(4, 4, 1, 1), k=normal(*shape))


def test_declines_a_scale_that_adds_axes(misses: Callable[..., None]) -> None:
    text = CONV.format(inputs=", float k", outputs="", body="c = Conv(x, w) y = Mul(c, k)")
    misses(NAME, text, "widens the data", w=normal(4, 4, 1, 1), k=normal(3, 1, 1, 1, 1))


def test_declines_a_bias_that_is_computed(misses: Callable[..., None]) -> None:
    text = """
    g (float[2, 4, 5, 5] x, float[4] k, float w, float s) => (float y) {
        c = Conv(x, w, k)
        y = Mul(c, s)
    }"""
    misses(NAME, text, "the bias of Conv is computed", w=normal(4, 4, 1, 1), s=normal(1))


def test_declines_a_shift_before_a_conv_that_pads(misses: Callable[..., None]) -> None:
    text = BEFORE.format(
        constants="float k", form="Add(x, k)", linear="Conv<pads = [1, 1, 1, 1]>(m, w)"
    )
    misses(NAME, text, "differs at the border", w=normal(4, 4, 3, 3), k=normal(4, 1, 1))


def test_declines_a_shift_before_same_padding(misses: Callable[..., None]) -> None:
    text = BEFORE.format(
        constants="float k", form="Add(x, k)", linear='Conv<auto_pad = "SAME_UPPER">(m, w)'
    )
    misses(NAME, text, "differs at the border", w=normal(4, 4, 3, 3), k=normal(4, 1, 1))


def test_declines_a_shift_before_conv_transpose(misses: Callable[..., None]) -> None:
    text = BEFORE.format(constants="float k", form="Add(x, k)", linear="ConvTranspose(m, w)")
    misses(NAME, text, "differs at the border", w=normal(4, 4, 3, 3), k=normal(4, 1, 1))


def test_declines_a_factor_that_widens_the_data(misses: Callable[..., None]) -> None:
    text = """
    g (float[2, 1, 5, 5] x, float w, float k) => (float y) {
        m = Mul(x, k)
        y = Conv(m, w)
    }"""
    misses(NAME, text, "widens the data", w=normal(4, 4, 1, 1), k=normal(4, 1, 1))


def test_declines_data_of_unknown_shape(misses: Callable[..., None]) -> None:
    text = """
    g (float[N] x, int64[4] s, float w, float k) => (float y) {
        r = Reshape(x, s)
        m = Mul(r, k)
        y = Conv(m, w)
    }"""
    misses(NAME, text, "sizes of the data are unknown", w=normal(4, 4, 1, 1), k=normal(4, 1, 1))


def test_declines_division_by_zero(misses: Callable[..., None]) -> None:
    text = CONV.format(inputs=", float k", outputs="", body="c = Conv(x, w) y = Div(c, k)")
    misses(NAME, text, "divided by zero", w=normal(4, 4, 1, 1), k=np.zeros(1, np.float32))


def test_declines_batch_norm_in_training(misses: Callable[..., None]) -> None:
    text = f"""
    g (float[2, 4, 5, 5] x, float w, {PARAMETERS}) => (float y, float m, float v) {{
        c = Conv(x, w)
        y, m, v = BatchNormalization<training_mode = 1>(c, gamma, beta, mean, variance)
    }}"""
    misses(NAME, text, "training mode", w=normal(4, 4, 1, 1), **statistics(4))


def test_declines_batch_norm_over_another_axis_than_the_product(
    misses: Callable[..., None],
) -> None:
    text = after("MatMul(x, w)", "2, 6, 4")
    misses(NAME, text, "not one number per channel of MatMul", w=normal(4, 6), **statistics(6))


def test_declines_weights_that_would_overflow(misses: Callable[..., None]) -> None:
    text = """
    g (float16[2, 4, 5, 5] x, float16 w, float16 k) => (float16 y) {
        c = Conv(x, w)
        y = Mul(c, k)
    }"""
    huge = np.full((4, 4, 1, 1), 6e4, np.float16)
    misses(NAME, text, "would not fit into float16", w=huge, k=np.float16([2.0]))


def test_declines_the_bias_of_a_matmul(misses: Callable[..., None]) -> None:
    text = """
    g (float[2, 3, 4] x, float w, float b) => (float y) {
        c = MatMul(x, w)
        y = Add(b, c)
    }"""
    misses(NAME, text, None, w=normal(4, 6), b=normal(6))


def test_scale_after_batched_weights(fires: Callable[..., Graph]) -> None:
    text = """
    g (float[2, 3, 4] x, float w, float b) => (float y) {
        c = MatMul(x, w)
        y = Mul(b, c)
    }"""
    fires(NAME, text, "affine-after-linear", w=normal(2, 4, 6), b=normal(6))


def test_declines_a_shift_before_batched_weights(misses: Callable[..., None]) -> None:
    text = """
    g (float[2, 3, 4] x, float w, float b, float c) => (float y) {
        m = Add(x, b)
        p = MatMul(m, w)
        y = Add(p, c)
    }"""
    misses(NAME, text, "not a matrix", w=normal(2, 4, 6), b=normal(4), c=normal(6))


def test_declines_a_gemm_bias_that_differs_between_rows(misses: Callable[..., None]) -> None:
    text = """
    g (float[3, 4] x, float w, float b, float k) => (float y) {
        c = Gemm(x, w, b)
        y = Mul(c, k)
    }"""
    misses(NAME, text, "one number per column", w=normal(4, 6), b=normal(3, 6), k=normal(6))


def test_scale_before_gemm_that_transposes(fires: Callable[..., Graph]) -> None:
    text = """
    g (float[4, 3] x, float w, float k) => (float y) {
        m = Mul(x, k)
        y = Gemm<transA = 1>(m, w)
    }"""
    fires(NAME, text, "affine-before-linear", w=normal(4, 6), k=normal(4, 1))


def test_declines_rows_of_data_that_gemm_transposes(misses: Callable[..., None]) -> None:
    text = """
    g (float[4, 3] x, float w, float k) => (float y) {
        m = Mul(x, k)
        y = Gemm<transA = 1>(m, w)
    }"""
    misses(NAME, text, "not one number per channel", w=normal(4, 6), k=normal(3))


def test_leaves_batch_norm_alone_in_models(misses: Callable[..., None]) -> None:
    text = f"""
    g (float[2, 4, 5, 5] x, float w, {PARAMETERS}) => (float y, float c) {{
        c = Conv(x, w)
        y = BatchNormalization(c, gamma, beta, mean, variance)
    }}"""
    misses(NAME, text, "graph output", w=normal(4, 4, 1, 1), **statistics(4))
