"""Residual blocks: what is computed of a value and added to it, as a whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from burnish.analysis.axis_graph import AxisGraph
from burnish.analysis.symmetry import NORMS
from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.ir.clone import values_read
from burnish.passes.folding.redundancy import PRODUCTS
from burnish.passes.quantization.weighted import layer_name

BLOCKS = "blocks"
"""What a unit of it is: nothing but the whole."""
_OF_BLOCKS = ":block"
"""Behind the name of the sum."""


@dataclass(frozen=True, eq=False)
class Block:
    """``s + f(s)``, of which ``f`` can go; nothing else reads what it computes."""

    name: str
    sum: OperatorNode
    place: int
    """Which input of the sum ``f(s)`` is."""
    axis: int
    """Along which the channels of ``f(s)`` lie."""
    nodes: frozenset[OperatorNode]
    """That compute ``f``."""

    @property
    def layer(self) -> str:
        """What the model calls the sum."""
        return self.name.removesuffix(_OF_BLOCKS)

    @property
    def result(self) -> VariableNode:
        """What is added: ``f(s)``."""
        value = self.sum.input(self.place)
        assert value is not None
        return value


def blocks(graph: Graph, axes: AxisGraph) -> list[Block]:
    """The residual blocks of a graph in its order; those within others, too.

    Args:
        graph: with shapes.
        axes: its axis graph.
    """
    found = []
    names: Counter[str] = Counter()
    for node in graph:
        if not node.is_op("Add"):
            continue
        place = next((place for place in (0, 1) if _is_residual(node, place)), None)
        sites = () if place is None else axes.sites.sites(node.input(place))
        if place is None or len(sites) != 1 or len(sites[0].axes) != 1:
            continue
        name = layer_name(node)
        names[name] += 1
        number = f":{names[name]}" if names[name] > 1 else ""
        nodes = frozenset(_branch(node, place))
        found.append(Block(name + number + _OF_BLOCKS, node, place, sites[0].axes[0], nodes))
    return found


def _is_residual(node: OperatorNode, place: int) -> bool:
    """Whether an input of a sum has weights of its own, and is computed of the other input."""
    result, stream = node.input(place), node.input(1 - place)
    assert result is not None
    assert stream is not None
    if stream.is_constant or result.shape is None or result.shape != stream.shape:
        return False
    branch = _branch(node, place)
    if not any(each.is_op(*PRODUCTS) for each in branch):
        return False
    read = {value for each in branch for value in values_read(each)}
    return stream in read or any(
        value.producer is not None
        and value.producer.is_op(*NORMS)
        and value.producer.input(0) is stream
        for value in read
    )


def _branch(node: OperatorNode, place: int) -> set[OperatorNode]:
    """Nodes that are there for one input of ``node`` alone."""
    found: set[OperatorNode] = set()
    result = node.input(place)
    assert result is not None
    pending = [result]
    while pending:
        maker = pending.pop().producer
        if maker is None or maker in found or maker.graph is not node.graph:
            continue
        uses = [use for value in maker.outputs for use in value.uses]
        # What has readers that are not known yet is met again when they are.
        if all(use.user in found or (use.user, use.index) == (node, place) for use in uses):
            found.add(maker)
            pending += values_read(maker)
    return found
