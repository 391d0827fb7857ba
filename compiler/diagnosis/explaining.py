"""Explains one failure: the pass, the application, the least model that shows it, a way around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from burnish.diagnosis.clock import Clock, OutOfTime
from burnish.diagnosis.cutting import Part
from burnish.diagnosis.metric import METRIC
from burnish.diagnosis.native import REFUSED, Engine
from burnish.diagnosis.outcome import Diagnosis, Reproducer
from burnish.diagnosis.recording import CRASH, Recording, record, run_some
from burnish.diagnosis.search import Culprit, Search
from burnish.diagnosis.shrinking import Shrinking
from burnish.diagnosis.symptom import FATAL, Agreement, Failure, Symptom, run_by_oracle
from burnish.diagnosis.trial import Trial
from burnish.errors import BurnishError, UnsupportedModel
from burnish.ir import Graph, OperatorNode
from burnish.numerics import Numerics
from burnish.passes import get_pass
from burnish.pipeline import Pass, PassContext
from burnish.verification import Reference

ANY_CHANGE = 1e-6
"""Error from which on an application is taken to be what a metric suffers from."""


@dataclass(frozen=True)
class Case:
    """A pipeline, and what may be wrong with what it leaves."""

    name: str
    """The engine, as the command line calls it."""
    steps: Sequence[Pass]
    context: PassContext
    settle: bool
    symptom: Symptom
    agreement: Agreement
    reference: Reference
    engine: Engine | None = None
    """Compiles and runs what is left, where that is what fails."""
    seconds: float = 0.0
    """What the oracle takes for a run."""


def explained(
    case: Case, recording: Recording, failure: Failure, whole: Part, clock: Clock
) -> Diagnosis:
    """Explain ``failure`` of what ``recording`` left of ``whole``, as far as time allows.

    Raises:
        UnsupportedModel: there is nothing to explain: no code can be generated for the model.
    """
    diagnosis = Diagnosis(failure.kind, failure.text, case.name)
    explanation = _Explanation(case, failure, clock, diagnosis)
    try:
        explanation.work_out(recording, whole)
    except OutOfTime:
        diagnosis.is_complete = False
    if not diagnosis.is_complete:
        diagnosis.notes.append(f"the search stopped after {clock.limit:g} s; raise --time for more")
    return diagnosis


@dataclass
class _Explanation:
    case: Case
    failure: Failure
    clock: Clock
    diagnosis: Diagnosis

    def work_out(self, recording: Recording, whole: Part) -> None:
        search = Search(self.case.symptom, self.failure.kind, self.clock)
        if recording.result is not None:
            self.clock.begin("trying the model without any pass")
            if not recording.runs or search.shows(whole.graph, Numerics.REASSOCIATES):
                self._blame_model(whole)
                return
        run = search.guilty_run(recording)
        self.diagnosis.guilty = recording.runs[run].step.name
        culprit = search.culprit(recording, run)
        self._name(culprit)
        self._shrink(culprit, whole, recording)
        self._find_workaround(whole)

    def _name(self, culprit: Culprit) -> None:
        found = self.diagnosis
        found.rule, found.number, found.count = culprit.rule, culprit.number, culprit.count
        found.sources = culprit.sources

    def _blame_model(self, whole: Part) -> None:
        found = self.diagnosis
        found.is_model = True
        if self.case.engine is None:
            found.notes.append("the model itself shows it, before any pass: no rewrite is to blame")
            return
        if self.failure.kind == REFUSED:
            raise UnsupportedModel(self.failure.text)
        found.workaround = "no pass is to blame, so no option of a pass helps"
        trial = self._trial((), None)
        self._reduce(whole, (), [trial], known=True)
        self._name_kernel()

    def _name_kernel(self) -> None:
        found = self.diagnosis
        if found.reproducer is None:
            return
        kinds = list(dict.fromkeys(n.op_type for n in found.reproducer.part.graph.walk()))
        found.workaround = (
            f"no pass is to blame: the code for {', '.join(kinds)} is; give this part of the model "
            "to another engine, or write it in other operators, and report the reproducer"
        )

    def _trial(self, steps: Sequence[Pass], rule: str | None) -> Trial:
        case, kind, agreement = self.case, self.failure.kind, self.case.agreement
        if kind == METRIC:
            kind, agreement = "numerics", Agreement(ANY_CHANGE)
        return Trial(
            steps, case.context, kind, rule, agreement, case.engine, case.seconds,
            fatal=kind.startswith(FATAL),
        )  # fmt: skip

    def _shrink(self, culprit: Culprit, whole: Part, recording: Recording) -> None:
        """Find the least part of the graph before the application, else of the model."""
        step, rule = culprit.step, culprit.rule
        ways = [self._trial([step], rule), self._trial([get_pass("infer-shapes"), step], rule)]
        start, place = _reloaded(culprit.before, culprit.place)
        before = Part(start, whole.feeds)
        try:
            is_found = self._reduce(before, place, ways)
        except OutOfTime:
            # Not small, but what the pass was given.
            self._keep(before, ways[0], ())
            raise
        if is_found:
            self._read_application(step, recording)
            return
        all_passes = self._trial(self.case.steps, None)
        if self.failure.kind != METRIC and self._reduce(whole, (), [all_passes]):
            return
        self.diagnosis.notes.append(
            "no part of the model shows it alone: it takes several rewrites together, each within "
            "its promise"
        )

    def _reduce(
        self, whole: Part, place: Sequence[OperatorNode], ways: Sequence[Trial],
        *, known: bool = False,
    ) -> bool:  # fmt: skip
        """Find the least part of ``whole`` that shows it in the first of ``ways`` that does.

        ``known`` says that all of it does in the first way.
        """
        for trial in ways:
            shrinking = Shrinking(trial.shows, self.clock, self.case.context.target is not None)
            part = shrinking.least(whole, place, known=known)
            self.diagnosis.tried += shrinking.tried
            if part is None:
                continue
            self.diagnosis.is_complete = shrinking.complete
            self._keep(part, trial, ways)
            return True
        return False

    def _keep(self, part: Part, trial: Trial, ways: Sequence[Trial]) -> None:
        """Make ``part`` the reproducer, in the one of ``ways`` in which its file shows it."""
        expected = run_by_oracle(part.graph, [part.feeds])
        assert not isinstance(expected, Failure)
        outputs = {name: a for name, a in expected[0].items() if isinstance(a, np.ndarray)}
        from_file = Part(Graph.from_onnx(part.graph.to_onnx()), part.feeds)
        order = [trial, *(other for other in ways if other is not trial)] if ways else []
        confirming = None
        for other in order:
            try:
                if other.shows(from_file):
                    confirming = other
                    break
            except OutOfTime:
                break
        shown = confirming or trial
        self.diagnosis.reproducer = Reproducer(
            part, outputs, shown.steps, confirming is not None, shown.agreement.tolerance
        )
        if ways and confirming is None:
            self.diagnosis.notes.append(
                "the file of the reproducer does not show it: it takes what files do not hold, "
                "such as which nodes a node came from"
            )

    def _read_application(self, step: Pass, recording: Recording) -> None:
        """Where a pass cannot be limited, its one application to the reproducer tells which."""
        found = self.diagnosis
        if found.rule is not None or found.reproducer is None:
            return
        fatal = self.failure.kind.startswith(CRASH)
        done = run_some(found.reproducer.part.graph, [step], recording.context, fatal=fatal)
        fired = [] if isinstance(done, Failure) else done[1][0].fired
        if len(fired) != 1:
            return
        found.rule, found.sources = fired[0].rule, fired[0].provenance
        for run in recording.runs:
            if run.step is step and run.report is not None and fired[0] in run.report.fired:
                found.number = run.report.fired.index(fired[0]) + 1
                found.count = len(run.report.fired)
                return

    def _find_workaround(self, whole: Part) -> None:
        """Say how to do without the pass, and whether the result is right then."""
        found = self.diagnosis
        name = found.guilty
        assert name is not None
        skip = f"--skip {name}"
        found.workaround = skip
        others = [step for step in self.case.steps if step.name != name]
        try:
            left = record(
                whole.graph, others, self.case.context, self.clock, settle=self.case.settle,
                fatal=self.failure.kind.startswith(CRASH),
            )  # fmt: skip
            self.clock.begin(f"trying {skip}")
            failure = left.failure or self.case.symptom.of(
                left.after(len(left.runs)), left.promise(len(left.runs))
            )
        except OutOfTime:
            found.workaround = f"{skip} (not tried: no time was left)"
            return
        except BurnishError as error:
            found.workaround = f"{skip} does not help: {error}"
            return
        if failure is None:
            found.workaround = f"{skip}: the result is right without it"
        else:
            found.workaround = (
                f"{skip}, but something else is wrong without it ({failure.text}); "
                f"diagnose again with {skip}"
            )


def _reloaded(
    graph: Graph, place: Sequence[OperatorNode]
) -> tuple[Graph, list[OperatorNode]]:  # fmt: skip
    """``graph`` as a file holds it, which knows no regions, and ``place`` in it."""
    if not any(node.is_region for node in graph.walk()):
        return graph, list(place)
    names = {value.name for node in place for value in node.outputs if value.name}
    copy = Graph.from_onnx(graph.to_onnx())
    found = [n for n in copy.walk() if any(value.name in names for value in n.outputs)]
    return copy, found
