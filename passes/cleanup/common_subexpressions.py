"""Compute equal things once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import ClassVar

from burnish.ir import Attribute, Constant, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.fold_constants import RANDOM
from burnish.passes.cleanup.remove_no_ops import can_stand_in
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Rewriter, RewriteResult

ORDERLESS = frozenset({"Add", "And", "Equal", "Mul", "Or", "Xor"})
"""Operators whose two operands may be exchanged without changing a bit."""


@dataclass(frozen=True)
class CommonSubexpressions(Pass):
    """Merge nodes that apply the same operator to the same values, and equal constants.

    A node in a subgraph may be merged into one that comes before the subgraph's owner, never the
    other way round.

    Before:
        a = Exp(x); b = Exp(x); y = Mul(a, b)

    After:
        a = Exp(x); y = Mul(a, a)
    """

    name: ClassVar[str] = "common-subexpressions"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    max_constant_bytes: int = 1 << 20
    """Constants above this are only equal if they are the same object; they are not read."""

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Merge in one walk in order."""
        merger = _Merger(Rewriter(graph), self.max_constant_bytes)
        merger.walk(graph, {})
        result = merger.result
        result.edits = merger.rewriter.edits
        return result


@dataclass(eq=False)
class _Merger:
    rewriter: Rewriter
    max_constant_bytes: int
    constants: dict[Hashable, VariableNode] = field(default_factory=dict)
    result: RewriteResult = field(default_factory=RewriteResult)

    def walk(self, graph: Graph, outer: dict[Hashable, OperatorNode]) -> None:
        """Merge the nodes of ``graph``, given those that are computed before it starts."""
        # A copy: what a branch computes is not computed outside it.
        seen = dict(outer)
        for node in graph:
            self._share_constants(node)
            if node.subgraphs:
                for body in node.subgraphs.values():
                    self.walk(body, seen)
                continue
            if node.op_type in RANDOM or (node.op_type == "Dropout" and node.input(2) is not None):
                continue
            first = seen.setdefault(self._key(node), node)
            if first is not node and self._allowed(first, node):
                self._merge(first, node)

    def _share_constants(self, node: OperatorNode) -> None:
        for index, value in enumerate(node.inputs):
            if value is None or value.constant is None:
                continue
            shared = self.constants.setdefault(self._constant_key(value.constant), value)
            if shared is not value:
                self.rewriter.set_input(node, index, shared)

    def _constant_key(self, constant: Constant) -> Hashable:
        if constant.nbytes > self.max_constant_bytes:
            return id(constant)
        return (constant.dtype, constant.shape, constant.digest())

    def _key(self, node: OperatorNode) -> Hashable:
        inputs = [0 if value is None else id(value) for value in node.inputs]
        if node.op_type in ORDERLESS and node.domain == "":
            inputs.sort()
        attributes = tuple(
            sorted((name, self._attribute_key(value)) for name, value in node.attributes.items())
        )
        kind = (node.domain, node.op_type, node.overload)
        return (kind, len(node.outputs), tuple(inputs), attributes)

    def _attribute_key(self, value: Attribute) -> str:
        if isinstance(value, Constant):
            return str(self._constant_key(value))
        if hasattr(value, "SerializeToString"):
            return repr(value.SerializeToString(deterministic=True))
        return repr(value)

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
