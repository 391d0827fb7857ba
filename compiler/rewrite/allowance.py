"""How many more times rules may be applied: what a search for one application among many sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from burnish.ir import Graph, OperatorNode
from burnish.ir.clone import CloneMap, clone


@dataclass(eq=False)
class Allowance:
    """Lets rules be applied ``count`` times in all, and remembers where the last time was."""

    count: int
    keep: bool = False
    """Copy the graph as it is right before the last application."""
    used: int = 0
    """Applications so far."""
    rule: str = ""
    """The rule that was looked at last; if a rule raises, it is the one."""
    before: Graph | None = None
    """With ``keep``, the graph before the last application."""
    place: list[OperatorNode] = field(default_factory=list)
    """With ``keep``, the nodes of ``before`` that the last application is to replace."""
    _made: CloneMap | None = field(default=None, repr=False)

    def admits(self, graph: Graph, nodes: Sequence[OperatorNode]) -> bool:
        """Whether one more application, to ``nodes`` of ``graph``, is allowed."""
        if self.used >= self.count:
            return False
        if self.keep and self.used == self.count - 1:
            # A rule that is admitted need not change anything; then the copy is still good.
            if self._made is None:
                self.before, self._made = clone(graph)
            self.place = [self._made.nodes[node] for node in nodes]
        return True
