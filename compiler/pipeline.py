"""Passes and pipelines: the contract of a pass, and how a list of them is run and checked.

Nothing that a pass does is kept unless it is checked: a pass that crashes, breaks the graph or
moves the outputs further than it promised is undone and named, and the others go on without it.
"""

from __future__ import annotations

import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from burnish.agenda import Agenda
from burnish.bisection import first_bad
from burnish.calibration.store import Calibration
from burnish.census import Census
from burnish.errors import BurnishError
from burnish.ir import Graph
from burnish.ir.clone import clone
from burnish.numerics import Numerics, loosest
from burnish.pass_reports import PassReport, PipelineReport, Verify
from burnish.rewrite import (
    Allowance,
    Kind,
    RewriteResult,
    Rule,
    RuleLoop,
    apply_rules,
)
from burnish.target import Target
from burnish.verification import Disagreement, Feeds, Reference

__all__ = [
    "MAX_ROUNDS", "Pass", "PassContext", "PassReport", "PipelineReport", "Progress", "RulePass",
    "Verify", "run_pass", "run_pipeline",
]  # fmt: skip

MAX_ROUNDS = 8
"""How often the passes of a pipeline that is to settle are run over a graph at most."""

Progress = Callable[[str, int, int], None]
"""Called with a pass name, how many passes are done and how many there are."""


@dataclass(frozen=True)
class PassContext:
    """What a pass may consult besides the graph."""

    target: Target | None = None
    """The processor to generate code for; None when ONNX goes out."""
    explain: bool = False
    """Collect near misses."""
    kinds: frozenset[Kind] | None = None
    """Domain and type of every operator in the graph, None if that is not known beforehand."""
    allowance: Allowance | None = None
    """How often rules may be applied, if not to a fixed point; for searches."""
    calibration: Calibration | None = None
    """Data that the model is meant for, if there is any; see `burnish.calibration.require`."""
    is_late: Callable[[], bool] = lambda: False
    """Whether a pass that improves step by step is to leave it at what it has done."""

    def may_meet(self, op_types: Iterable[str]) -> bool:
        """Whether the graph may hold a standard operator of ``op_types``."""
        return self.kinds is None or any(("", op_type) in self.kinds for op_type in op_types)


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
        rules = self.rules(context)
        return apply_rules(
            graph, rules, explain=context.explain, kinds=context.kinds,
            allowance=context.allowance,
        )  # fmt: skip

    @abstractmethod
    def rules(self, context: PassContext) -> Sequence[Rule]:
        """The rules, in order of preference."""


def run_pass(
    graph: Graph, step: Pass, context: PassContext, *, census: Census | None = None
) -> PassReport:
    """Run one pass and time it (seconds of wall clock).

    Args:
        graph: changed in place.
        step: the pass.
        context: what it may consult.
        census: of ``graph`` as it is, if that was taken already.

    Raises:
        BurnishError: the pass refuses the graph; a note names the pass.
    """
    census = census or Census.of(graph)
    report = _idle(step, census)
    started = time.perf_counter()
    try:
        result = step.run(graph, replace(context, kinds=census.kinds))
    except BurnishError as error:
        error.add_note(f"in pass {step.name}")
        raise
    report.seconds = time.perf_counter() - started
    report.edits, report.fired, report.notes = result.edits, result.fired, result.notes
    report.layers = result.layers
    if context.explain:
        report.missed = result.missed
    report.census = Census.of(graph) if report.edits else census
    report.nodes_after = report.census.operators
    return report


def run_pipeline(
    graph: Graph,
    passes: Sequence[Pass],
    context: PassContext,
    *,
    verify: Verify = "each",
    samples: Sequence[Feeds] | None = None,
    reference: Reference | None = None,
    progress: Progress | None = None,
    settle: bool = False,
) -> tuple[Graph, PipelineReport]:
    """Run ``passes`` over a copy of ``graph``, checking what they did.

    Outputs are compared on those of ``reference``, else on ``samples`` (arrays by input name), else
    on random inputs. A guilty pass is undone and named in the report. With ``settle`` the passes
    are run again and again until none changes anything. A pass is not run where it has seen the
    graph as it is and changed nothing.

    Raises:
        BurnishError: a pass refuses the graph, or the oracle cannot run it.
    """
    started = time.perf_counter()
    if verify == "off":
        reference = None
    elif reference is None:
        reference = Reference(graph, samples)
    rounds = MAX_ROUNDS if settle else 1
    run = _Run(graph, passes, context, reference, progress or silent, rounds)
    result = run.checked_each() if verify == "each" else run.checked_once()
    report = PipelineReport(run.reports, verify, run.error)
    report.feeds = 0 if reference is None else len(reference.feeds)
    report.seconds = time.perf_counter() - started
    return result, report


@dataclass
class _Run:
    """One run of a pipeline: the passes, and which of them were found guilty of what."""

    original: Graph
    passes: Sequence[Pass]
    context: PassContext
    reference: Reference | None
    progress: Progress
    rounds: int = 1
    reports: list[PassReport] = field(default_factory=list)
    error: float | None = None
    order: list[int] = field(default_factory=list)
    """Positions of the passes that were run, as often as they were."""
    blamed: dict[int, PassReport] = field(default_factory=dict)
    """Reports of passes that were undone, by position."""

    def checked_each(self) -> Graph:
        """Compare after every pass, and undo a pass at once if the comparison fails."""
        assert self.reference is not None
        graph = self._course(copy_of(self.original), None, self.progress, keep_copy=True)
        assert graph is not None
        self.error = self._last_error()
        return graph

    def checked_once(self) -> Graph:
        """Compare after the last pass; while that fails, find the guilty pass and undo it."""
        while True:
            graph = self._prefix(None, self.progress)
            try:
                if self.reference is not None:
                    self.progress("verifying", len(self.passes), len(self.passes))
                    self.error = self.reference.check(graph, self._promise(self.reports))
            except Disagreement as failure:
                self._blame(self._guilty(), failure)
            else:
                return graph

    def _prefix(self, count: int | None, progress: Progress) -> Graph:
        """The original after the first ``count`` runs of passes (None: all that there are).

        Those that were blamed are left out.
        """
        while True:
            graph = self._course(copy_of(self.original), count, progress, keep_copy=False)
            if graph is not None:
                return graph
            # What the pass left behind is undefined: start again without it.

    def _course(
        self, graph: Graph, count: int | None, progress: Progress, *, keep_copy: bool
    ) -> Graph | None:
        """Run passes over ``graph``; None if one was undone and no copy was kept to go on with."""
        self.reports, self.order = [], []
        census = Census.of(graph)
        agenda = Agenda(self.passes, self.rounds)
        for turn in agenda:
            if len(self.order) == count:
                return graph
            step, again = self.passes[turn.index], turn.round > 0
            if turn.idle or turn.index in self.blamed:
                if not again:
                    idle = replace(_idle(step, census), error=self._last_error())
                    self.reports.append(self.blamed.get(turn.index) or idle)
                continue
            progress(step.name, len(self.passes) if again else turn.index, len(self.passes))
            graph, report = self._attempt(graph, step, census, keep_copy=keep_copy)
            census = report.census or census
            agenda.done(turn, changed=report.changed)
            self.order.append(turn.index)
            if report.rolled_back:
                self.blamed[turn.index] = report
                if not keep_copy:
                    return None
            if report.changed or report.rolled_back or not again:
                self.reports.append(report)
        if self.rounds > 1 and not agenda.settled:
            self.reports[-1].notes.append(f"the passes still change it after {self.rounds} rounds")
        return graph

    def _last_error(self) -> float | None:
        """What was measured last."""
        return next((r.error for r in reversed(self.reports) if r.error is not None), None)

    def _attempt(
        self, graph: Graph, step: Pass, census: Census, *, keep_copy: bool
    ) -> tuple[Graph, PassReport]:
        """Run ``step`` on ``graph``; with ``keep_copy`` also check it, and undo it if need be."""
        snapshot = copy_of(graph) if keep_copy else graph
        try:
            report = run_pass(graph, step, self.context, census=census)
            if keep_copy:
                assert self.reference is not None
                report.error = self.reference.check(graph, self._promise([*self.reports, report]))
        except Disagreement as failure:
            assert self.reference is not None
            self.reference.check_deterministic()
            report = _undone(step, str(failure), census)
        except RuleLoop as loop:
            report = _undone(step, str(loop), census)
        except BurnishError:
            raise
        except Exception as crash:
            reason = f"it crashed ({type(crash).__name__}: {crash})"
            report = replace(_undone(step, reason, census), traceback=traceback.format_exc())
        return (snapshot if report.rolled_back else graph), report

    def _guilty(self) -> int:
        """The first run of a pass after which the outputs disagree, found by bisection."""
        assert self.reference is not None
        self.reference.check_deterministic()
        runs = len(self.order)
        # Without any pass the outputs have to agree: otherwise no pass is to blame.
        self.reference.check(self._prefix(0, silent), Numerics.REASSOCIATES)
        return first_bad(self._is_wrong_after, runs) - 1

    def _is_wrong_after(self, runs: int) -> bool:
        """Whether the outputs disagree after so many runs of passes."""
        assert self.reference is not None
        try:
            self.reference.check(self._prefix(runs, silent), self._promise(self.reports))
        except Disagreement:
            return True
        return False

    def _blame(self, run: int, failure: Disagreement) -> None:
        """Leave out the pass of ``run`` from now on, for the reason that shows right after it."""
        assert self.reference is not None
        graph = self._prefix(run + 1, silent)
        try:
            self.reference.check(graph, self._promise(self.reports))
        except Disagreement as at_once:
            failure = at_once
        index = self.order[run]
        self.blamed[index] = _undone(self.passes[index], str(failure), Census.of(graph))

    @staticmethod
    def _promise(reports: Sequence[PassReport]) -> Numerics:
        """What the passes that changed something promise together."""
        return loosest(report.numerics for report in reports if report.changed)


def _undone(step: Pass, reason: str, census: Census) -> PassReport:
    return replace(_idle(step, census), rolled_back=reason)


def _idle(step: Pass, census: Census) -> PassReport:
    """The report of a pass that did nothing."""
    count = census.operators
    return PassReport(step.name, step.numerics, nodes_before=count, nodes_after=count)


def silent(name: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def copy_of(graph: Graph) -> Graph:
    """A graph to change in place of ``graph``; weights, which are immutable, stay shared."""
    return clone(graph)[0]
