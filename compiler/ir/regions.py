"""Regions: operators merged into one node that is handed to an engine as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from burnish.ir.clone import clone
from burnish.ir.graph import (
    REGION_DOMAIN,
    Attribute,
    Graph,
    OperatorNode,
    Use,
    VariableNode,
)

BODY = "body"
"""Name of the subgraph that holds a region's operators."""


def outline(
    graph: Graph,
    nodes: Sequence[OperatorNode],
    op_type: str,
    inputs: Sequence[VariableNode],
    outputs: Sequence[VariableNode],
    attributes: Mapping[str, Attribute] | None = None,
) -> OperatorNode:
    """Move ``nodes`` into the body of one new node, which takes their place.

    Before:
        x -> Add -> Erf -> y
    After:
        x -> burnish.region::op_type { Add -> Erf } -> y

    Args:
        graph: the graph that holds ``nodes``.
        nodes: in order; no path between two of them may leave the set.
        op_type: name of the merged operator.
        inputs: values from outside that the nodes read, and that become inputs of the new node.
            Constants may be listed or stay inside; any other value left out is captured.
        outputs: values made by ``nodes`` that are used outside.
        attributes: of the new node.

    Raises:
        ValueError: a value used outside is not among ``outputs``.
    """
    inside = set(nodes)
    returned = set(outputs)
    for node in nodes:
        for value in node.outputs:
            if value not in returned and any(not _within(use, inside) for use in value.uses):
                raise ValueError(f"{value.name!r} is used outside the region but not returned")
    body = Graph(op_type.lower(), inputs=[_like(value) for value in inputs])
    region = OperatorNode(
        op_type, inputs, (), attributes, domain=REGION_DOMAIN, name=nodes[-1].name,
        provenance=tuple(dict.fromkeys(name for node in nodes for name in node.provenance)),
    )  # fmt: skip
    graph.insert_after(nodes[-1], region)
    for node in nodes:
        graph.unlink(node)
        body.append(node)
    for outer, inner in zip(inputs, body.inputs, strict=True):
        _redirect(outer, inner, [use for use in outer.uses if _within(use, inside)])
    results = [_like(value) for value in outputs]
    for value, result in zip(outputs, results, strict=True):
        outside = [use for use in value.uses if not _within(use, inside)]
        _redirect(value, result, outside)
    body.outputs = outputs
    region.outputs = tuple(results)
    region.add_subgraph(BODY, body)
    return region


def expand(graph: Graph) -> None:
    """Put the operators of every region, here and in subgraphs, back in its place."""
    for inner in list(graph.graphs()):
        for node in inner:
            if node.is_region:
                _expand_one(node)
    if any(node.is_region for node in graph.walk()):
        expand(graph)


def expanded(graph: Graph) -> Graph:
    """``graph`` itself if it has no regions, else a copy without them."""
    if not any(node.is_region for node in graph.walk()):
        return graph
    copy, _ = clone(graph)
    expand(copy)
    return copy


def _expand_one(region: OperatorNode) -> None:
    graph, body = region.graph, region.subgraphs[BODY]
    assert graph is not None
    for inner, outer in zip(body.inputs, region.inputs, strict=True):
        if outer is not None:
            _redirect(inner, outer, list(inner.uses))
    for result, value in zip(region.outputs, body.outputs, strict=True):
        _redirect(result, value, list(result.uses))
        # The name that the rest of the graph knew it by is the one worth keeping.
        if value.producer is not None and value.producer.graph is body and result.name:
            value.name = result.name
    body.outputs = ()
    for node in list(body):
        body.unlink(node)
        graph.insert_before(region, node)
    region.subgraphs.clear()
    graph.remove(region)


def _within(use: Use, nodes: set[OperatorNode]) -> bool:
    """Whether ``use`` is by one of ``nodes`` or inside a subgraph of one."""
    user: OperatorNode | Graph | None = use.user
    while user is not None:
        if isinstance(user, OperatorNode):
            if user in nodes:
                return True
            user = user.graph
        else:
            user = user.owner
    return False


def _redirect(old: VariableNode, new: VariableNode, uses: Sequence[Use]) -> None:
    """Make ``uses`` of ``old`` read ``new``."""
    for use in uses:
        if isinstance(use.user, OperatorNode):
            use.user.replace_input(use.index, new)
        else:
            use.user.replace_output(use.index, new)


def _like(value: VariableNode) -> VariableNode:
    """A value of the same type that nothing makes or reads."""
    copy = VariableNode(value.name, value.dtype, value.shape)
    copy.onnx_type = value.onnx_type
    return copy
