"""Compute equal things once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import ClassVar

from burnish.analysis.identity import Identities
from burnish.ir import Constant, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.remove_no_ops import can_stand_in
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Rewriter, RewriteResult

LARGEST = 24
"""Operators with more nodes in their subgraphs are not compared: that would be done at each level
of nesting again."""


@dataclass(frozen=True)
class CommonSubexpressions(Pass):
    """Merge nodes that apply the same operator to the same values, and equal constants.

    A node in a subgraph may be merged into one that comes before the subgraph's owner, never the
    other way round. If, Loop and Scan are equal where their subgraphs are. Constants are read only
    where others have their type and shape.

    Before:
        a = Exp(x); b = Exp(x); y = Mul(a, b)

    After:
        a = Exp(x); y = Mul(a, a)
    """

    name: ClassVar[str] = "common-subexpressions"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Merge in one walk in order."""
        merger = _Merger(Rewriter(graph))
        merger.walk(graph)
        result = merger.result
        result.edits = merger.rewriter.edits
        return result


@dataclass(eq=False)
class _Merger:
    rewriter: Rewriter
    identities: Identities = field(default_factory=Identities)
    constants: dict[Constant, VariableNode] = field(default_factory=dict)
    """The value that stands for all constants equal to one."""
    seen: dict[Hashable, OperatorNode] = field(default_factory=dict)
    """What has been computed by the time that the node at hand runs."""
    result: RewriteResult = field(default_factory=RewriteResult)

    def walk(self, graph: Graph) -> int:
        """Merge the nodes of ``graph``, given those that are computed before it starts.

        Returns how many nodes were looked at, those of subgraphs included.
        """
        here: list[Hashable] = []
        count = 0
        for node in graph:
            self._share_constants(node)
            size = 1 + sum(self.walk(body) for body in node.subgraphs.values())
            count += size
            key = self.identities.node(node) if size <= LARGEST else None
            if key is None:
                continue
            first = self.seen.setdefault(key, node)
            if first is node:
                here.append(key)
            elif self._allowed(first, node):
                self._merge(first, node)
        for key in here:
            # What a branch computes is not computed outside it.
            del self.seen[key]
        return count

    def _share_constants(self, node: OperatorNode) -> None:
        for index, value in enumerate(node.inputs):
            if value is None or value.constant is None:
                continue
            shared = self.constants.setdefault(self.identities.constant(value.constant), value)
            if shared is not value:
                self.rewriter.set_input(node, index, shared)

    def _allowed(self, first: OperatorNode, node: OperatorNode) -> bool:
        """Whether no Identity that keeps a graph output's name would be merged again."""
        if not node.is_op("Identity"):
            return True
        pairs = zip(first.outputs, node.outputs, strict=True)
        return all(can_stand_in(kept, value) for kept, value in pairs)

    def _merge(self, first: OperatorNode, node: OperatorNode) -> None:
        self.rewriter.provenance = node.provenance
        self.result.fired.append(Firing("merge-equal-nodes", node.provenance))
        for kept, value in zip(first.outputs, node.outputs, strict=True):
            if value.uses:
                self.rewriter.replace(value, kept)
        self.rewriter.adopt(first, [node])
        self.rewriter.erase(node)
