"""resolve-sequences: tensors in place of sequences whose elements are known."""

from __future__ import annotations

import pytest

from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.passes.cleanup.infer_shapes import InferShapes
from burnish.passes.cleanup.inline_control_flow import InlineControlFlow
from burnish.passes.cleanup.remove_dead_code import RemoveDeadCode
from burnish.passes.cleanup.resolve_sequences import HANDLERS, ResolveSequences
from burnish.pipeline import PassContext
from burnish.testing import assert_equivalent, graph

CONTEXT = PassContext(explain=True)
INDICES = """
    k0 = Constant<value = int64 {0}>() k1 = Constant<value = int64 {1}>()
    k2 = Constant<value = int64 {2}>() last = Constant<value = int64 {-1}>()
    sizes = Constant<value = int64[2] {1, 3}>()
"""


def model_of(body: str, inputs: str = "", result: str = 'float["p", "q"] y') -> Graph:
    return graph(f"g (float[4, 3] a, float[4, 3] b{inputs}) => ({result}) {{ {INDICES} {body} }}")


def kinds(model: Graph) -> set[str]:
    return {node.op_type for node in model.walk()}


RESOLVED = [
    "s = SequenceConstruct(a, b) y = SequenceAt(s, last)",
    "s = SequenceConstruct(a, b) y = ConcatFromSequence<axis = 1>(s)",
    "e = SequenceEmpty<dtype = 1>() s = SequenceInsert(e, a) t = SequenceInsert(s, b, k0) "
    "y = ConcatFromSequence<axis = 0>(t)",
    "s = SequenceConstruct(a, b, a) t = SequenceErase(s, k0) y = SequenceAt(t, k0)",
    "s = SequenceConstruct(a, b) t = SequenceErase(s) y = ConcatFromSequence<axis = 0>(t)",
    "s = SplitToSequence(a, k2) y = SequenceAt(s, k1)",
    "s = SplitToSequence(a, sizes) y = SequenceAt(s, k1)",
    "s = SplitToSequence<axis = 1>(a) y = SequenceAt(s, k1)",
    "s = SplitToSequence<keepdims = 0>(a) y = ConcatFromSequence<axis = 1, new_axis = 1>(s)",
    "s = SequenceConstruct(a, b) t = Identity(s) y = SequenceAt(t, k1)",
    "n = Neg(a) o = Optional(n) g = OptionalGetElement(o) y = Exp(g)",
    "n = Neg(a) g = OptionalGetElement(n) y = Exp(g)",
]


@pytest.mark.parametrize("body", RESOLVED)
def test_resolved(body: str) -> None:
    before, after = model_of(body), model_of(body)
    InferShapes().run(after, CONTEXT)
    assert ResolveSequences().run(after, CONTEXT).changed
    assert not kinds(after) & (HANDLERS.keys() - {"Identity"})
    assert_equivalent(before, after, Numerics.EXACT)
    assert not ResolveSequences().run(after, CONTEXT).changed


@pytest.mark.parametrize(
    "body",
    [
        "s = SequenceConstruct(a, b) y = SequenceLength(s)",
        "s = SplitToSequence(a, k2) t = SequenceErase(s) y = SequenceLength(t)",
    ],
)
def test_lengths(body: str) -> None:
    before, after = (model_of(body, result="int64 y") for _ in range(2))
    InferShapes().run(after, CONTEXT)
    assert ResolveSequences().run(after, CONTEXT).changed
    RemoveDeadCode().run(after, CONTEXT)
    assert kinds(after) == {"Identity"}
    assert_equivalent(before, after, Numerics.EXACT)


def test_whether_an_optional_holds_anything() -> None:
    text = "o = Optional(a) y = OptionalHasElement(o)"
    before, after = (model_of(text, result="bool y") for _ in range(2))
    InferShapes().run(after, CONTEXT)
    assert ResolveSequences().run(after, CONTEXT).changed
    assert kinds(after) == {"Identity"}
    assert_equivalent(before, after, Numerics.EXACT)


def test_a_sequence_that_a_loop_builds() -> None:
    text = """
        e = SequenceEmpty<dtype = 1>()
        s = Loop (k2, , e) <body = step (int64 i, bool go, seq(float[4, 3]) v)
            => (bool on, seq(float[4, 3]) w) { on = Identity(go) w = SequenceInsert(v, a) }>
        y = ConcatFromSequence<axis = 0>(s)
    """
    before, after = model_of(text), model_of(text)
    InferShapes().run(after, CONTEXT)
    InlineControlFlow().run(after, CONTEXT)
    ResolveSequences().run(after, CONTEXT)
    assert "ConcatFromSequence" not in kinds(after)
    assert_equivalent(before, after, Numerics.EXACT)


@pytest.mark.parametrize(
    ("body", "inputs", "reason"),
    [
        ("s = SequenceConstruct(a, b) y = SequenceAt(s, i)", ", int64 i", "which element"),
        ("y = SequenceAt(s, k0)", ", seq(float[4, 3]) s", "elements of its sequence"),
        ("y = ConcatFromSequence<axis = 0>(s)", ", seq(float[4, 3]) s", "elements of its"),
        ("s = SequenceConstruct(a, b) t = SequenceErase(s, i) y = SequenceAt(t, k0)",
         ", int64 i", "what it erases"),
        ("s = SequenceConstruct(a, b) t = SequenceInsert(s, b, i) y = SequenceAt(t, k0)",
         ", int64 i", "where it inserts"),
        ("s = SplitToSequence(x, k2) y = SequenceAt(s, k0)", ', float["n", 3] x', "not known"),
        ("s = SplitToSequence(a, i) y = SequenceAt(s, k0)", ", int64 i", "sizes of its parts"),
        ("y = OptionalGetElement(o)", ", optional(float[4, 3]) o", "what its optional holds"),
    ],
)  # fmt: skip
def test_stays(body: str, inputs: str, reason: str) -> None:
    model = model_of(body, inputs)
    InferShapes().run(model, CONTEXT)
    result = ResolveSequences().run(model, CONTEXT)
    assert not result.changed
    assert any(reason in miss.reason for miss in result.missed), result.missed


def test_a_sequence_that_leaves_the_model_stays() -> None:
    model = model_of("s = SequenceConstruct(a, b)", result="seq(float[4, 3]) s")
    assert not ResolveSequences().run(model, CONTEXT).changed
