"""simplify-chains: one operator instead of several, only where no bit changes."""

from __future__ import annotations

import onnx
import pytest

from burnish.ir import DType, Graph
from burnish.numerics import Numerics
from burnish.passes.cleanup.cast_rules import holds
from burnish.passes.cleanup.infer_shapes import InferShapes
from burnish.passes.cleanup.simplify_chains import SimplifyChains
from burnish.pipeline import PassContext
from burnish.testing import assert_equivalent, graph

CONTEXT = PassContext(explain=True)


CONSTANTS = """
    zero = Constant<value = int64[1] {0}>()
    one = Constant<value = int64[1] {1}>()
    six = Constant<value = int64[2] {4, 6}>()
    flat = Constant<value = int64[1] {-1}>()
    copy = Constant<value = int64[2] {0, -1}>()
"""


def model_of(inputs: str, body: str) -> Graph:
    """A model that returns ``y`` in whatever type ``body`` gives it."""
    header = '<ir_version: 10, opset_import: ["": 21]>'
    text = f"{header} g ({inputs}) => (y) {{ {CONSTANTS} {body} }}"
    return Graph.from_onnx(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))


def check(before: Graph, after: Graph) -> Graph:
    InferShapes().run(after, CONTEXT)
    assert SimplifyChains().run(after, CONTEXT).changed
    assert_equivalent(before, after, Numerics.EXACT)
    assert not SimplifyChains().run(after, CONTEXT).changed
    return after


def kinds(model: Graph) -> list[str]:
    return [node.op_type for node in model.walk()]


@pytest.mark.parametrize(
    ("inputs", "body", "expected"),
    [
        ("float[2,3,4] x", "a = Reshape(x, six) y = Unsqueeze(a, zero)", ["Reshape"]),
        ("float[1,2,3] x", "a = Squeeze(x, zero) y = Flatten(a)", ["Reshape"]),
        ("float[2,3,4] x", "a = Flatten(x) b = Unsqueeze(a, one) y = Reshape(b, six)", ["Reshape"]),
        # Only what both leave open stays open.
        ('float["n",3,4] x', "a = Reshape(x, copy) y = Unsqueeze(a, one)", ["Reshape"]),
        ('float["n","m",4] x', "a = Flatten(x) y = Reshape(a, flat)", ["Reshape"]),
        ("float[2,3] x", "e = Exp(x) a = Unsqueeze(e, zero) y = Squeeze(a, zero)", ["Exp"]),
        ("float[2,3,4] x", "a = Transpose<perm=[1,2,0]>(x) y = Transpose<perm=[1,0,2]>(a)",
         ["Transpose"]),
        ('float["n",3,4] x', "e = Exp(x) a = Transpose<perm=[1,2,0]>(e) "
         "y = Transpose<perm=[2,0,1]>(a)", ["Exp"]),
        ("float[2,3] x", "e = Exp(x) a = Transpose(e) y = Transpose(a)", ["Exp"]),
        ("float[2,1,4] x", "y = Transpose<perm=[1,0,2]>(x)", ["Reshape"]),
        ("float[1,7,1,1] x", "y = Transpose<perm=[0,2,3,1]>(x)", ["Reshape"]),
        ("int32[2] x", "a = Cast<to=7>(x) y = Cast<to=6>(a)", ["Identity"]),
        ("int8[2] x", "a = Cast<to=1>(x) y = Cast<to=7>(a)", ["Cast"]),
        ("bool[2] x", "a = Cast<to=6>(x) y = Cast<to=1>(a)", ["Cast"]),
        ("float16[2] x", "a = Cast<to=1>(x) y = Cast<to=11>(a)", ["Cast"]),
        ("int32[2] i, float[5] x", "a = Cast<to=7>(i) y = Gather(x, a)", ["Gather"]),
        ("int32[2] i, float[2] x", "a = Cast<to=7>(i) y = GatherElements(x, a)",
         ["GatherElements"]),
        ("int64[1] s", "a = ConstantOfShape(s) y = Cast<to=7>(a)", ["ConstantOfShape"]),
        ("int64[1] s", "a = ConstantOfShape<value = int64[1] {1}>(s) y = Cast<to=9>(a)",
         ["ConstantOfShape"]),
        ("float[1,3] x, float[2,3] z", "s = Shape(z) a = Expand(x, s) y = Add(z, a)",
         ["Shape", "Expand", "Add"]),
    ],
)  # fmt: skip
def test_merged(inputs: str, body: str, expected: list[str]) -> None:
    model = check(model_of(inputs, body), model_of(inputs, body))
    if expected == ["Identity"]:
        assert kinds(model) == ["Cast"] or kinds(model) == ["Identity"]
    elif "Expand" in expected:
        add = next(node for node in model if node.op_type == "Add")
        assert model.inputs[0] in add.inputs
    else:
        assert kinds(model) == expected


def test_shared_inner_results_are_kept() -> None:
    text = """
    g (float[2,3] x) => (float[3,2] a, float[1,3,2] y) {
        zero = Constant<value = int64[1] {0}>()
        shape = Constant<value = int64[2] {3, 2}>()
        a = Reshape(x, shape)
        y = Unsqueeze(a, zero)
    }
    """
    model = check(graph(text), graph(text))
    assert kinds(model) == ["Reshape", "Reshape"]
    assert all(node.inputs[0] is model.inputs[0] for node in model)


@pytest.mark.parametrize(
    ("inputs", "body"),
    [
        ("float[2,3,4] x", "a = Reshape(x, six) y = Exp(a)"),
        ('float["n","m",4] x', "a = Unsqueeze(x, zero) y = Flatten<axis=2>(a)"),
        ('float["n","m",4] x', "a = Flatten(x) y = Reshape(a, copy)"),
        ("float[2,3,4] x", "a = Transpose<perm=[1,2,0]>(x) b = Exp(a) y = Transpose(b)"),
        ("float[2,3,4] x", "y = Transpose<perm=[1,0,2]>(x)"),
        ('float["n",1,"n"] x', "y = Transpose<perm=[1,0,2]>(x)"),
        ("int64[2] x", "a = Cast<to=6>(x) y = Cast<to=7>(a)"),
        ("float[2] x", "a = Cast<to=10>(x) y = Cast<to=1>(a)"),
        ("int32[2] x", "a = Cast<to=1>(x) y = Cast<to=6>(a)"),
        ("float[2] x", "a = Cast<to=9>(x) y = Cast<to=1>(a)"),
        ("int64[2] i, float[5] x", "a = Cast<to=6>(i) y = Gather(x, a)"),
        ("int32[2,1] i, float[5] x", "a = Cast<to=7>(i) y = GatherND(x, a)"),
        ("int64[1] s", "a = ConstantOfShape<value = float[1] {1e9}>(s) y = Cast<to=2>(a)"),
        ("float[1,3] x, float[1,3] z, int64[2] s", "a = Expand(x, s) y = Add(z, a)"),
        ("float[1,3] x, float[3] z", "s = Constant<value = int64[2] {2, 3}>() "
         "a = Expand(x, s) y = Add(a, z)"),
        ('float[2,3,4] x, int64["k"] s', "a = Flatten(x) y = Reshape(a, s)"),
        ('float["n",0] x', "a = Unsqueeze(x, zero) y = Unsqueeze(a, zero)"),
        ('float[2,3,4] x, int64["k"] s', "r = Reshape(x, s) a = Transpose(r) y = Transpose(a)"),
        ('float[2,3,4] x, int64["k"] s', "r = Reshape(x, s) y = Transpose<perm=[1,0]>(r)"),
        ('float["n",3] x', "y = Transpose<perm=[0,1]>(x)"),
        ("int64[1] s", "a = ConstantOfShape(s) y = Cast<to=10>(a)"),
    ],
)  # fmt: skip
def test_stays(inputs: str, body: str) -> None:
    model = model_of(inputs, body)
    InferShapes().run(model, CONTEXT)
    before = kinds(model)
    result = SimplifyChains().run(model, CONTEXT)
    assert not result.changed, (before, kinds(model))


def test_reasons() -> None:
    model = graph("g (int64[2] x) => (int64[2] y) { a = Cast<to=6>(x) y = Cast<to=7>(a) }")
    InferShapes().run(model, CONTEXT)
    reasons = [miss.reason for miss in SimplifyChains().run(model, CONTEXT).missed]
    assert reasons == ["int32 does not hold every int64"]


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        (DType.INT64, DType.INT32, True),
        (DType.INT32, DType.INT64, False),
        (DType.INT32, DType.UINT32, False),
        (DType.INT64, DType.UINT32, True),
        (DType.UINT64, DType.INT8, False),
        (DType.FLOAT, DType.INT16, True),
        (DType.FLOAT, DType.INT32, False),
        (DType.DOUBLE, DType.INT32, True),
        (DType.FLOAT16, DType.INT8, True),
        (DType.FLOAT16, DType.INT16, False),
        (DType.BFLOAT16, DType.UINT8, True),
        (DType.FLOAT, DType.BFLOAT16, True),
        (DType.FLOAT16, DType.BFLOAT16, False),
        (DType.BFLOAT16, DType.FLOAT16, False),
        (DType.BOOL, DType.INT8, False),
        (DType.INT8, DType.FLOAT, False),
        (DType.FLOAT, DType.STRING, False),
    ],
)
def test_holds(wide: DType, narrow: DType, expected: bool) -> None:
    assert holds(wide, narrow) is expected


@pytest.mark.parametrize(
    ("inputs", "body"),
    [
        ("float[1,3] x, float[2,3] z, int64[2] s", "a = Expand(x, s) y = Pow(z, a)"),
        ("float[1,3] x, float[2,1] z", "s = Shape(q) a = Expand(x, s) y = Max(z, a)"),
        ('float[1,3] x, float["n",1] z, int64[2] s', "a = Tile(x, r) y = Mul(a, z)"),
        ('float[1,3] x, float[3] z, bool["n",1] c', "a = Tile(x, r) y = Where(c, a, z)"),
    ],
)
def test_operators_broadcast_by_themselves(inputs: str, body: str) -> None:
    extra = " r = Constant<value = int64[2] {2, 1}>()" if "r)" in body else ""
    wide = "float[2,3] q" if "Shape(q)" in body else ""
    given = ", ".join(part for part in (inputs.replace(", int64[2] s", ""), wide) if part)
    fixed = "s = Constant<value = int64[2] {2, 3}>() " if "int64[2] s" in inputs else ""
    if '"n"' in inputs:
        given = given.replace('"n"', "2")
    before, after = (model_of(given, f"{fixed}{extra} {body}") for _ in range(2))
    check(before, after)
    node = next(node for node in after if node.op_type in ("Pow", "Max", "Mul", "Where"))
    assert after.inputs[0] in node.inputs


@pytest.mark.parametrize(
    ("inputs", "body"),
    [
        ("float[1,3] x, float[1,3] z", "a = Tile(x, r) y = Mul(a, z)"),
        ("float[2,3] x, float[4,3] z", "a = Tile(x, r) y = Mul(a, z)"),
        ('float[1,3] x, float["n",1] z, int64[2] s', "a = Expand(x, s) y = Mul(a, z)"),
        ("float[1,3] x, float[3] z, bool[3] c", "a = Tile(x, r) y = Where(c, a, z)"),
        (
            "float[2,1] x, float[3] z",
            "s = Constant<value = int64[3] {1, 2, 1}>() a = Expand(x, s) y = Mul(a, z)",
        ),
        ("float[1,3] x, float[3,2] z", "a = Tile(x, r) y = MatMul(a, z)"),
    ],
)
def test_what_does_not_broadcast_stays(inputs: str, body: str) -> None:
    fixed = "r = Constant<value = int64[2] {2, 1}>()" if "r)" in body else ""
    model = model_of(inputs, f"{fixed} {body}")
    InferShapes().run(model, CONTEXT)
    assert not SimplifyChains().run(model, CONTEXT).changed
