"""rebuild-shapes: fewer operators compute the same shapes."""

from __future__ import annotations

import onnx
import pytest

from burnish.ir import Graph
from burnish.ir.printer import to_text
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.passes.cleanup.rebuild_shapes import RebuildShapes
from burnish.pipeline import PassContext
from burnish.testing import assert_equivalent

CONTEXT = PassContext(explain=True)
CONSTANTS = """
    zero = Constant<value = int64[1] {0}>() one = Constant<value = int64[1] {1}>()
    two = Constant<value = int64[1] {2}>() four = Constant<value = int64[1] {4}>()
    first = Constant<value = int64 {0}>() second = Constant<value = int64 {1}>()
    mask = Constant<value = bool[2] {1, 0}>() ones = Constant<value = int64[2] {1, 1}>()
"""


def model_of(inputs: str, body: str, opset: int = 21) -> Graph:
    """A model that returns ``y`` in whatever type ``body`` gives it."""
    header = f'<ir_version: 8, opset_import: ["": {opset}]>'
    text = f"{header} g ({inputs}) => (y) {{ {CONSTANTS} {body} }}"
    return Graph.from_onnx(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))


def kinds(model: Graph) -> list[str]:
    return [node.op_type for node in model]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # Sizes in a row are taken as a whole.
        ("s = Shape(x) a = Gather(s, zero) b = Gather(s, one) t = Concat<axis=0>(four, a, b) "
         "y = Expand(z, t)", ["Shape", "Concat", "Expand"]),
        # From the first value that has them.
        ("e = Exp(x) s = Shape(e) a = Gather(s, first) b = Unsqueeze(a, zero) "
         "t = Concat<axis=0>(b, one) f = ConstantOfShape(t) y = Mul(e, f)",
         ["Shape", "Concat", "ConstantOfShape", "Exp", "Mul"]),
        # Arithmetic that comes to a size is none.
        ("s = Shape(x) a = Gather(s, zero) b = Mul(a, four) c = Div(b, four) "
         "t = Concat<axis=0>(c, one) f = ConstantOfShape(t) y = Mul(x, f)",
         ["Shape", "Concat", "ConstantOfShape", "Mul"]),
        # A choice whose outcome is known.
        ("s = Shape(x) a = Where(mask, ones, s) b = Slice(a, one, two) c = Squeeze(b, zero) "
         "r = Range(first, c, second) d = Cast<to=1>(r) y = Add(x, d)",
         ["Shape", "Gather", "Range", "Cast", "Add"]),
        # A shape that some value has.
        ("s = Shape(x) a = Gather(s, zero) b = Gather(s, one) t = Concat<axis=0>(a, b) "
         "f = ConstantOfShape(t) y = Mul(x, f)", ["Shape", "ConstantOfShape", "Mul"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("opset", [13, 21])
def test_takes_fewer_steps(body: str, expected: list[str], opset: int) -> None:
    inputs = 'float["n","m"] x, float[1,1,1] z'
    before, after = model_of(inputs, body, opset), model_of(inputs, body, opset)
    assert RebuildShapes().run(after, CONTEXT).changed
    verify(after)
    if opset < 15 and len(kinds(after)) > len(expected):
        # Before Shape takes parts, another operator does.
        assert sorted(kinds(after)) == sorted([*expected, "Gather"])
    else:
        assert sorted(kinds(after)) == sorted(expected)
    assert all(node.provenance for node in after)
    assert_equivalent(before, after, Numerics.EXACT)
    assert not RebuildShapes().run(after, CONTEXT).changed


@pytest.mark.parametrize(
    ("inputs", "body"),
    [
        # As few as it takes.
        ('float["n","m"] x', "s = Shape(x) f = ConstantOfShape(s) y = Mul(x, f)"),
        ('float["n","m"] x', "s = Shape(x) a = Gather(s, first) r = Range(first, a, second) "
         "y = Cast<to=1>(r)"),
        # Sizes that nothing has.
        ('float["n","m"] x', "s = Shape(x) t = Add(s, ones) y = ConstantOfShape(t)"),
        ('float["n","m"] x', "s = Shape(x) a = Gather(s, zero) b = Gather(s, one) c = Mul(a, b) "
         "y = ConstantOfShape(c)"),
        # Numbers that are not sizes.
        ('float["n"] x, int64[2] k', "s = Shape(x) t = Concat<axis=0>(s, k) "
         "y = ConstantOfShape(t)"),
        # Whole numbers elsewhere.
        ('int64["n"] x', "s = Shape(x) y = Add(x, s)"),
    ],
)  # fmt: skip
def test_near_misses_stay(inputs: str, body: str) -> None:
    model = model_of(inputs, body)
    text = to_text(model)
    assert not RebuildShapes().run(model, CONTEXT).changed
    assert to_text(model) == text


def test_a_shape_of_what_is_made_from_it_is_no_source() -> None:
    body = (
        "s = Shape(x) a = Gather(s, first) b = Unsqueeze(a, zero) c = ConstantOfShape(b) "
        "d = Shape(c) e = Slice(d, zero, one) f = ConstantOfShape(e) y = Add(c, f)"
    )
    before, after = model_of('float["n","m"] x', body), model_of('float["n","m"] x', body)
    assert RebuildShapes().run(after, CONTEXT).changed
    verify(after)
    assert_equivalent(before, after, Numerics.EXACT)
    assert kinds(after).count("Shape") == 1


@pytest.mark.parametrize(
    "body",
    [
        "s = Shape(x) y = Shape(s)",
        "s = Shape<start = 2>(x) a = Identity(s) b = Identity(a) y = Abs(b)",
    ],
)
def test_returned_constants_are_made_once(body: str) -> None:
    before, after = model_of('float["n","m"] x', body), model_of('float["n","m"] x', body)
    assert RebuildShapes().run(after, CONTEXT).changed
    assert not RebuildShapes().run(after, CONTEXT).changed
    assert kinds(after) == ["Identity"]
    assert_equivalent(before, after, Numerics.EXACT)


def test_a_shape_that_is_returned_twice() -> None:
    header = '<ir_version: 8, opset_import: ["": 21]>'
    text = f"""{header} g (float[n] x) => (int64[1] y, int64[1] z) {{
        a = Exp(x) y = Shape(a) b = Neg(x) z = Shape(b)
    }}"""
    model = Graph.from_onnx(onnx.parser.parse_model(text))
    RebuildShapes().run(model, CONTEXT)
    assert not RebuildShapes().run(model, CONTEXT).changed
    named = Graph.from_onnx(onnx.parser.parse_model(
        f"{header} g (float[n] x) => (int64[1] y, int64[1] z) {{ y = Shape(x) z = Identity(y) }}"
    ))  # fmt: skip
    assert not RebuildShapes().run(named, CONTEXT).changed


def test_what_a_returned_shape_is_called() -> None:
    body = "s = Shape(x) a = Gather(s, zero) b = Gather(s, one) y = Concat<axis=0>(a, b)"
    before, after = model_of('float["n","m"] x', body), model_of('float["n","m"] x', body)
    assert RebuildShapes().run(after, CONTEXT).changed
    assert kinds(after) == ["Shape"]
    assert after.output_names == ("y",)
    assert_equivalent(before, after, Numerics.EXACT)
