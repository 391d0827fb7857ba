"""move-transposes: transposes cancel across what does not mind the order, and nowhere else."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from burnish.ir import Graph
from burnish.ir.printer import to_text
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.passes import get_pass
from burnish.passes.cleanup.move_transposes import MoveTransposes
from burnish.passes.cleanup.permuted import compose, inverse, is_identity, without
from burnish.pipeline import PassContext, run_pass
from burnish.target import resolve
from burnish.testing import assert_equivalent, graph

CONTEXT = PassContext(explain=True)
NATIVE = PassContext(target=resolve("x86-64-v3"), explain=True)
RNG = np.random.default_rng(0)
WEIGHTS = {
    "last": RNG.random((3,), np.float32) + 0.5, "whole": RNG.random((2, 4, 5, 3), np.float32) + 0.5,
    "rows": RNG.random((4, 1, 1), np.float32) + 0.5, "number": np.float32(1.5),
    "low": np.float32(0.25), "high": np.float32(0.75), "square": RNG.random((3, 3), np.float32),
    "wide": RNG.random((5, 6), np.float32), "a1": np.int64([1]), "a3": np.int64([3]),
    "a12": np.int64([1, 2]), "am1": np.int64([-1]), "i0": np.int64([0]), "i1": np.int64([1]),
    "index": np.int64([1, 0]), "one": np.int64(1), "tile": np.int64([1, 2, 1, 3]),
    "pads": np.int64([0, 1, 2, 0, 0, 0, 0, 1]), "parts": np.int64([1, 2]),
    "scale": np.float32([0.01, 0.02, 0.04]), "zero": np.uint8([0, 1, 2]),
    "five": RNG.random((5,), np.float32), "flat": np.int64([2, -1]),
    "twice": np.float32([1, 2, 2, 1]), "filter": RNG.random((3, 3, 3, 3), np.float32),
}  # fmt: skip
TO_LAST, TO_FIRST = "Transpose<perm=[0,2,3,1]>", "Transpose<perm=[0,3,1,2]>"


def model_of(body: str, inputs: str = "float[2,3,4,5] x", opset: int = 21) -> Graph:
    """A model that returns ``y`` in whatever type ``body`` gives it."""
    used = {name: array for name, array in WEIGHTS.items() if name in body}
    kinds = {np.dtype(np.float32): "float", np.dtype(np.int64): "int64",
             np.dtype(np.uint8): "uint8"}  # fmt: skip
    named = "".join(f", {kinds[array.dtype]} {name}" for name, array in used.items())
    header = f'<ir_version: 10, opset_import: ["": {opset}]>'
    model = onnx.parser.parse_model(f"{header} g ({inputs}{named}) => (y) {{ {body} }}")
    given = [value for value in model.graph.input if value.name not in used]
    del model.graph.input[:]
    model.graph.input.extend(given)
    for name, array in used.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    graph = Graph.from_onnx(onnx.shape_inference.infer_shapes(model, data_prop=True))
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    return graph


def transposes(graph: Graph) -> int:
    return Counter(node.op_type for node in graph.walk())["Transpose"]


def moved(body: str, left: int, inputs: str = "float[2,3,4,5] x", opset: int = 21) -> Graph:
    before, after = model_of(body, inputs, opset), model_of(body, inputs, opset)
    assert MoveTransposes().run(after, CONTEXT).changed
    verify(after)
    assert transposes(after) == left, to_text(after)
    assert all(node.provenance for node in after.walk())
    assert after.output_names == before.output_names
    assert_equivalent(before, after, Numerics.REASSOCIATES)
    assert not MoveTransposes().run(after, CONTEXT).changed
    return after


@pytest.mark.parametrize(
    "middle",
    [
        "b = Relu(a)", "b = Add(a, last)", "b = Mul(whole, a)", "b = Sub(number, a)",
        "b = Div(a, rows)", "b = PRelu(a, last)", "b = Clip(a, low, high)",
        "c = Tanh(a) d = Greater(a, c) b = Where(d, a, c)",
        "e = Less(a, last) b = Where(e, a, number)",
        "c = Cast<to=11>(a) d = Exp(c) b = Cast<to=1>(d)", "b = Max(a, last, number)",
        "b = Softmax<axis=-1>(a)", "b = LogSoftmax<axis=1>(a)", "b = Erf(a)",
        "b = Concat<axis=3>(a, a)", "b = Concat<axis=-2>(whole, a)",
        "c, d = Split<axis=3>(a, parts) b = Concat<axis=3>(d, c)",
        "b = Slice(a, i0, i1, a3)", "b = Slice(a, i0, i1)", "b = CumSum(a, one)",
        "b, i = TopK<axis=1>(a, a1)",
        "b = Pad(a, pads)",
        "b = Gather<axis=3>(a, index)", "b = Tile(a, tile)",
        "b = ReduceMean(a, a12)", "b = ReduceMax(a, am1)", "b = ReduceSum(a)",
        "b = ArgMax<axis=3>(a)",
        "c = QuantizeLinear<axis=3>(a, scale, zero) b = DequantizeLinear<axis=3>(c, scale, zero)",
        "b = Resize<mode=\"nearest\", coordinate_transformation_mode=\"asymmetric\", "
        "nearest_mode=\"floor\">(a, , twice)",
    ],
)  # fmt: skip
def test_cancels_across(middle: str) -> None:
    kind = "Identity" if "ArgMax" in middle else "Neg"
    moved(f"a = {TO_LAST}(x) {middle} z = {TO_FIRST}(b) y = {kind}(z)", 0)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        # One that grows no smaller by cancelling on two ways at once.
        (f"a = {TO_LAST}(x) b = Relu(a) c = {TO_FIRST}(b) d = Sigmoid(b) e = {TO_FIRST}(d) "
         "y = Add(c, e)", 0),
        # Two come together, one is left.
        (f"a = {TO_LAST}(x) b = Relu(x) c = {TO_LAST}(b) y = Add(a, c)", 1),
        # Other orders meet, and add up.
        (f"a = {TO_LAST}(x) b = Relu(a) z = {TO_LAST}(b) y = Neg(z)", 1),
        # One of two is saved where the other is needed.
        (f"a = {TO_LAST}(x) b = Relu(a) c = {TO_FIRST}(b) d = Reshape(b, flat) "
         "e = Reshape(c, flat) y = Add(d, e)", 1),
        # What moves only an axis of one element is left for a reshape.
        (f"a = {TO_LAST}(x) d = ReduceMean(a, am1) c = Squeeze(d, a3) b = Unsqueeze(c, a3) "
         f"z = {TO_FIRST}(b) y = Neg(z)", 1),
        # The order does not matter to what is left after reducing.
        (f"a = {TO_LAST}(x) y = ReduceMean<keepdims=0>(a, a12)", 0),
        (f"a = {TO_LAST}(x) y = GlobalAveragePool(a)", None),
        # Up instead of down: what a transpose reads is made in its order.
        (f"a = Conv<pads=[1,1,1,1]>(x, filter) b = {TO_LAST}(a) c = Relu(x) d = {TO_LAST}(c) "
         "y = Mul(b, d)", 1),
        # Batches of products in another order.
        ("a = Transpose<perm=[1,0,2,3]>(x) b = MatMul(a, wide) c = Transpose<perm=[1,0,2,3]>(b) "
         "y = Neg(c)", 0),
        # Steps before batches, as torch has them, do not matter to what works on features.
        ("a = Transpose<perm=[1,0,2,3]>(x) b = LayerNormalization(a, five) c = MatMul(b, wide) "
         "d = Transpose<perm=[1,0,2,3]>(c) y = Neg(d)", 0),
        ("a = Transpose<perm=[0,2,1,3]>(x) b = MatMul(a, wide) c = Relu(b) "
         "d = Transpose<perm=[0,2,1,3]>(c) y = Neg(d)", 0),
        # (A^T W)^T is W^T A.
        ("a = Transpose<perm=[0,1,3,2]>(x) b = Neg(a) d = MatMul(z, b) "
         "c = Transpose<perm=[0,1,3,2]>(d) y = Neg(c)", 1),
    ],
)  # fmt: skip
def test_saves(body: str, left: int | None) -> None:
    inputs = "float[2,3,4,5] x" + (", float[2,3,6,5] z" if "MatMul(z" in body else "")
    if left is None:
        before = model_of(body)
        assert not MoveTransposes().run(before, CONTEXT).changed
        return
    moved(body, left, inputs)


def test_exchanges_the_operands_of_a_product() -> None:
    body = (
        "a = Transpose<perm=[0,2,1]>(x) b = MatMul(a, square) c = Add(b, last) "
        "z = Transpose<perm=[0,2,1]>(c) y = Neg(z)"
    )
    after = moved(body, 0, "float[2,3,7] x")
    assert [node.op_type for node in after] == ["MatMul", "Add", "Neg"]
    native = model_of(body, "float[2,3,7] x")
    assert not MoveTransposes().run(native, NATIVE).changed


def test_sizes_may_be_open() -> None:
    body = f"a = {TO_LAST}(x) b = Add(a, last) z = {TO_FIRST}(b) y = Relu(z)"
    moved(body, 0, 'float["n",3,"h","w"] x')


def test_a_network_with_channels_last() -> None:
    """What tf2onnx writes: every convolution and pool between transposes of its own."""
    body = f"""
        a = {TO_FIRST}(x) b = Conv<pads=[1,1,1,1]>(a, filter) c = {TO_LAST}(b)
        d = Mul(c, last) e = Add(d, last) f = Relu(e)
        g = {TO_FIRST}(f) h = MaxPool<kernel_shape=[2,2], pads=[0,0,1,1]>(g) i = {TO_LAST}(h)
        j = {TO_FIRST}(i) k = Conv<pads=[1,1,1,1]>(j, filter) l = {TO_LAST}(k)
        m = Add(l, f) n = Concat<axis=3>(m, i) o = Sigmoid(n) p = Mul(n, o)
        q = ReduceMean(p, a12) r = Squeeze(q, a12) y = Reshape(r, flat)
    """
    before, after = (model_of(body, "float[2,8,8,3] x") for _ in range(2))
    for step in ("simplify-chains", "move-transposes", "simplify-chains"):
        run_pass(after, get_pass(step), CONTEXT)
    assert transposes(after) == 1
    assert next(iter(after)).op_type == "Transpose"
    assert_equivalent(before, after, Numerics.REASSOCIATES)


def test_inside_a_branch() -> None:
    inner = f"a = {TO_LAST}(x) b = Relu(a) c = {TO_FIRST}(b) z = Neg(c)"
    body = (
        f"y = If<then_branch = t () => (float[2,3,4,5] z) {{ {inner} }}, "
        "else_branch = e () => (float[2,3,4,5] o) { o = Abs(x) }>(k)"
    )
    moved(body, 0, "float[2,3,4,5] x, bool k")


@pytest.mark.parametrize(
    "body",
    [
        # Nothing to cancel with.
        f"a = {TO_LAST}(x) y = Relu(a)",
        # What the next operator does depends on the order.
        f"a = {TO_LAST}(x) b = Relu(a) c = Reshape(b, flat) y = Neg(c)",
        f"a = {TO_LAST}(x) b = GlobalMaxPool(a) z = {TO_FIRST}(b) y = Neg(z)",
        f"a = {TO_LAST}(x) b = LayerNormalization(a, last) z = {TO_FIRST}(b) y = Neg(z)",
        f"a = {TO_LAST}(x) b = CumSum(a, k0) z = {TO_FIRST}(b) y = Neg(z)",
        # One could be saved, but another would be needed.
        f"a = {TO_LAST}(x) b = Relu(a) d = Reshape(b, flat) e = Reshape(x, flat) y = Add(d, e)",
        # The operand that is broadcast would have to be reshaped.
        f"a = {TO_LAST}(x) b = Add(a, v) z = {TO_FIRST}(b) y = Neg(z)",
        # Channels in the middle would have to be resized.
        f"a = {TO_FIRST}(x) b = Resize<mode=\"nearest\">(a, , twice) z = {TO_LAST}(b) y = Neg(z)",
        # Axes, pads and sizes that are not known.
        f"a = {TO_LAST}(x) b = ReduceMean(a, k) z = {TO_FIRST}(b) y = Neg(z)",
        f"a = {TO_LAST}(x) b = Slice(a, k, k, k) z = {TO_FIRST}(b) y = Neg(z)",
        f"a = {TO_LAST}(x) b = Pad(a, p) z = {TO_FIRST}(b) y = Neg(z)",
    ],
)  # fmt: skip
def test_near_misses_stay(body: str) -> None:
    inputs = "float[2,3,4,5] x, float[3] v, int64[2] k, int64[8] p, int64 k0"
    graph = model_of(body, inputs)
    text = to_text(graph)
    result = MoveTransposes().run(graph, CONTEXT)
    assert not result.changed
    assert to_text(graph) == text


def test_axes_have_the_type_of_the_bounds() -> None:
    text = """g (float[2,3,4] x) => (float[2,3,4] y) {
        s = Constant<value = int32[1] {0}>() e = Constant<value = int32[1] {-1}>()
        k = Constant<value = int32[1] {1}>() p = Constant<value = int64[6] {0, 0, 0, 0, 0, 1}>()
        a = Transpose<perm=[0,2,1]>(x) b = Slice(a, s, e, k) c = Transpose<perm=[0,2,1]>(b)
        y = Pad(c, p)
    }"""
    model = graph(text)
    run_pass(model, get_pass("infer-shapes"), CONTEXT)
    assert run_pass(model, get_pass("move-transposes"), CONTEXT).changed
    onnx.checker.check_model(model.to_onnx(), full_check=True)
    assert_equivalent(graph(text), model, Numerics.EXACT)


def test_what_is_empty_moves_nowhere_and_back() -> None:
    model = graph("""g (float[2,1] x) => (float[1,2] y, float[0,0] z) {
        s = Constant<value = int64[2] {2, 1}>() e = Constant<value = int64[2] {9, 1}>()
        y = Transpose<perm=[1,0]>(x) b = Slice(x, s, e) z = Transpose<perm=[1,0]>(b)
    }""")
    run_pass(model, get_pass("infer-shapes"), CONTEXT)
    MoveTransposes().run(model, CONTEXT)
    assert not MoveTransposes().run(model, CONTEXT).changed


def test_says_why_not() -> None:
    graph = model_of(f"a = {TO_LAST}(x) b = Relu(a) c = Reshape(b, flat) y = Neg(c)")
    result = MoveTransposes().run(graph, CONTEXT)
    assert "past Relu would leave no fewer" in result.missed[0].reason


def test_old_softmax_flattens() -> None:
    body = f"a = {TO_LAST}(x) b = Softmax<axis=3>(a) z = {TO_FIRST}(b) y = Neg(z)"
    assert not MoveTransposes().run(model_of(body, opset=12), CONTEXT).changed


def test_orders() -> None:
    perm = (2, 0, 3, 1)
    assert is_identity(compose(perm, inverse(perm)))
    assert without((0, 2, 3, 1), [1, 2]) == (0, 1)
    assert without((2, 0, 1), [0]) == (1, 0)
    x = RNG.random((2, 3, 4, 5))
    both = x.transpose(perm).transpose((1, 3, 0, 2))
    assert np.array_equal(both, x.transpose(compose(perm, (1, 3, 0, 2))))


def test_a_long_chain_takes_linear_time() -> None:
    steps = 3000
    body = f"v0 = {TO_LAST}(x) " + " ".join(f"v{n + 1} = Relu(v{n})" for n in range(steps))
    graph = model_of(f"{body} z = {TO_FIRST}(v{steps}) y = Neg(z)")
    assert MoveTransposes().run(graph, CONTEXT).changed
    assert transposes(graph) == 0
