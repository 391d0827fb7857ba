"""Searches for the pass, and in it for the one application of a rule, that makes a graph wrong."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace

from burnish.bisection import first_bad
from burnish.diagnosis.clock import Clock
from burnish.diagnosis.recording import CRASH, LOOP, Recording, Run, run_one
from burnish.diagnosis.symptom import Failure, Symptom
from burnish.ir import Graph, OperatorNode
from burnish.numerics import Numerics
from burnish.pipeline import Pass, PassContext, PassReport, copy_of
from burnish.rewrite import Allowance

MOST = 1 << 20
"""Applications of rules among which one is looked for that ends the process."""


@dataclass
class Culprit:
    """What makes a graph wrong: a pass, and if it is made of rules, one application of one."""

    step: Pass
    before: Graph
    """The graph as it is right before; nobody changes it."""
    rule: str | None = None
    number: int | None = None
    """Which of the applications in this run of the pass it is, from 1 on."""
    count: int | None = None
    """How many applications the run makes; None if it fails before its end."""
    sources: tuple[str, ...] = ()
    """Nodes of the user's model that the application concerned."""
    place: list[OperatorNode] = field(default_factory=list)
    """The nodes of ``before`` that are replaced, if that is known."""


@dataclass(frozen=True)
class Search:
    """What is searched for, and how long."""

    symptom: Symptom
    kind: str
    """Of the failure that is followed."""
    clock: Clock

    def shows(self, graph: Graph, promise: Numerics) -> bool:
        """Whether ``graph`` is wrong in the way that is searched for."""
        found = self.symptom.of(graph, promise)
        return found is not None and found.kind == self.kind

    def guilty_run(self, recording: Recording) -> int:
        """The first run of a pass after which the graph is wrong; before all, it must be right.

        What all passes promise together is what the result breaks: some earlier pass that moves a
        bit, and promised to move none, is not what is looked for.
        """
        if recording.result is None:
            return len(recording.runs) - 1

        promise = recording.promise(len(recording.runs))

        def is_wrong(count: int) -> bool:
            step = recording.runs[count - 1].step
            self.clock.begin(f"searching {len(recording.runs)} runs of passes: up to {step.name}")
            return self.shows(recording.after(count), promise)

        return first_bad(is_wrong, len(recording.runs)) - 1

    def culprit(self, recording: Recording, run: int) -> Culprit:
        """The application that makes ``run`` of ``recording`` wrong, else the pass as a whole."""
        guilty = recording.runs[run]
        if self.kind.startswith(CRASH):
            return self._fatal(guilty, recording.context)
        if guilty.report is None:
            return _crashing(guilty, recording.context)
        whole = Culprit(guilty.step, guilty.before)
        fired = guilty.report.fired
        if not fired or not _is_limitable(guilty, recording.context):
            return whole
        promise = recording.promise(len(recording.runs))

        def is_wrong(count: int) -> bool:
            self.clock.begin(
                f"searching {len(fired)} applications in {guilty.step.name}: up to {count}"
            )
            graph, outcome = _limited(guilty, recording.context, Allowance(count))
            return isinstance(outcome, PassReport) and self.shows(graph, promise)

        number = first_bad(is_wrong, len(fired))
        found = fired[number - 1]
        allowance = Allowance(number, keep=True)
        _limited(guilty, recording.context, allowance)
        assert allowance.before is not None
        return Culprit(
            guilty.step, allowance.before, found.rule, number, len(fired), found.provenance,
            allowance.place,
        )  # fmt: skip

    def _fatal(self, run: Run, context: PassContext) -> Culprit:
        """The application at which a pass ends the process, as far as copies of it can tell."""

        def is_fatal(count: int) -> bool:
            self.clock.begin(f"searching applications in {run.step.name}: up to {count}")
            limited = replace(context, allowance=Allowance(count))
            outcome = run_one(copy_of(run.before), run.step, limited, fatal=True)
            return isinstance(outcome, Failure) and outcome.kind == self.kind

        if is_fatal(0):
            # It is no rewrite, or the pass cannot be limited.
            return Culprit(run.step, run.before)
        count = 1
        while count < MOST and not is_fatal(count):
            count *= 2
        number = first_bad(is_fatal, count)
        before, _ = _limited(run, context, Allowance(number - 1))
        return Culprit(run.step, before, number=number)


def _limited(
    run: Run, context: PassContext, allowance: Allowance
) -> tuple[Graph, PassReport | Failure]:
    """The graph after ``run`` with so many applications, and what the pass says of it."""
    graph = copy_of(run.before)
    return graph, run_one(graph, run.step, replace(context, allowance=allowance))


def _is_limitable(run: Run, context: PassContext) -> bool:
    """Whether the pass does nothing if it is allowed nothing: not all passes are made of rules."""
    _, outcome = _limited(run, context, Allowance(0))
    return isinstance(outcome, PassReport) and not outcome.changed


def _crashing(run: Run, context: PassContext) -> Culprit:
    """The application at which a pass fails."""
    allowance = Allowance(sys.maxsize)
    _, outcome = _limited(run, context, allowance)
    if not allowance.rule or (isinstance(outcome, Failure) and outcome.kind == LOOP):
        # Of a loop no application is the wrong one.
        return Culprit(run.step, run.before)
    number = allowance.used + 1
    again = Allowance(number, keep=True)
    _limited(run, context, again)
    sources = tuple(dict.fromkeys(name for node in again.place for name in node.provenance))
    if again.before is None:
        # It is not a rewrite that fails but what looks for a place, or the pass around its rules.
        return Culprit(run.step, run.before, allowance.rule)
    return Culprit(
        run.step, again.before, allowance.rule, number, None, sources, again.place
    )  # fmt: skip
