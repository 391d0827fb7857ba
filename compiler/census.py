"""What passes and reports ask about a whole graph, counted in one walk."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from burnish.ir import REGION_DOMAIN, Graph
from burnish.rewrite import Kind


@dataclass(frozen=True, slots=True)
class Census:
    """What passes ask about a whole graph, counted in one walk."""

    operators: int
    """As ``count_operators`` counts them."""
    kinds: frozenset[Kind]

    @classmethod
    def of(cls, graph: Graph) -> Census:
        """Count ``graph`` and its subgraphs."""
        counts = Counter((node.domain, node.op_type) for node in graph.walk())
        regions = sum(count for (domain, _), count in counts.items() if domain == REGION_DOMAIN)
        return cls(counts.total() - regions, frozenset(counts))


def count_operators(graph: Graph) -> int:
    """Operators of ``graph`` and its subgraphs; a region counts as what it stands for."""
    return sum(1 for node in graph.walk() if not node.is_region)
