"""The graph before and after in the document: operators, what fired where, and what nearly did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from burnish.analysis.cost import node_flops
from burnish.bench.document import Fired, Node
from burnish.explanation import Filter, explain_model
from burnish.ir import Graph, VariableNode
from burnish.optimization import infer
from burnish.pipeline import Pass, PassContext


@dataclass(frozen=True)
class GraphParts:
    """Parts of the document."""

    before: list[Node]
    after: list[Node]
    fired: list[Fired]
    missed: list[Fired]


def graph_parts(
    graph: Graph, result: Graph | None, steps: Sequence[Pass], context: PassContext, *, settle: bool
) -> GraphParts:
    """Describe a model, what ``steps`` make of it, and why.

    Args:
        graph: the model.
        result: what the steps made of it; None to find out.
        steps: the passes.
        context: what they consult.
        settle: whether they run until none changes anything.
    """
    found = explain_model(
        graph, steps, context.target, settle=settle, calibration=context.calibration
    )
    parts = Filter().apply(found)
    fired = [
        Fired(pass_name=part.name, rule=each.rule, sources=list(each.provenance))
        for part in parts
        for each in part.fired
    ]
    missed = [
        Fired(pass_name=part.name, rule=each.rule, sources=list(each.provenance),
              reason=each.reason)
        for part in parts
        for each in part.missed
    ]  # fmt: skip
    return GraphParts(nodes(graph), nodes(result or found.result), fired, missed)


def nodes(graph: Graph) -> list[Node]:
    """Operator nodes of the main graph in order, their bodies left out."""
    known = infer(graph)
    names: dict[VariableNode, str] = {}
    read: set[VariableNode] = set()
    found = []
    for number, node in enumerate(known):
        fresh = {value for value in node.inputs if value and value.constant} - read
        read |= fresh
        flops = node_flops(node)
        found.append(
            Node(
                name=node.name or f"{node.op_type}-{number}",
                op_type=f"{node.domain}:{node.op_type}" if node.domain else node.op_type,
                inputs=[_name(v, names) for v in node.inputs if v and v.constant is None],
                outputs=[_name(v, names) for v in node.outputs],
                constant_bytes=sum(v.constant.nbytes for v in fresh if v.constant is not None),
                flops=None if flops is None else float(flops),
                sources=list(node.provenance),
            )
        )
    return found


def _name(value: VariableNode, names: dict[VariableNode, str]) -> str:
    """The name of a value, made up where it has none."""
    return names.setdefault(value, value.name or f"%{len(names)}")
