"""A run of a pipeline with the graph as it was before every pass that changed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from burnish.agenda import Agenda
from burnish.diagnosis.clock import Clock
from burnish.diagnosis.surviving import killed_by
from burnish.diagnosis.symptom import PATIENCE, Failure
from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.numerics import Numerics, loosest
from burnish.pipeline import MAX_ROUNDS, Pass, PassContext, PassReport, copy_of, run_pass
from burnish.rewrite import RuleLoop

LOOP = "loop"
"""The kind of failure of a pass whose rules never come to rest."""
CRASH = "crash: "
"""How the kinds of failure begin of a pass that ends the process."""


@dataclass(frozen=True)
class Run:
    """One run of a pass."""

    step: Pass
    before: Graph
    """The graph that the pass was given; nobody changes it."""
    report: PassReport | None
    """What it did; None if it failed."""


@dataclass
class Recording:
    """The runs of passes that changed the graph, in order, and how they ended."""

    context: PassContext
    runs: list[Run] = field(default_factory=list)
    result: Graph | None = None
    """None if a pass failed."""
    failure: Failure | None = None
    """How the last run failed."""

    def after(self, count: int) -> Graph:
        """The graph after so many runs, not to be changed."""
        found = self.runs[count].before if count < len(self.runs) else self.result
        assert found is not None
        return found

    def promise(self, count: int) -> Numerics:
        """What the first ``count`` runs promise together."""
        reports = (run.report for run in self.runs[:count])
        return loosest(report.numerics for report in reports if report is not None)


def record(
    graph: Graph, passes: Sequence[Pass], context: PassContext, clock: Clock, *, settle: bool,
    fatal: bool = False,
) -> Recording:  # fmt: skip
    """Run ``passes`` over a copy of ``graph`` as a pipeline does, until one fails.

    With ``fatal``, a copy of this process tries each of them first, as one may end it.

    Raises:
        UsageError: an option does not fit the model.
        OutOfTime: the time is up.
    """
    recording = Recording(context)
    graph, before = copy_of(graph), graph
    print_before = _fingerprint(graph)
    agenda = Agenda(passes, MAX_ROUNDS if settle else 1)
    for turn in agenda:
        if turn.idle:
            continue
        step = passes[turn.index]
        clock.begin(f"running {step.name}")
        outcome = run_one(graph, step, context, fatal=fatal)
        if isinstance(outcome, Failure):
            recording.runs.append(Run(step, before, None))
            recording.failure = outcome
            return recording
        agenda.done(turn, changed=outcome.changed)
        print_after = _fingerprint(graph)
        if outcome.changed or print_after != print_before:
            recording.runs.append(Run(step, before, outcome))
            before, print_before = copy_of(graph), print_after
    recording.result = before
    return recording


def _fingerprint(graph: Graph) -> int:
    """Another number if anything was done to ``graph``, even by a pass that says it did nothing."""
    return hash(
        tuple(
            (
                node.op_type,
                tuple(map(id, node.attributes.values())),
                tuple((id(value), value and id(value.constant)) for value in node.inputs),
                tuple(map(id, node.outputs)),
            )
            for node in graph.walk()
        )
        + tuple(tuple(map(id, body.outputs)) for body in graph.graphs())
    )


def run_one(
    graph: Graph, step: Pass, context: PassContext, *, fatal: bool = False
) -> PassReport | Failure:
    """Run ``step`` on ``graph``, which changes, and say how it failed if it did.

    With ``fatal``, a copy of this process tries first, which the pass may end.

    Raises:
        UsageError: an option does not fit the model.
    """
    if fatal:
        ended = killed_by(lambda: run_one(graph, step, context), PATIENCE)
        if ended is not None:
            return Failure(CRASH + ended, f"{step.name} crashes ({ended})")
    try:
        return run_pass(graph, step, context)
    except UsageError:
        raise
    except RuleLoop as error:
        return Failure(LOOP, str(error))
    except Exception as error:  # whatever a pass may raise is what is looked for
        kind = type(error).__name__
        return Failure(f"exception {kind}", f"{step.name} raises {kind}: {error}")


def run_some(
    graph: Graph, passes: Sequence[Pass], context: PassContext, *, fatal: bool = False
) -> tuple[Graph, list[PassReport]] | Failure:
    """A copy of ``graph`` after ``passes``, once each, or how one of them failed.

    ``fatal`` as for `run_one`.

    Raises:
        UsageError: an option does not fit the model.
    """
    graph, reports = copy_of(graph), []
    for step in passes:
        outcome = run_one(graph, step, context, fatal=fatal)
        if isinstance(outcome, Failure):
            return outcome
        reports.append(outcome)
    return graph, reports
