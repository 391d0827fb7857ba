"""Store large weights that are read once per run as bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from burnish.ir import DType, Graph, OperatorNode
from burnish.numerics import Numerics
from burnish.passes.precision.rounding import Rounder
from burnish.passes.precision.sites import sites
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Rewriter, RewriteResult

MOST_ROWS = 16
"""Rows up to which reading a weight takes longer than multiplying by it."""
FEWEST_BYTES = 1 << 14
"""Size below which weights stay in a cache anyway."""


@dataclass(frozen=True)
class NarrowWeights(Pass):
    """Round weights to bfloat16 where reading them is what takes time: half as much is read then.

    Those of products and convolutions of few rows, and tables that rows are gathered from. Kernels
    widen them as they read them, so that everything is computed in float32.

    Before:
        y = MatMul(x: float[1, 512], w)

    After:
        y = MatMul(x: float[1, 512], nearest bfloat16 of w)
    """

    keep: tuple[str, ...] = ()
    """Names of operators whose weights to leave as they are, as the model calls them."""
    fewest_bytes: int = FEWEST_BYTES
    """Size below which weights are left as they are."""

    name: ClassVar[str] = "narrow-weights"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Round the weights of every operator that gains by it."""
        rewriter, result = Rewriter(graph), RewriteResult()
        rounder = Rounder(rewriter)
        for node, index in _readers(graph, self.fewest_bytes):
            if any(name in self.keep for name in node.provenance):
                continue
            if rounder.constant(node, index):
                result.fired.append(Firing(self.name, node.provenance))
        result.edits = rewriter.edits
        return result


def _readers(graph: Graph, fewest: int) -> Iterator[tuple[OperatorNode, int]]:
    """Operators of the main graph, and which of their inputs is such a weight."""
    for site in list(sites(graph)):
        if site.rows <= MOST_ROWS and site.weights.nbytes >= fewest:
            yield site.node, 1
    for node in graph:
        table = node.constant_input(0) if node.is_op("Gather") else None
        if table is not None and table.dtype is DType.FLOAT and table.nbytes >= fewest:
            yield node, 0
