"""Computes shapes that have to be computed in as few steps as that takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from burnish.analysis import Inference, infer
from burnish.analysis.sizes import Amount
from burnish.analysis.values import sizes
from burnish.ir import DType, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.shape_builder import Blueprint, Numbers, ShapeBuilder, Step
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Rewriter, RewriteResult


@dataclass(frozen=True)
class RebuildShapes(Pass):
    """Compute shapes from the first values that have the sizes in question.

    Sizes that are in a row in a shape are taken as a whole, and each is taken once. Done where
    fewer operators are left then.

    Before:
        n = Gather(Shape(Relu(x)), 0)                               x: float[batch, 64]
        y = Expand(z, Concat(Unsqueeze(n), Unsqueeze(Gather(Shape(x), 1)), [1]))

    After:
        y = Expand(z, Concat(Shape(x), [1]))
    """

    name: ClassVar[str] = "rebuild-shapes"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Look at every connected part that computes shapes, once."""
        result = RewriteResult()
        if not any(node.is_op("Shape") for node in graph):
            return result
        rewriter = Rewriter(graph)
        inference = infer(graph, name_unknown=True)
        builder = ShapeBuilder(inference, rewriter)
        for part in _parts(inference):
            _rebuild(part, builder, result)
        result.edits = rewriter.edits
        return result


def _computes_shapes(inference: Inference, node: OperatorNode) -> bool:
    """Whether ``node`` makes small integers that are known in terms of sizes."""
    if node.domain != "" or node.subgraphs or len(node.outputs) != 1:
        return False
    value = node.output
    kind = inference.type_of(value)
    known = inference.value_of(value)
    return known is not None and known.ndim <= 1 and kind.dtype is DType.INT64


@dataclass(frozen=True)
class Part:
    """Connected nodes that compute shapes, in order, and the shapes that others read."""

    nodes: list[OperatorNode]
    wanted: list[VariableNode]


def _parts(inference: Inference) -> list[Part]:
    """The connected parts of the main graph that compute shapes and can be replaced."""
    graph = inference.graph
    members = {node: None for node in graph if _computes_shapes(inference, node)}
    kept: set[OperatorNode] = set()
    for node in reversed(members):
        readers = [use.user for use in node.output.uses]
        unknown = _amounts(inference, node.output) is None
        if any(r in kept for r in readers if isinstance(r, OperatorNode)) or (
            unknown and any(r not in members for r in readers)
        ):  # fmt: skip
            kept.add(node)
    free = {node: None for node in members if node not in kept}
    groups = _connected(free)
    return [
        Part(nodes, [n.output for n in nodes if any(u.user not in free for u in n.output.uses)])
        for nodes in groups
    ]


def _connected(nodes: Iterable[OperatorNode]) -> list[list[OperatorNode]]:
    """``nodes`` by what they read of each other, in order."""
    leader: dict[OperatorNode, OperatorNode] = {}

    def find(node: OperatorNode) -> OperatorNode:
        while leader[node] is not node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    for node in nodes:
        leader[node] = node
        for value in node.inputs:
            source = None if value is None else value.producer
            if source is not None and source in leader:
                leader[find(source)] = node
    groups: dict[OperatorNode, list[OperatorNode]] = {}
    for node in leader:
        groups.setdefault(find(node), []).append(node)
    return list(groups.values())


def _amounts(inference: Inference, value: VariableNode) -> list[Amount] | None:
    """The elements of ``value`` if all are known in terms of sizes."""
    known = inference.value_of(value)
    found = None if known is None else sizes(known)
    return None if found is None or None in found else found


def _rebuild(part: Part, builder: ShapeBuilder, result: RewriteResult) -> None:
    plan = Blueprint()
    inference, rewriter = builder.inference, builder.rewriter
    for value in part.wanted:
        found = _amounts(inference, value)
        if found is None or not builder.plan(plan, value, found):
            return
    # A graph output that is a constant or another output takes an Identity.
    returned: list[Step] = [step for step, made in builder.built.items() if made.is_graph_output]
    named = 0
    for value, step in zip(part.wanted, plan.wanted, strict=True):
        if value.is_graph_output:
            named += isinstance(step, Numbers) or step in returned
            returned.append(step)
    if not part.wanted or len(plan.steps) + named >= len(part.nodes):
        return
    names = tuple(dict.fromkeys(name for node in part.nodes for name in node.provenance))
    rewriter.provenance = names
    for value, step in zip(part.wanted, plan.wanted, strict=True):
        rewriter.replace(value, builder.build(step))
    result.fired.append(Firing(RebuildShapes.name, names))
    rewriter.erase_unused(part.nodes)
