"""Erases what a rewrite left behind."""

from __future__ import annotations

from collections.abc import Iterable

from burnish.ir import OperatorNode, VariableNode
from burnish.rewrite import Rewriter


def producers(values: Iterable[VariableNode | None]) -> list[OperatorNode]:
    """The nodes that compute ``values``, each once."""
    nodes = [value.producer for value in values if value is not None]
    return list(dict.fromkeys(node for node in nodes if node is not None))


def erase_dead(rewriter: Rewriter, nodes: Iterable[OperatorNode]) -> None:
    """Erase those of ``nodes`` that nobody reads any more, then what only they read."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if node.graph is None or any(value.uses for value in node.outputs):
            continue
        pending += producers(node.inputs)
        rewriter.erase(node)
