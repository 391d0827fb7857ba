"""Many selections of the same passes, run so that what they have in common is done once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from burnish.errors import BurnishError
from burnish.ir import Graph
from burnish.ir.printer import to_text
from burnish.pipeline import MAX_ROUNDS, Pass, PassContext, copy_of, run_pass

KEPT_BYTES = 1 << 29
"""Memory that intermediate graphs may take before the oldest are dropped and made again."""
NODE_BYTES = 1 << 13
"""What an operator node with its values takes, more or less."""


def digest(graph: Graph) -> str:
    """A hash of what ``graph`` computes: its text and its weights, without names."""
    found = hashlib.sha256(to_text(graph).encode())
    for value in graph.constants():
        if value.constant is not None:
            found.update(value.constant.fingerprint())
    return found.hexdigest()


@dataclass(frozen=True)
class Origin:
    """How a graph was first arrived at."""

    parent: str
    step: Pass


@dataclass
class Ladder:
    """Rewritten forms of one model, by digest; passes lead from one to the next.

    A pass is run once on each form: that it leads to the same form again is known then, as it is
    where pipelines meet that differ in passes without effect.
    """

    original: Graph
    context: PassContext
    settle: bool = False
    """Whether pipelines are run until no pass changes anything."""
    undone: dict[str, str] = field(default_factory=dict)
    """Passes that crashed somewhere, and how; they count as changing nothing there."""

    def __post_init__(self) -> None:
        self.root = digest(self.original)
        self._origins: dict[str, Origin] = {}
        self._known: dict[tuple[str, int], str] = {}
        self._numbered: list[Pass] = []
        self._graphs: OrderedDict[str, Graph] = OrderedDict()
        self._costs: dict[str, int] = {}
        self._own = {id(value.constant) for value in self.original.constants()}

    def climb(self, steps: Sequence[Pass]) -> str:
        """Run a pipeline from the original; return the digest of what it leads to.

        Raises:
            BurnishError: a pass refuses the graph.
        """
        numbered = [(self._number(step), step) for step in steps]
        form = self.root
        for _ in range(MAX_ROUNDS if self.settle else 1):
            before = form
            for number, step in numbered:
                key = (form, number)
                if key not in self._known:
                    self._known[key] = self._apply(form, step)
                form = self._known[key]
            if form == before:
                break
        return form

    def graph(self, form: str) -> Graph:
        """The graph of a digest that ``climb`` returned; not to be changed."""
        if form == self.root:
            return self.original
        if form in self._graphs:
            self._graphs.move_to_end(form)
            return self._graphs[form]
        missing = [form]
        while (parent := self._origins[missing[-1]].parent) not in self._graphs:
            if parent == self.root:
                break
            missing.append(parent)
        graph = self.graph(parent)
        for each in reversed(missing):
            graph = copy_of(graph)
            run_pass(graph, self._origins[each].step, self.context)
        self._keep(form, graph)
        return graph

    def _number(self, step: Pass) -> int:
        """Equal passes have equal numbers; their options need not be hashable."""
        if step not in self._numbered:
            self._numbered.append(step)
        return self._numbered.index(step)

    def _apply(self, form: str, step: Pass) -> str:
        graph = copy_of(self.graph(form))
        try:
            report = run_pass(graph, step, self.context)
        except BurnishError:
            raise
        except Exception as crash:  # a pass may fail in ways that nobody foresaw
            self.undone[step.name] = f"{type(crash).__name__}: {crash}"
            return form
        if not report.changed:
            return form
        found = digest(graph)
        if found != self.root and found not in self._origins and found != form:
            self._origins[found] = Origin(form, step)
        if found != self.root:
            self._keep(found, graph)
        return found

    def _keep(self, form: str, graph: Graph) -> None:
        self._graphs[form] = graph
        self._graphs.move_to_end(form)
        own = sum(
            value.constant.nbytes
            for value in graph.constants()
            if value.constant is not None and id(value.constant) not in self._own
        )
        self._costs[form] = own + NODE_BYTES * sum(1 for _ in graph.walk())
        while sum(self._costs.values()) > KEPT_BYTES and len(self._graphs) > 1:
            oldest, _ = self._graphs.popitem(last=False)
            del self._costs[oldest]
