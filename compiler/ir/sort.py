"""Topological order, stable: nodes move only as far as they must."""

from __future__ import annotations

import heapq

from burnish.errors import InvalidInput
from burnish.ir.clone import values_read
from burnish.ir.graph import Graph, OperatorNode


def sort(graph: Graph) -> None:
    """Put the nodes of ``graph``, and of its subgraphs, behind those they depend on.

    Raises:
        InvalidInput: the nodes depend on each other in a circle.
    """
    for inner in graph.graphs():
        _sort_one(inner)


def _sort_one(graph: Graph) -> None:
    nodes = list(graph)
    position = {node: index for index, node in enumerate(nodes)}
    followers: dict[OperatorNode, list[OperatorNode]] = {node: [] for node in nodes}
    waiting: dict[OperatorNode, int] = {}
    for node in nodes:
        needed = {v.producer for v in values_read(node) if v.producer in position}
        waiting[node] = len(needed)
        for producer in needed:
            assert producer is not None
            followers[producer].append(node)
    ready = [position[node] for node in nodes if not waiting[node]]
    heapq.heapify(ready)
    order: list[OperatorNode] = []
    while ready:
        node = nodes[heapq.heappop(ready)]
        order.append(node)
        for follower in followers[node]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(ready, position[follower])
    if len(order) < len(nodes):
        stuck = next(node for node in nodes if waiting[node])
        raise InvalidInput(
            f"graph {graph.name!r} has a cycle through or before node {stuck.name!r}"
        )
    if order != nodes:
        for node in nodes:
            graph.unlink(node)
        for node in order:
            graph.append(node)
