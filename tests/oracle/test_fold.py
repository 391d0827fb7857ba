"""Folding nodes with the oracle's own kernels."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from burnish.ir import Constant, DType, Graph, VariableNode
from burnish.numerics import Numerics
from burnish.oracle import Oracle, compare, fold_nodes
from burnish.testing import graph


def folded(source: Graph) -> dict[str, Any]:
    return {value.name: array for value, array in fold_nodes(list(source)).items()}


def test_chain_in_one_session() -> None:
    source = graph("""g () => (float[2,2] y) {
      w = Constant <value = float[2,2] {1, 2, 3, 4}> ()
      k = Constant <value = int64[2] {0, 1}> ()
      a = Transpose <perm = [1, 0]> (w)  b = MatMul(a, w)  y = Gather(b, k) }""")
    result = folded(source)
    np.testing.assert_array_equal(result["a"], [[1, 3], [2, 4]])
    np.testing.assert_array_equal(result["y"], [[10, 14], [14, 20]])
    assert result["y"].dtype == np.float32


def test_the_graph_is_left_alone() -> None:
    source = graph("g () => (float y) { w = Constant <value_float = 2.0> () y = Neg(w) }")
    before = source.to_onnx().SerializeToString()
    fold_nodes(list(source))
    assert source.to_onnx().SerializeToString() == before


def test_reference_where_onnx_runtime_has_no_kernel() -> None:
    source = graph("""g () => (double[1] y) {
      w = Constant <value = double[1] {0.5}> ()  y = Erf(w) }""")
    np.testing.assert_allclose(folded(source)["y"], [0.5204998778130465])


def test_what_nothing_can_evaluate_is_left_out() -> None:
    source = graph("""g () => (float[1] y, float[1] z, float[1] k) {
      w = Constant <value = float[1] {0.5}> ()
      y = acme.Strange(w)  z = Neg(y)  k = Abs(w) }""", domains=("acme",))  # fmt: skip
    assert set(folded(source)) == {"k"}


def test_sequences_are_left_out() -> None:
    source = graph("""g () => (seq(float[1]) s, float[1] y) {
      w = Constant <value = float[1] {0.5}> ()  s = SequenceConstruct(w)
      i = Constant <value_int = 0> ()  y = SequenceAt(s, i) }""")
    assert set(folded(source)) == {"y"}


def test_several_and_omitted_outputs() -> None:
    source = graph("""g () => (float[1] v) {
      w = Constant <value = float[3] {3, 9, 6}> ()  k = Constant <value_ints = [1]> ()
      v, i = TopK(w, k) }""")
    (top,) = source
    top.outputs[1].name = ""  # left out
    assert folded(source)["v"] == 9


def test_subgraphs() -> None:
    source = graph("""g () => (float[1] y) {
      c = Constant <value = bool {1}> ()  w = Constant <value = float[1] {2}> ()
      a = Neg(w)
      y = If (c) <then_branch = p () => (float[1] e) { e = Mul(a, w) },
                  else_branch = q () => (float[1] f) { f = Identity(w) }> }""")
    assert folded(source)["y"] == -4


def test_wrong_declared_shapes_do_not_matter() -> None:
    source = graph("""g () => (float["N"] y) {
      w = Constant <value = float[2] {1, 2}> ()  a = Neg(w)  y = Exp(a) }""")
    first = source.first
    assert first is not None
    first.output.shape, first.output.dtype = (7,), DType.FLOAT
    np.testing.assert_array_equal(folded(source)["a"], [-1, -2])


def test_bits_are_those_of_the_oracle() -> None:
    source = graph("g (float[64,64] w) => (float[64,64] y) { a = Gelu(w) y = MatMul(a, w) }",
                   opset=20)  # fmt: skip
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    expected = Oracle(source).run({"w": weight})["y"]
    known = VariableNode.of(Constant.of(weight), "w")
    for node in source:
        node.inputs = [known if value is source.inputs[0] else value for value in node.inputs]
    assert compare({"y": expected}, {"y": folded(source)["y"]}, Numerics.EXACT)


def test_types_that_numpy_lacks() -> None:
    source = graph("""g () => (bfloat16[2] y) {
      w = Constant <value = float[2] {1, 2}> ()  y = Cast <to = 16> (w) }""")
    assert folded(source)["y"].dtype == ml_dtypes.bfloat16


def test_inputs_must_be_constant() -> None:
    with pytest.raises(ValueError, match="not constant"):
        fold_nodes(list(graph("g (float x) => (float y) { y = Neg(x) }")))


def test_nothing_to_do() -> None:
    assert fold_nodes([]) == {}
