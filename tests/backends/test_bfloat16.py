"""Kernels that multiply bfloat16 numbers, against the oracle on graphs that round to them.

Weights and data are small whole numbers, of which sums are exact in any order, so that both must
agree to the last bit.
"""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from burnish.backends.bench_patterns import agree
from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.backends.cpu.contest import Subject
from burnish.backends.lowering.kernel import Kernel
from burnish.backends.lowering.lower import lower
from burnish.backends.self_test import Vector
from burnish.ir import Graph
from burnish.oracle import Oracle
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.target import BFLOAT16, resolve
from tests.depth import every_other
from tests.passes.conftest import build

HOST = resolve("cpu", threads=2)
NEEDED = pytest.mark.skipif(BFLOAT16 not in HOST.extensions, reason="needs a CPU with bfloat16")


def whole(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)


def compiled(
    text: str, opset: int = 21, tolerance: float = 0.0, **weights: np.ndarray
) -> tuple[Graph, list[Kernel]]:
    """Round, compile and run; the outputs must be those of the oracle. Numbers over 256, which
    bfloat16 has no bits for, are rounded alike by both."""
    graph = build(text, opset, weights)
    target = HOST.using(BFLOAT16)
    context = PassContext(target=target)
    run_pass(graph, get_pass("infer-shapes"), context)
    run_pass(graph, get_pass("narrow-products"), context)
    feeds = {v.name: whole(*(v.static_shape or ()), seed=9) for v in graph.inputs}
    expected = Oracle(graph).run(feeds)
    lowered, program = compile_program(graph, target)
    artifact = build_artifact([program], target, [Vector(feeds, expected)], Provenance())
    outputs = artifact.run(feeds)
    for name, array in expected.items():
        np.testing.assert_allclose(outputs[name], array, tolerance, tolerance, err_msg=name)
    return graph, lowered.kernels


def paired(kernels: list[Kernel]) -> int:
    """Kernels that multiply pairs."""
    return sum("burnish.pairs" in str(kernel.func) for kernel in kernels)


@NEEDED
@pytest.mark.parametrize(("rows", "columns"), every_other([1, 5, 33], [8, 16, 37]))
def test_products_of_any_size(rows: int, columns: int) -> None:
    text = f"""g (float[{rows}, 22] x, float[22, {columns}] w, float[{columns}] b) =>
        (float[{rows}, {columns}] y) {{ p = MatMul(x, w) q = Add(p, b) y = Relu(q) }}"""
    _, kernels = compiled(text, w=whole(22, columns), b=whole(columns))
    assert paired(kernels) == 1


@NEEDED
def test_an_odd_depth_is_multiplied_in_float32() -> None:
    text = "g (float[3, 9] x, float[9, 16] w) => (float[3, 16] y) { y = MatMul(x, w) }"
    _, kernels = compiled(text, w=whole(9, 16))
    assert paired(kernels) == 0


@NEEDED
@pytest.mark.parametrize(
    ("attributes", "channels", "groups"),
    [
        ("pads = [1, 1, 1, 1]", 6, 1),
        ("strides = [2, 2], pads = [1, 0, 2, 1]", 8, 1),
        ("dilations = [2, 1]", 10, 1),
        ("group = 2, pads = [1, 1, 1, 1]", 8, 2),
    ],
)
def test_convolutions(attributes: str, channels: int, groups: int) -> None:
    text = f"""g (float[2, {channels}, 9, 11] x, float[24, {channels // groups}, 3, 3] w)
        => (float[2, 24, "a", "b"] y) {{ y = Conv<{attributes}>(x, w) }}"""
    _, kernels = compiled(text, w=whole(24, channels // groups, 3, 3))
    assert paired(kernels) == 1


@NEEDED
def test_three_channels_become_four() -> None:
    text = """g (float[1, 3, 11, 11] x, float[64, 3, 5, 5] w, float[64] b) =>
        (float[1, 64, 6, 6] y) {
        y = Conv<strides = [2, 2], pads = [2, 2, 2, 2]>(x, w, b) }"""
    _, kernels = compiled(text, w=whole(64, 3, 5, 5), b=whole(64))
    assert paired(kernels) == 1


@NEEDED
def test_transposed_convolution() -> None:
    text = """g (float[1, 8, 5, 4] x, float[8, 16, 2, 2] w) => (float[1, 16, "a", "b"] y) {
        y = ConvTranspose<strides = [2, 2]>(x, w) }"""
    _, kernels = compiled(text, w=whole(8, 16, 2, 2))
    assert paired(kernels) == 1


@NEEDED
def test_gemm_across() -> None:
    text = """g (float[6, 8] x, float[16, 8] w, float[16] b) => (float[6, 16] y) {
        h = Relu(x) y = Gemm<transB = 1, beta = 2.0>(h, w, b) }"""
    _, kernels = compiled(text, w=whole(16, 8), b=whole(16))
    assert paired(kernels) == 1
    assert len(kernels) == 2, "the Cast is part of the Relu"


@NEEDED
def test_what_is_kept_in_half_the_bits_is_read_by_everything() -> None:
    text = """g (float[1, 8, 6, 6] x, float[8, 8, 1, 1] w, float[8, 1, 3, 3] d, float[8, 8, 1, 1] v)
        => (float[1, 8, 6, 6] y, float[1, 8, 3, 3] m, float[1, 8, 3, 3] a, float[1, 16, 6, 6] c,
            float[1, 8, 6, 6] s, float[1, 6, 8, 6] t, float[1, 8, 12, 12] z, float[1, 8] e) {
        p = Conv(x, w) h = Relu(p)
        q = Conv(h, v) y = Add(q, h)
        k = Conv<group = 8, pads = [1, 1, 1, 1]>(h, d)
        m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(h)
        a = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(h)
        c = Concat<axis = 1>(h, k) s = Neg(h) t = Transpose<perm = [0, 2, 1, 3]>(h)
        sizes = Constant<value = float[4] {1.0, 1.0, 2.0, 2.0}>() z = Resize(h, , sizes)
        axes = Constant<value = int64[2] {2, 3}>() e = ReduceMax<keepdims = 0>(h, axes) }"""
    _, kernels = compiled(text, w=whole(8, 8, 1, 1), v=whole(8, 8, 1, 1), d=whole(8, 1, 3, 3))
    assert paired(kernels) == 2


@NEEDED
def test_a_row_norm_writes_and_reads_half_the_bits() -> None:
    text = """g (float[3, 8] x, float[8] one, float[8, 8] w) =>
        (float[3, 8] y, float[3, 8] z) {
        h = Sign(x) p = MatMul(h, w) n = LayerNormalization(p, one) y = MatMul(n, w)
        z = Softmax(n) }"""
    _, kernels = compiled(text, 21, 1e-5, one=whole(8), w=whole(8, 8))
    assert paired(kernels) == 2


@NEEDED
@pytest.mark.parametrize("order", ["[1, 0, 2]", "[0, 2, 1]"])
def test_a_transpose_between(order: str) -> None:
    text = f"""g (float[4, 6, 8] x, float[8, 8] w, float[8, 16] v) => (float["a", "b", 16] y) {{
        p = MatMul(x, w) h = Relu(p) t = Transpose<perm = {order}>(h)
        s = Constant<value = int64[3] {{4, 6, 8}}>() r = Reshape(t, s) y = MatMul(r, v) }}"""
    _, kernels = compiled(text, w=whole(8, 8), v=whole(8, 16))
    assert paired(kernels) == 2


@NEEDED
def test_attention_takes_what_products_keep_in_half_the_bits() -> None:
    text = """g (float[1, 5, 8] x, float[8, 8] w, float[8, 16] v) =>
        (float[1, 5, 16] u, float[1, 2, 5, 4] y) {
        p = MatMul(x, w) u = MatMul(p, v) s = Constant<value = int64[4] {1, 5, 2, 4}>()
        q = Reshape(p, s) t = Transpose<perm = [0, 2, 1, 3]>(q) y = Attention(t, t, t) }"""
    _, kernels = compiled(text, 23, 1e-6, w=whole(8, 8), v=whole(8, 16))
    assert paired(kernels) == 2


@NEEDED
@pytest.mark.parametrize(
    ("sizes", "mask", "call"),
    [
        ((1, 3, 3, 40, 49, 32, 32), "40, 49", "Attention<scale = 0.1>(q, k, v, m)"),
        ((2, 4, 2, 7, 33, 24, 25), "1", "Attention<softcap = 0.7>(q, k, v)"),
        ((1, 2, 1, 34, 35, 26, 24), "1, 2, 34, 35", "Attention<is_causal = 1>(q, k, v, b)"),
    ],
)
def test_attention(sizes: tuple[int, ...], mask: str, call: str) -> None:
    """Added numbers, grouped heads and bounded scores, rows that see no key."""
    batch, heads, key_heads, queries, keys, depth, width = sizes
    text = f"""g (float[{batch}, {heads}, {queries}, {depth}] q,
        float[{batch}, {key_heads}, {keys}, {depth}] k,
        float[{batch}, {key_heads}, {keys}, {width}] v, float[{mask}] m)
        => (float[{batch}, {heads}, {queries}, {width}] y) {{ b = Cast<to = 9>(m) y = {call} }}"""
    _, kernels = compiled(text, 23, 5e-3)
    assert paired(kernels) == 1


@NEEDED
def test_attention_between_products_keeps_half_the_bits_throughout() -> None:
    text = """g (float[1, 33, 8] x, float[8, 48] w, float[48, 8] v) => (float[1, 33, 8] y) {
        p = MatMul(x, w) a = Constant<value = int64[4] {1, 33, 2, 24}>() h = Reshape(p, a)
        t = Transpose<perm = [0, 2, 1, 3]>(h) o = Attention(t, t, t)
        b = Transpose<perm = [0, 2, 1, 3]>(o) c = Constant<value = int64[3] {1, 33, 48}>()
        r = Reshape(b, c) y = MatMul(r, v) }"""
    _, kernels = compiled(text, 23, 0.5, w=whole(8, 48) / 64, v=whole(48, 8))
    assert paired(kernels) == 3
    assert len(kernels) == 4, "what rounds x, two products, and the attention rounds its result"


def test_candidates_are_checked_against_what_rounding_means() -> None:
    text = "g (float[4, 8] x, float[8, 16] w) => (float[4, 16] y) { p = MatMul(x, w) h = Relu(p) "
    text += "b = Cast<to = 16>(h) y = Cast<to = 1>(b) }"
    graph = build(text, 21, {"w": whole(8, 16)})
    target = replace(HOST, features=HOST.features | {BFLOAT16})
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    run_pass(graph, get_pass("narrow-products"), PassContext())
    kernel = next(k for k in lower(graph, target).kernels if paired([k]))
    subject = Subject.of(kernel.func, ((),))
    (expected,) = subject.expected
    x, w = (widened(subject.arguments.array(number)) for number in range(2))
    # From vectors of columns, in each of which pairs of rows lie side by side.
    w = w.transpose(1, 3, 0, 2).reshape(8, 16)
    product = np.maximum(x @ w, 0).reshape(-1)[expected.places]
    rounded = product.astype(np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
    assert np.mean(rounded == expected.values) > 0.9, "sums of other order may differ"
    assert agree(expected.values, rounded)
    assert not agree(expected.values, rounded + np.uint16(64))


def widened(bits: np.ndarray) -> np.ndarray:
    return bits.view(ml_dtypes.bfloat16).astype(np.float64)


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_weights_of_few_rows_are_widened_as_they_are_read(rows: int) -> None:
    text = f"""g (float[{rows}, 65] x, float[65, 70] w, int64[4] i, float[70, 65] t) =>
        (float[{rows}, 70] y, float[4, 65] z) {{ y = MatMul(x, w) z = Gather(t, i) }}"""
    graph = build(text, 21, {"w": whole(65, 70), "t": whole(70, 65)})
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    feeds = {"x": whole(rows, 65), "i": np.array([0, 69, -1, 7])}
    expected = Oracle(graph).run(feeds)
    _, program = compile_program(graph, HOST)
    artifact = build_artifact([program], HOST, [Vector(feeds, expected)], Provenance())
    outputs = artifact.run(feeds)
    for name, array in expected.items():
        np.testing.assert_array_equal(outputs[name], array)
    sizes = {
        buffer.dtype for call in program.calls for buffer in call.args if buffer.data is not None
    }
    assert sizes == {"uint16"}
