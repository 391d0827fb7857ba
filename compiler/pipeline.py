"""Passes and pipelines: the contract of a pass, and how a list of them is run and checked."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from burnish.errors import BurnishError
from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.rewrite import Firing, NearMiss, RewriteResult, Rule, apply_rules
from burnish.target import Target


@dataclass(frozen=True)
class PassContext:
    """What a pass may consult besides the graph."""

    target: Target | None = None
    """The processor to generate code for; None when ONNX goes out."""
    explain: bool = False
    """Collect near misses."""


@dataclass
class PassReport:
    """What one pass did."""

    name: str
    numerics: Numerics
    seconds: float = 0.0
    edits: Counter[str] = field(default_factory=Counter)
    fired: list[Firing] = field(default_factory=list)
    missed: list[NearMiss] = field(default_factory=list)
    nodes_before: int = 0
    nodes_after: int = 0
    notes: list[str] = field(default_factory=list)
    """What the user should know: sizes guarded, parts left alone."""
    rolled_back: str = ""
    """Why the pass was undone, empty if it was kept."""

    @property
    def changed(self) -> bool:
        """Whether the pass left another graph than it found."""
        return self.edits.total() > 0 and not self.rolled_back


@dataclass(frozen=True)
class Pass(ABC):
    """One transformation of a graph. The fields of a pass are its options."""

    name: ClassVar[str]
    """Identity, in kebab case."""
    numerics: ClassVar[Numerics]
    """What the pass promises about the values."""

    @abstractmethod
    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Transform ``graph`` in place and say what was done."""

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """The rules that this pass applies, empty for one that works otherwise."""
        return ()


class RulePass(Pass):
    """A pass that applies rules to a fixed point."""

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Apply ``rules`` until none fires."""
        return apply_rules(graph, self.rules(context), explain=context.explain)

    @abstractmethod
    def rules(self, context: PassContext) -> Sequence[Rule]:
        """The rules, in order of preference."""


Checker = Callable[[Graph], None]
"""Raises ``BurnishError`` if a graph is not equivalent to the original."""
Progress = Callable[[str, int, int], None]
"""Called with a pass name, how many passes are done and how many there are."""


def run_pass(graph: Graph, step: Pass, context: PassContext) -> PassReport:
    """Run one pass and time it (seconds of wall clock)."""
    report = PassReport(step.name, step.numerics, nodes_before=count_operators(graph))
    started = time.perf_counter()
    try:
        result = step.run(graph, context)
    except BurnishError as error:
        error.add_note(f"in pass {step.name}")
        raise
    report.seconds = time.perf_counter() - started
    report.edits, report.fired, report.missed = result.edits, result.fired, result.missed
    report.notes = result.notes
    report.nodes_after = count_operators(graph)
    return report


def count_operators(graph: Graph) -> int:
    """Operators of ``graph`` and its subgraphs; a region counts as what it stands for."""
    return sum(1 for node in graph.walk() if not node.is_region)


def with_options(step: Pass, options: Mapping[str, Any]) -> Pass:
    """``step`` with some of its fields set; see ``burnish passes`` for what they are."""
    known = {f.name for f in fields(step)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise KeyError(unknown[0])
    return type(step)(**{**{f.name: getattr(step, f.name) for f in fields(step)}, **options})
