"""simplify-shapes: computed shapes become constants only where that is right for every size."""

from __future__ import annotations

import onnx
import pytest

from burnish.ir import Graph
from burnish.ir.printer import to_text
from burnish.numerics import Numerics
from burnish.passes.cleanup.simplify_shapes import SimplifyShapes
from burnish.pipeline import PassContext
from burnish.testing import assert_equivalent

CONTEXT = PassContext(explain=True)
CONSTANTS = """
    zero = Constant<value = int64[1] {0}>() one = Constant<value = int64[1] {1}>()
    two = Constant<value = int64[1] {2}>() three = Constant<value = int64[1] {3}>()
    four = Constant<value = int64[1] {4}>() twelve = Constant<value = int64[1] {12}>()
    rest = Constant<value = int64[1] {-1}>() heads = Constant<value = int64[2] {2, 2}>()
    first = Constant<value = int64 {0}>() step = Constant<value = int64 {1}>()
    far = Constant<value = int64[1] {9223372036854775807}>()
"""


def model_of(inputs: str, body: str, opset: int = 21) -> Graph:
    """A model that returns ``y`` in whatever type ``body`` gives it."""
    header = f'<ir_version: 10, opset_import: ["": {opset}]>'
    text = f"{header} g ({inputs}) => (y) {{ {CONSTANTS} {body} }}"
    return Graph.from_onnx(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))


def kinds(model: Graph) -> list[str]:
    return [node.op_type for node in model.walk()]


@pytest.mark.parametrize(
    ("inputs", "body", "expected"),
    [
        # Sizes of the same axis are copied, one other is inferred.
        ('float["n",3,4] x', "s = Shape(x) b = Gather(s, zero) t = Concat<axis=0>(b, twelve) "
         "y = Reshape(x, t)", ["Reshape"]),
        ('float["n","m",4] x', "s = Shape(x) b = Gather(s, zero) c = Gather(s, one) "
         "t = Concat<axis=0>(b, c, heads) y = Reshape(x, t)", ["Reshape"]),
        ('float["n","m",4] x', "s = Shape(x) b = Gather(s, one) t = Concat<axis=0>(rest, b, four) "
         "y = Reshape(x, t)", ["Reshape"]),
        ('float["n",3,4] x', "s = Shape(x) b = Gather(s, zero) t = Concat<axis=0>(twelve, b) "
         "y = Reshape(x, t)", ["Reshape"]),
        ('float["n",3,4] x', "s = Shape(x) b = Gather(s, zero) d = Mul(b, three) "
         "t = Concat<axis=0>(d, four) y = Reshape(x, t)", ["Reshape"]),
        # Sizes may be unknown altogether, and equal to themselves all the same.
        ('float[4,"m"] x, float["k","m"] z', "c = Concat<axis=0>(x, z) e = Exp(c) s = Shape(e) "
         "b = Slice(s, zero, one) d = Slice(s, one, two) t = Concat<axis=0>(b, d, one) "
         "y = Reshape(c, t)", ["Concat", "Reshape"]),
        ('float["n",3] x', "z = NonZero(x) e = Abs(z) s = Shape(e) t = Slice(s, one, two) "
         "u = Concat<axis=0>(two, t, one) y = Reshape(z, u)", ["NonZero", "Reshape"]),
        # One size is known to nobody and still follows from the others.
        ('float["n",4] x, int64[1] k', "s = Shape(x) b = Slice(s, one, two) "
         "t = Concat<axis=0>(k, b) y = Reshape(x, t)", ["Reshape"]),
        # Nothing but the shape there is.
        ('float["n",3,4] x', "e = Exp(x) s = Shape(e) y = Reshape(e, s)", ["Exp"]),
        ('float["n",3,4] x', "e = Exp(x) s = Shape(x) y = Expand(e, s)", ["Exp"]),
        # Expand keeps what is one long in its target.
        ('float["n",1,4] x', "s = Shape(x) b = Gather(s, zero) t = Concat<axis=0>(b, three, four) "
         "y = Expand(x, t)", ["Expand"]),
        ('float["n",4] x', "s = Shape(x) t = Concat<axis=0>(three, s) y = Expand(x, t)",
         ["Expand"]),
        # Slices run to the end.
        ('float["n",3,4] x', "s = Shape(x) e = Gather(s, zero) y = Slice(x, one, e, zero)",
         ["Slice"]),
        ('float["n",3,4] x', "s = Shape(x) e = Gather(s, zero) f = Add(e, two) "
         "y = Slice(x, one, f, zero)", ["Slice"]),
        ('float["n",3,4] x', "s = Shape(x) e = Gather(s, zero) y = Slice(x, zero, e, zero, two)",
         ["Slice"]),
        # Resize is told how many times.
        ('float["n",2,"h","w"] x', "s = Shape(x) a = Slice(s, zero, two) b = Slice(s, two, four) "
         "c = Mul(b, two) t = Concat<axis=0>(a, c) y = Resize(x, , , t)", ["Resize"]),
    ],
)  # fmt: skip
def test_becomes_constant(inputs: str, body: str, expected: list[str]) -> None:
    before, after = model_of(inputs, body), model_of(inputs, body)
    assert SimplifyShapes().run(after, CONTEXT).changed
    assert kinds(after) == expected
    assert all(node.provenance for node in after.walk())
    if "int64[1] k" not in inputs:
        assert_equivalent(before, after, Numerics.EXACT)
    assert not SimplifyShapes().run(after, CONTEXT).changed


@pytest.mark.parametrize(
    ("inputs", "body", "reason"),
    [
        # Two sizes that are neither copied nor the only open one.
        ('float["n","m",4] x', "s = Shape(x) b = Gather(s, one) d = Gather(s, zero) "
         "t = Concat<axis=0>(b, d, four) y = Reshape(x, t)", "more than one size"),
        ('float["n","m",4] x', "s = Shape(x) b = Gather(s, one) t = Concat<axis=0>(b, rest) "
         "y = Reshape(x, t)", "more than one size"),
        ('float["n",4] x, int64[k] t', "s = Shape(x) y = Reshape(x, t)", "how many axes"),
        ('float["n",0] x', "s = Shape(x) b = Gather(s, zero) t = Concat<axis=0>(zero, b) "
         "y = Reshape<allowzero=1>(x, t)", "empty"),
        # Equal sizes of other values make an axis longer.
        ('float[1,4] x, float["n",4] z', "s = Shape(z) y = Expand(x, s)", "as long as"),
        ('float["m",4] x, float["n",4] z', "s = Shape(z) y = Expand(x, s)", "as long as"),
        # Cut somewhere in the middle.
        ('float["n",4] x, float["m",4] z', "s = Shape(z) e = Gather(s, zero) "
         "y = Slice(x, zero, e, zero)", "depends on sizes"),
        ('float["n",4] x', "s = Shape(x) e = Gather(s, zero) f = Sub(e, one) "
         "y = Slice(x, zero, f, zero)", "depends on sizes"),
        ('float["n",4] x', "s = Shape(x) e = Gather(s, zero) y = Slice(x, e, zero, zero, rest)",
         "axes or steps"),
        # Twice the height of something else, or one more.
        ('float["n",2,"h","w"] x, float["n",2,"k","w"] z', "s = Shape(z) y = Resize(x, , , s)",
         "whole number of times"),
        ('float["n",2,"h","w"] x', "s = Shape(x) a = Slice(s, zero, two) b = Slice(s, two, four) "
         "c = Add(b, one) t = Concat<axis=0>(a, c) y = Resize(x, , , t)", "whole number of times"),
        ('float["n",2,"h","w"] x', "s = Shape(x) a = Slice(s, zero, two) b = Slice(s, two, four) "
         "c = Mul(b, two) t = Concat<axis=0>(a, c) "
         'y = Resize<keep_aspect_ratio_policy="not_larger">(x, , , t)', "ratio of sides"),
    ],
)  # fmt: skip
def test_near_misses_stay(inputs: str, body: str, reason: str) -> None:
    model = model_of(inputs, body)
    text = to_text(model)
    result = SimplifyShapes().run(model, CONTEXT)
    assert not result.changed
    assert to_text(model) == text
    assert any(reason in miss.reason for miss in result.missed), result.missed


def test_sizes_that_only_look_equal() -> None:
    """Exporters write "?" for every size that they do not know."""
    model = model_of('float[1,4] x, float["?",4] z', "s = Shape(z) e = Exp(x) y = Expand(e, s)")
    assert not SimplifyShapes().run(model, CONTEXT).changed


def test_inside_a_branch() -> None:
    body = (
        "y = If<then_branch = t () => (float[n,12] a) { s = Shape(x) b = Gather(s, zero) "
        "t = Concat<axis=0>(b, twelve) a = Reshape(x, t) }, "
        "else_branch = e () => (float[n,12] b) { f = Flatten(x) b = Neg(f) }>(c)"
    )
    before, after = (model_of('float["n",3,4] x, bool c', body) for _ in range(2))
    assert SimplifyShapes().run(after, CONTEXT).changed
    assert kinds(after) == ["If", "Reshape", "Flatten", "Neg"]
    assert_equivalent(before, after, Numerics.EXACT)


def test_a_graph_output_keeps_its_name() -> None:
    model = model_of('float["n",4] x', "s = Shape(x) y = Reshape(x, s)")
    SimplifyShapes().run(model, CONTEXT)
    assert model.output_names == ("y",)
    assert model.outputs[0].name == "y"


def test_bounds_keep_their_type() -> None:
    body = (
        "s = Constant<value = int32[1] {0}>() n = Shape(x) b = Gather(n, zero) "
        "e = Cast<to = 6>(b) y = Slice(x, s, e)"
    )
    before, after = model_of("float[3,4] x", body), model_of("float[3,4] x", body)
    assert SimplifyShapes().run(after, CONTEXT).changed
    onnx.checker.check_model(after.to_onnx(), full_check=True)
    assert_equivalent(before, after, Numerics.EXACT)
