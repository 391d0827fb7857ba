"""Where quantize-int8 rounds values, and which of them share a scale."""

from __future__ import annotations

import numpy as np
import pytest

from tests.passes.quantization.conftest import (
    kinds,
    quantize,
    randoms,
    rounded_values,
    scale_of,
)


def test_moves_have_one_scale_on_both_sides() -> None:
    text = """g (float[1, 4, 6, 6] x, float[8, 36] w) => (float[1, 8] y, float[1, 4, 3, 3] z) {
        m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) f = Flatten(m)
        y = Gemm<transB = 1>(f, w) z = Relu(m) }"""
    graph, _ = quantize(text, w=randoms(8, 36))
    scales = {scale_of(node) for node in rounded_values(graph)}
    assert len(rounded_values(graph)) == 3
    assert len(scales) == 1
    assert kinds(graph).startswith("Q DQ MaxPool Q DQ Flatten Q DQ")


def test_what_is_concatenated_has_one_scale() -> None:
    text = """g (float[1, 4, 3, 3] x, float[1, 4, 3, 3] z, float[8, 8, 1, 1] w)
        => (float[1, 8, 3, 3] y) { s = Softplus(z) c = Concat<axis = 1>(x, s) y = Conv(c, w) }"""
    graph, _ = quantize(text, w=randoms(8, 8, 1, 1))
    assert len(rounded_values(graph)) == 3
    assert len({scale_of(node) for node in rounded_values(graph)}) == 1


def test_a_rectified_value_starts_at_zero() -> None:
    text = """g (float[1, 4, 6, 6] x, float[4, 4, 1, 1] w) => (float[1, 4, 6, 6] y) {
        p = Conv(x, w) h = Relu(p) y = Conv(h, w) }"""
    graph, _ = quantize(text, w=randoms(4, 4, 1, 1))
    assert kinds(graph) == "Q DQ DQ Conv Relu Q DQ Conv"
    assert scale_of(rounded_values(graph)[1])[1] == 0


def test_activations_are_computed_before_rounding() -> None:
    text = """g (float[2, 8] x, float[8, 8] w, float[8] b) => (float[2, 8] y) {
        p = MatMul(x, w) a = Add(p, b) s = Sigmoid(a) h = Mul(a, s) y = MatMul(h, w) }"""
    graph, _ = quantize(text, target="x86-64-v3", w=randoms(8, 8), b=randoms(8))
    assert kinds(graph) == "Q DQ DQ MatMul Add Sigmoid Mul Q DQ MatMul"


def test_norms_and_attention_stay_in_floats() -> None:
    text = """g (float[2, 4, 8] x, float[8, 8] w, float[8] s) => (float[2, 4, 8] y) {
        n = LayerNormalization(x, s) q = MatMul(n, w) t = Transpose<perm = [0, 2, 1]>(q)
        a = MatMul(q, t) m = Softmax(a) v = MatMul(m, q) r = Add(v, x) y = MatMul(r, w) }"""
    graph, report = quantize(text, target="x86-64-v3", w=randoms(8, 8), s=np.ones(8, np.float32))
    assert {node.input(0).producer.op_type for node in rounded_values(graph)
            if node.input(0).producer} == {"LayerNormalization", "Add"}  # fmt: skip
    assert [layer.reason for layer in report.layers if layer.reason] == [
        "its weights are computed"
    ] * 2


def test_norms_that_are_spelled_out_stay_in_floats() -> None:
    text = """g (float[1, 4, 8] x, float[8, 8] w) => (float[1, 4, 8] y) {
        p = MatMul(x, w) m = ReduceMean(p) d = Sub(p, m) s = Mul(d, d) v = ReduceMean(s)
        r = Sqrt(v) n = Div(d, r) t = Mul(n, r) y = MatMul(t, w) }"""
    graph, _ = quantize(text, w=randoms(8, 8))
    assert kinds(graph).endswith("MatMul ReduceMean Sub Mul ReduceMean Sqrt Div Mul Q DQ MatMul")


def test_what_nothing_else_reads_is_added_in_registers() -> None:
    text = """g (float[1, 4, 6, 6] x, float[4, 4, 1, 1] w) => (float[1, 4, 6, 6] y) {
        h = Conv(x, w) p = Conv(h, w) s = Add(p, h) r = Relu(s) y = Conv(r, w) }"""
    native, _ = quantize(text, target="x86-64-v3", w=randoms(4, 4, 1, 1))
    assert kinds(native) == "Q DQ DQ Conv Q DQ Conv Add Relu Q DQ Conv"
    exported, _ = quantize(text, w=randoms(4, 4, 1, 1))
    assert kinds(exported) == "Q DQ DQ Conv Q DQ Conv Q DQ Add Relu Q DQ Conv"


def test_gates_that_are_spread_stay_floats_where_that_costs_nothing() -> None:
    text = """g (float[1, 4, 6, 6] x, float[4, 4, 1, 1] w) => (float[1, 4, 6, 6] y) {
        h = Conv(x, w) a = GlobalAveragePool(h) g = Conv(a, w) s = Sigmoid(g) m = Mul(h, s)
        y = Conv(m, w) }"""
    native, _ = quantize(text, target="x86-64-v3", w=randoms(4, 4, 1, 1))
    assert kinds(native) == ("Q DQ DQ Conv Q DQ GlobalAveragePool Q DQ Conv Sigmoid Mul Q DQ Conv")
    exported, _ = quantize(text, w=randoms(4, 4, 1, 1))
    sigmoid = next(node for node in exported if node.op_type == "Sigmoid")
    assert scale_of(sigmoid.output.consumers[0]) == (pytest.approx(1 / 255), 0)


def test_what_the_model_returns_is_not_rounded() -> None:
    text = """g (float[2, 8] x, float[8, 8] w) => (float[2, 8] h, float[2, 8] y) {
        h = Exp(x) y = MatMul(h, w) }"""
    graph, _ = quantize(text, w=randoms(8, 8))
    assert graph.outputs[0].producer is not None
    assert graph.outputs[0].producer.op_type == "Exp"


def test_what_computes_in_floats_reads_floats() -> None:
    text = """g (float[2, 8] x, float[8, 8] w, float[8] s) => (float[2, 8] y) {
        n = LayerNormalization(x, s) p = MatMul(n, w) r = Add(p, n) y = LayerNormalization(r, s)
        }"""
    weights = {"w": randoms(8, 8), "s": np.ones(8, np.float32)}
    for shared in (False, True):
        graph, _ = quantize(text, options={"shared": shared}, **weights)
        add = next(node for node in graph if node.op_type == "Add")
        residual = add.input(1)
        assert residual is not None
        assert residual.producer is not None
        wanted = "DequantizeLinear" if shared else "LayerNormalization"
        assert residual.producer.op_type == wanted


def test_a_value_is_rounded_once_for_all_its_readers() -> None:
    text = """g (float[2, 8] x, float[8, 8] w, float[8, 4] v) => (float[2, 8] y, float[2, 4] z) {
        h = Exp(x) y = MatMul(h, w) z = MatMul(h, v) }"""
    graph, _ = quantize(text, w=randoms(8, 8), v=randoms(8, 4))
    assert len(rounded_values(graph)) == 1
