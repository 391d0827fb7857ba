"""Take out of loops what is the same in every iteration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from burnish.analysis.effects import is_random
from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.ir.clone import values_read
from burnish.numerics import Numerics
from burnish.passes.cleanup.loop_bodies import Layout, removable
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, NearMiss, Rewriter, RewriteResult

MAY_FAIL = frozenset({
    "Compress", "Gather", "GatherElements", "GatherND", "OneHot", "ReverseSequence", "Scatter",
    "ScatterElements", "ScatterND", "SequenceAt", "SequenceErase", "TensorScatter", "TopK",
})  # fmt: skip
"""Operators that stop on values of the right shape: indices may be out of range."""

DIVIDES = frozenset({"Div", "Mod"})
"""Operators that stop where an integer is divided by zero."""


@dataclass(frozen=True)
class SimplifyLoops(Pass):
    """Compute what is the same in every iteration of Loop and Scan once, before the loop.

    States that no iteration changes become the values that they start with. Operators that read
    nothing of the loop move in front of it, unless the loop may run no iteration at all and they
    might fail.

    Before:
        z = Loop(n, x, s) {v, t: Mul(v, Exp(t)), t}

    After:
        e = Exp(s); z = Loop(n, x) {v: Mul(v, e)}
    """

    name: ClassVar[str] = "simplify-loops"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Work from the inside out: what leaves an inner loop may leave the outer one, too."""
        result = RewriteResult()
        if not context.may_meet(("Loop", "Scan")):
            return result
        rewriter = Rewriter(graph)
        for node in list(_loops(graph)):
            layout = Layout.of(node)
            if layout is None:
                continue
            rewriter.anchor, rewriter.provenance = node, node.provenance
            if _settle_states(rewriter, node, layout):
                result.fired.append(Firing("settle-states", node.provenance))
            if not node.outputs:
                rewriter.erase(node)
                continue
            for moved in _hoist(rewriter, node, result):
                result.fired.append(Firing("hoist", moved.provenance))
        result.edits = rewriter.edits
        return result


def _loops(graph: Graph) -> Iterator[OperatorNode]:
    for node in graph:
        for body in node.subgraphs.values():
            yield from _loops(body)
        if node.is_op("Loop", "Scan"):
            yield node


def _settle_states(rewriter: Rewriter, node: OperatorNode, layout: Layout) -> bool:
    """Replace states that stay what they are by what they start with; whether there were any."""
    body = node.subgraphs["body"]
    states = range(layout.states)
    fixed = removable(node, [each for each in states if _stays(node, body, layout, each)])
    if not fixed:
        return False
    inputs = [body.inputs[layout.inner + state] for state in fixed]
    initial = [node.inputs[layout.given + state] for state in fixed]
    for state, value in zip(fixed, initial, strict=True):
        assert value is not None
        if node.outputs[state].uses:
            rewriter.replace(node.outputs[state], value)
    rewriter.drop_states(node, fixed, given=layout.given, inner=layout.inner, first=layout.first)
    for inside, value in zip(inputs, initial, strict=True):
        assert value is not None
        rewriter.replace(inside, value)
    return True


def _stays(node: OperatorNode, body: Graph, layout: Layout, state: int) -> bool:
    """Whether every iteration hands on ``state`` as it came, and it can be read from outside."""
    value = body.outputs[layout.first + state]
    while value.producer is not None and value.producer.is_op("Identity"):
        source = value.producer.inputs[0]
        assert source is not None
        value = source
    inside, initial = body.inputs[layout.inner + state], node.inputs[layout.given + state]
    if value is not inside or initial is None:
        return False
    # Other results of the body that are this state would have to come from outside.
    returned = sum(use.user is body for use in inside.uses)
    own = body.outputs[layout.first + state] is inside
    return returned == int(own) and (not inside.dtype or inside.dtype is initial.dtype)


def _hoist(rewriter: Rewriter, node: OperatorNode, result: RewriteResult) -> Iterator[OperatorNode]:
    """Move what does not depend on the iteration in front of ``node``."""
    body = node.subgraphs["body"]
    inside: set[VariableNode] = set(body.inputs)
    runs = _runs(node)
    for inner in body:
        reason = _why_inside(inner, inside, runs)
        if reason:
            if reason != VARIES:
                result.missed.append(NearMiss("hoist", reason, inner.provenance))
            inside.update(inner.outputs)
            continue
        rewriter.move(inner, node)
        yield inner


VARIES = "it depends on the iteration"


def _why_inside(node: OperatorNode, inside: set[VariableNode], runs: bool) -> str:
    """Why ``node`` cannot be computed before the loop, empty if it can."""
    if any(value in inside for value in values_read(node)):
        return VARIES
    if is_random(node):
        return "it answers something else each time"
    if any(value.is_graph_output for value in node.outputs):
        return "its result is one of the loop's"
    if not runs and _may_fail(node):
        return "the loop may not run at all, and computing it may fail then"
    return ""


def _may_fail(node: OperatorNode) -> bool:
    """Whether ``node`` may stop for some values of the types that it reads."""
    if node.domain or node.subgraphs or node.op_type in MAY_FAIL:
        return True
    if node.op_type in DIVIDES and not node.output.dtype.is_floating:
        return True
    return any(value.static_shape is None or not value.dtype for value in node.outputs)


def _runs(node: OperatorNode) -> bool:
    """Whether ``node`` is known to run at least one iteration."""
    if node.op_type == "Scan":
        source = node.inputs[-1]
        axes = node.attribute("scan_input_axes") or (0,)
        shape = None if source is None else source.shape
        size = None if shape is None else shape[axes[-1]]
        return isinstance(size, int) and size > 0
    count, start = node.input(0), node.input(1)
    if start is not None and (start.constant is None or not start.constant.numpy().all()):
        return False
    return count is None or (
        count.constant is not None and bool((count.constant.numpy() > 0).all())
    )
