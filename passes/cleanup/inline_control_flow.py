"""Replace control flow whose course is known by the operators that it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.analysis.effects import is_random
from burnish.analysis.identity import Identities
from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.ir.clone import clone
from burnish.numerics import Numerics
from burnish.passes.cleanup.loop_bodies import count_unrolled
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Miss, NearMiss, Rewriter, RewriteResult

SELECTABLE = 256
"""Nodes that both branches of an If may have together to be computed both."""


STAYS = "; --set inline-control-flow.max_nodes_left=N allows more"


@dataclass(frozen=True)
class InlineControlFlow(Pass):
    """Inline If with a known condition or equal branches; unroll short Loop and Scan.

    A loop is short if unrolled it has no more operators than before, where those do not count that
    fold once the number of the iteration is known. When compiling, longer loops are unrolled as
    well, and an If whose condition is only known at run time is replaced by both branches and a
    Where, if their results have one shape and the branches are small.

    Before:
        y = If(true) {then: Relu(x); else: Exp(x)}     z = Loop(2, x) {v: Mul(v, v)}

    After:
        y = Relu(x)                                    z = Mul(Mul(x, x), Mul(x, x))
    """

    name: ClassVar[str] = "inline-control-flow"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    max_iterations: int = 64
    """A loop with more iterations stays."""
    max_nodes: int = 4096
    """A loop that would leave more nodes than this stays."""
    max_nodes_left: int | None = None
    """A loop stays that would leave more nodes which cannot be folded; None means as many as it has
    itself, and any number when compiling, where iterations cost more than code does."""
    both_branches: bool | None = None
    """Compute both branches of an If with an unknown condition; None means when compiling."""

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Inline from the inside out: what a body holds is simple by the time it is copied."""
        result = RewriteResult()
        if not context.may_meet(("If", "Loop", "Scan")):
            return result
        rewriter = Rewriter(graph)
        for node in list(_inside_out(graph)):
            rewriter.anchor, rewriter.provenance = node, node.provenance
            reason = self._inline(rewriter, node, context)
            if reason is None:
                result.fired.append(Firing(f"inline-{node.op_type.lower()}", node.provenance))
                continue
            if node.op_type != "If" and reason.endswith(STAYS):
                name = node.name or "(unnamed)"
                result.notes.append(f"{node.op_type} {name} stays: {reason}")
            if context.explain:
                missed = f"inline-{node.op_type.lower()}"
                result.missed.append(NearMiss(missed, reason, node.provenance))
        result.edits = rewriter.edits
        return result

    def _inline(self, rewriter: Rewriter, node: OperatorNode, context: PassContext) -> str | None:
        """Inline ``node``; the reason if it stays."""
        if node.op_type == "If":
            both = self.both_branches
            return _inline_if(rewriter, node, context.target is not None if both is None else both)
        plan = _plan_loop(node) if node.op_type == "Loop" else _plan_scan(node)
        if isinstance(plan, Miss):
            return plan.reason
        body = sum(1 for _ in node.subgraphs["body"].walk())
        if plan > self.max_iterations:
            return f"{plan} iterations are more than max_iterations={self.max_iterations}"
        if plan * body > self.max_nodes:
            return f"unrolled it has {plan * body} nodes, more than max_nodes={self.max_nodes}"
        if context.target is None or self.max_nodes_left is not None:
            left, limit = count_unrolled(node, plan), self.max_nodes_left
            if limit is None:
                limit = 1 + body
            if left > limit:
                return f"unrolled it would leave {left} nodes, more than {limit}{STAYS}"
        unroll = _unroll_loop if node.op_type == "Loop" else _unroll_scan
        unroll(rewriter, node, plan)
        return None


def _inside_out(graph: Graph) -> Iterator[OperatorNode]:
    for node in graph:
        for body in node.subgraphs.values():
            yield from _inside_out(body)
        if node.is_op("If", "Loop", "Scan"):
            yield node


def _finish(rewriter: Rewriter, node: OperatorNode, results: list[VariableNode]) -> None:
    for value, result in zip(node.outputs, results, strict=True):
        if value.uses:
            rewriter.replace(value, result)
    rewriter.erase(node)


def _inline_if(rewriter: Rewriter, node: OperatorNode, both: bool) -> str | None:
    condition = node.constant_input(0)
    if condition is not None or _same_branches(node):
        either = condition is None or condition.numpy().reshape(-1)[0]
        taken = "then_branch" if either else "else_branch"
        _finish(rewriter, node, list(rewriter.splice(node.subgraphs[taken], node)))
        return None
    if not both:
        return "its condition is only known when the model runs"
    reason = _why_not_both(node)
    if reason is None:
        _select(rewriter, node)
    return reason


def _same_branches(node: OperatorNode) -> bool:
    """Whether it does not matter which branch of an If is taken."""
    first, second = node.subgraphs["then_branch"], node.subgraphs["else_branch"]
    if len(first) != len(second):
        return False
    identities = Identities()
    key = identities.body(first)
    return key is not None and key == identities.body(second)


def _why_not_both(node: OperatorNode) -> str | None:
    """Why computing both branches of an If is not an option."""
    bodies = list(node.subgraphs.values())
    inner = [each for body in bodies for each in body.walk()]
    if len(inner) > SELECTABLE:
        return f"its branches have {len(inner)} nodes, too many to compute both"
    if any(is_random(each) or each.op_type == "Loop" for each in inner):
        return "a branch is random or loops"
    for first, second in zip(bodies[0].outputs, bodies[1].outputs, strict=True):
        if first.onnx_type is not None or second.onnx_type is not None:
            return "a result is no tensor"
        if first.static_shape is None or first.static_shape != second.static_shape:
            return "its branches give results of different or unknown shapes"
        if first.dtype is not second.dtype:
            return "its branches give results of different types"
    return None


def _select(rewriter: Rewriter, node: OperatorNode) -> None:
    condition = node.inputs[0]
    assert condition is not None
    if condition.shape != ():
        # One element of any rank is a legal condition; Where would broadcast it.
        empty = rewriter.constant(np.array([], np.int64))
        condition = rewriter.op("Reshape", [condition, empty])
        condition.dtype, condition.shape = node.inputs[0].dtype, ()  # type: ignore[union-attr]
    chosen = rewriter.splice(node.subgraphs["then_branch"], node)
    other = rewriter.splice(node.subgraphs["else_branch"], node)
    results = [
        rewriter.op("Where", [condition, a, b], like=a) for a, b in zip(chosen, other, strict=True)
    ]
    _finish(rewriter, node, results)


def _plan_loop(node: OperatorNode) -> int | Miss:
    """How often a Loop runs."""
    count, start = node.input(0), node.input(1)
    if start is not None and start.constant is not None and not start.constant.numpy().any():
        return 0 if _stacked_count(node) == 0 else Miss("it never runs but stacks results")
    if start is not None and start.constant is None:
        return Miss("whether it starts is only known when the model runs")
    if count is None or count.constant is None:
        return Miss("how often it runs is only known when the model runs")
    body = node.subgraphs["body"]
    proceed = body.outputs[0]
    while proceed.producer is not None and proceed.producer.is_op("Identity"):
        proceed = proceed.producer.inputs[0] or proceed
    always = proceed is body.inputs[1] or (
        proceed.constant is not None and bool(proceed.constant.numpy().all())
    )
    if not always:
        return Miss("its body decides when it ends")
    times = max(0, int(count.constant.numpy().reshape(-1)[0]))
    if times == 0 and _stacked_count(node):
        return Miss("it never runs but stacks results")
    return times


def _stacked_count(node: OperatorNode) -> int:
    """How many results of a Loop are stacked over its iterations."""
    return len(node.outputs) - (len(node.inputs) - 2)


def _unroll_loop(rewriter: Rewriter, node: OperatorNode, times: int) -> None:
    carried = list(node.inputs[2:])
    stacks: list[list[VariableNode]] = [[] for _ in range(_stacked_count(node))]
    truth = rewriter.constant(np.array(True))
    for iteration in range(times):
        body, _ = clone(node.subgraphs["body"])
        shape = body.inputs[0].static_shape or ()
        number = rewriter.constant(np.full(shape, iteration, np.int64))
        results = rewriter.splice(body, node, [number, truth, *carried])
        carried = list(results[1 : 1 + len(carried)])
        for stack, value in zip(stacks, results[1 + len(carried) :], strict=True):
            stack.append(value)
    joined = [_stack(rewriter, stack, 0) for stack in stacks]
    _finish(rewriter, node, [*(v for v in carried if v is not None), *joined])


def _stack(rewriter: Rewriter, values: list[VariableNode], axis: int) -> VariableNode:
    """``values`` side by side along a new axis."""
    rows = []
    for value in values:
        if rewriter.graph.opset < 13:
            row = rewriter.op("Unsqueeze", [value], {"axes": (axis,)})
        else:
            axes = rewriter.constant(np.array([axis], np.int64))
            row = rewriter.op("Unsqueeze", [value, axes])
        row.dtype = value.dtype
        rows.append(row)
    result = rewriter.op("Concat", rows, {"axis": axis})
    result.dtype = values[0].dtype
    return result


def _plan_scan(node: OperatorNode) -> int | Miss:
    """How often a Scan runs: the size of the axis that it walks along."""
    graph = node.graph
    assert graph is not None
    if graph.opset < 13:
        return Miss("it is written in an opset before 13: use --opset")
    scanned = int(node.attribute("num_scan_inputs"))
    first = len(node.inputs) - scanned
    axes = node.attribute("scan_input_axes") or (0,) * scanned
    source = node.inputs[first]
    shape = None if source is None else source.shape
    length = None if shape is None else shape[axes[0]]
    if not isinstance(length, int):
        return Miss("how often it runs is not known: give --input-shape")
    return length if length else Miss("it runs over nothing")


def _unroll_scan(rewriter: Rewriter, node: OperatorNode, times: int) -> None:
    scanned = int(node.attribute("num_scan_inputs"))
    first = len(node.inputs) - scanned
    carried = list(node.inputs[:first])
    stacked = len(node.outputs) - first
    axes = node.attribute("scan_input_axes") or (0,) * scanned
    backwards = node.attribute("scan_input_directions") or (0,) * scanned
    stacks: list[list[VariableNode]] = [[] for _ in range(stacked)]
    for iteration in range(times):
        body, _ = clone(node.subgraphs["body"])
        rows = []
        for source, axis, reverse in zip(node.inputs[first:], axes, backwards, strict=True):
            index = rewriter.constant(np.array(times - 1 - iteration if reverse else iteration))
            row = rewriter.op("Gather", [source, index], {"axis": axis})
            row.dtype = source.dtype if source is not None else row.dtype
            rows.append(row)
        results = rewriter.splice(body, node, [*carried, *rows])
        carried = list(results[:first])
        for stack, value in zip(stacks, results[first:], strict=True):
            stack.append(value)
    out_axes = node.attribute("scan_output_axes") or (0,) * stacked
    reversals = node.attribute("scan_output_directions") or (0,) * stacked
    joined = [
        _stack(rewriter, stack[::-1] if reverse else stack, axis)
        for stack, axis, reverse in zip(stacks, out_axes, reversals, strict=True)
    ]
    _finish(rewriter, node, [*(v for v in carried if v is not None), *joined])
