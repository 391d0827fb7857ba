"""From a model and a pipeline whose result is wrong to the rewrite that made it so."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from burnish.bench.task import Task
from burnish.diagnosis.clock import Clock, OutOfTime, Progress
from burnish.diagnosis.cutting import Part
from burnish.diagnosis.explaining import Case, explained
from burnish.diagnosis.metric import Judged, Scored, Wrong
from burnish.diagnosis.native import Engine, Expectation, NativeSymptom
from burnish.diagnosis.outcome import Attempt, Diagnosis
from burnish.diagnosis.recording import Recording, record, run_some
from burnish.diagnosis.surviving import killed_by
from burnish.diagnosis.symptom import FATAL, PATIENCE, Agreement, Failure, OnnxSymptom, Symptom
from burnish.errors import BurnishError, UnsupportedModel, UsageError
from burnish.ir import Graph
from burnish.pipeline import Pass, PassContext
from burnish.selection import Selection, choose
from burnish.target import Target, resolve
from burnish.verification import Feeds, Reference

SECONDS = 300.0
"""Time for a diagnosis unless the user says otherwise."""
ENGINES = ("ort", "tvm")
CHEAP = 1.0
"""Seconds of checking a result, up to which a copy of this process may try each check first."""
GROUND = ("freeze-input-shapes", "infer-shapes", "upgrade-opset")
"""Passes without which nothing can be compiled: a model natively fails by itself if it does so
after these."""


@dataclass(frozen=True)
class Request:
    """What to diagnose, and how."""

    selection: Selection
    engine: str | None = None
    """``ort``: rewriting; ``tvm``: compiling; None: the second if the first is right."""
    samples: Sequence[Feeds] | None = None
    wrong: Wrong | None = None
    """Says what is wrong with a graph, in place of a comparison of outputs."""
    task: Task | None = None
    """Scores graphs, in place of a comparison of outputs."""
    max_drop: float = 0.0
    """Points of its first metric that may be lost."""
    tolerance: float | None = None
    """How far an output may be off, relative to its largest value."""
    seconds: float = SECONDS

    def steps(self, *, compiling: bool) -> list[Pass]:
        """The passes of the pipeline."""
        if not compiling:
            return choose(self.selection)
        return choose(replace(self.selection, compiling=True, input_shapes=self.static_shapes))

    @property
    def is_judged(self) -> bool:
        """Whether graphs are judged as a whole, which says nothing about compiled code."""
        return self.wrong is not None or self.task is not None

    @property
    def shapes(self) -> Mapping[str, Sequence[int]]:
        """Shapes of inputs that were given."""
        return self.selection.input_shapes or {}

    @property
    def static_shapes(self) -> Mapping[str, Sequence[int]]:
        """The same, else those of the samples if these agree."""
        found = [
            {name: np.asarray(array).shape for name, array in sample.items()}
            for sample in self.samples or ()
        ]
        agree = bool(found) and all(shapes == found[0] for shapes in found)
        return self.shapes or (found[0] if agree else {})


def diagnose_model(graph: Graph, request: Request, progress: Progress | None = None) -> Diagnosis:
    """Find out what makes the result wrong; ``graph`` stays as it is.

    Raises:
        UsageError: an option does not exist or does not fit the model.
        UnsupportedModel: the oracle cannot run the model, or it answers at random.
        BurnishError: the time was up before anything was found to be wrong.
    """
    _check(request)
    clock = Clock(request.seconds, progress)
    stages = [
        stage for name, stage in (("ort", _rewriting), ("tvm", _compiling))
        if request.engine in (None, name)
    ]  # fmt: skip
    if request.is_judged:
        stages = [_rewriting]
    work = _Work(graph, request, clock, _reference(graph, request))
    diagnosis = Diagnosis()
    try:
        for stage in stages:
            diagnosis = stage(work)
            if diagnosis:
                break
    except OutOfTime:
        raise BurnishError(
            f"nothing was found to be wrong in {request.seconds:g} s, which is not enough to try "
            "everything; raise --time"
        ) from None
    diagnosis.attempts = work.attempts
    diagnosis.notes += work.notes
    diagnosis.seconds = clock.spent
    return diagnosis


@dataclass
class _Work:
    """What the stages share."""

    graph: Graph
    request: Request
    clock: Clock
    reference: Reference
    notes: list[str] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    @cached_property
    def agreement(self) -> Agreement:
        return Agreement(self.request.tolerance)

    def passed(self, case: Case, recording: Recording) -> Diagnosis:
        """Note that what ``recording`` left is right."""
        what = "rewritten for ONNX Runtime" if case.name == "ort" else "rewritten for compiling"
        if case.engine is not None:
            what = "compiled for this machine"
        errors = self.agreement.errors
        self.attempts.append(Attempt(
            what, len({step.name for step in case.steps}),
            len({run.step.name for run in recording.runs}),
            len(self.reference.feeds), max(errors) if errors else None,
        ))  # fmt: skip
        return Diagnosis()


def _check(request: Request) -> None:
    if request.engine not in (None, *ENGINES):
        raise UsageError(f"--engine is ort or tvm, not {request.engine!r}")
    if request.wrong is not None and request.task is not None:
        raise UsageError("a function says what is wrong, or a task does: leave out wrong or --eval")
    if request.engine == "tvm" and request.is_judged:
        raise UsageError(
            "metrics are of rewritten graphs, not of compiled code: leave out --engine"
        )
    if not 0 <= request.max_drop <= 100:
        raise UsageError(f"--max-drop is 0 to 100 points, not {request.max_drop:g}")
    if request.max_drop and request.task is None:
        raise UsageError("--max-drop is about a task: name one with --eval")
    if not 0 < request.seconds < float("inf"):
        raise UsageError(f"--time takes a number of seconds above 0, not {request.seconds:g}")
    if request.tolerance is not None and not 0 <= request.tolerance < float("inf"):
        raise UsageError(f"--tolerance takes a number of at least 0, not {request.tolerance:g}")
    if request.samples is not None and not request.samples:
        raise UsageError("samples is empty; leave it out to compare on random inputs")


def _reference(graph: Graph, request: Request) -> Reference:
    """What the model answers.

    Raises:
        UnsupportedModel: it cannot be run, or answers at random.
    """
    ended = killed_by(lambda: Reference(graph, request.samples, request.shapes), PATIENCE)
    if ended is not None:
        raise UnsupportedModel(
            f"ONNX Runtime crashes on the model itself ({ended}), so there is nothing to compare "
            "with; look for the operator in a debugger, or try another version of it"
        )
    try:
        reference = Reference(graph, request.samples, request.shapes)
    except UnsupportedModel as error:
        raise UnsupportedModel(
            "the model itself does not run, so there is nothing to compare with: "
            f"{error.__cause__ if isinstance(error.__cause__, BurnishError) else error}; give "
            "inputs that it takes with --inputs FILE.npz, or --input-shape NAME=1,3,224,224"
        ) from error
    if not reference.is_deterministic():
        raise UnsupportedModel(
            "the model answers differently each time it is run on the same input, so that no "
            "rewrite can be told to be wrong; give its random operators a seed, or make what they "
            "draw an input"
        )
    return reference


def _rewriting(work: _Work) -> Diagnosis:
    """Is what passes leave wrong, as the oracle runs it?"""
    request = work.request
    steps = request.steps(compiling=False)
    symptom: Symptom = OnnxSymptom(work.reference, work.agreement, fatal=True)
    if request.wrong is not None:
        symptom = Judged(request.wrong, work.reference.feeds[0])
    elif request.task is not None:
        symptom = Scored(request.task, request.max_drop, work.graph, work.reference.feeds[0])
    settle = request.selection.passes is None
    case = Case("ort", steps, PassContext(), settle, symptom, work.agreement, work.reference)
    return _followed(work, case, work.graph)


def _compiling(work: _Work) -> Diagnosis:
    """Is what passes leave for the code generator wrong, or what that makes of it?

    Raises:
        UsageError: sizes are open, and compiled code was asked for.
        UnsupportedModel: no code can be generated for the model, and that was asked for.
    """
    from burnish.compilation import require_shapes

    try:
        require_shapes(work.graph, work.request.static_shapes)
        target = resolve("cpu")
        steps, context = work.request.steps(compiling=True), PassContext(target)
        symptom = OnnxSymptom(work.reference, work.agreement, fatal=True)
        case = Case("tvm", steps, context, False, symptom, work.agreement, work.reference)
        return _followed(work, case, work.graph) or _native(work, case, target)
    except (UsageError, UnsupportedModel) as error:
        if work.request.engine is not None:
            raise
        work.notes.append(f"compiled code was not tried: {error}")
        return Diagnosis()


def _native(work: _Work, case: Case, target: Target) -> Diagnosis:
    started = time.perf_counter()
    work.reference.is_deterministic()
    seconds = (time.perf_counter() - started) / len(work.reference.feeds)
    with Engine(target, work.clock) as engine:
        reference = work.reference
        symptom = NativeSymptom(engine, Expectation(
            reference.feeds, reference.expected, work.agreement, reference.roundings,
            seconds, reference.ties,
        ))  # fmt: skip
        native = replace(case, symptom=symptom, engine=engine, seconds=seconds)
        return _followed(work, native, _ground(work, case))


def _ground(work: _Work, case: Case) -> Graph:
    """The model in the form that code can be generated for at all."""
    named = {step.name: step for step in case.steps}
    defaults = {s.name: s for s in choose(
        Selection(input_shapes=work.request.static_shapes, compiling=True)
    )}  # fmt: skip
    setup = [named.get(name, defaults.get(name)) for name in GROUND]
    done = run_some(work.graph, [step for step in setup if step is not None], case.context)
    # Whatever fails here has been found by the oracle's own stage.
    return work.graph if isinstance(done, Failure) else done[0]


def _followed(work: _Work, case: Case, start: Graph) -> Diagnosis:
    """Run the pipeline of ``case`` from ``start``, and if the result is wrong, find out why.

    Raises:
        OutOfTime: before the result was known to be wrong.
    """

    def run(clock: Clock, *, fatal: bool) -> Recording:
        return record(start, case.steps, case.context, clock, settle=case.settle, fatal=fatal)

    started = time.perf_counter()
    # What watches the clock has threads, which a copy of this process lacks.
    ended = killed_by(lambda: run(Clock(work.clock.left), fatal=False), PATIENCE)
    recording = run(work.clock, fatal=ended is not None)
    failure = recording.failure
    if failure is None:
        work.clock.begin("checking the result")
        runs = len(recording.runs)
        work.agreement.errors.clear()
        started = time.perf_counter()
        failure = case.symptom.of(recording.after(runs), recording.promise(runs))
    if failure is None:
        return work.passed(case, recording)
    if (
        isinstance(case.symptom, OnnxSymptom)
        and not failure.kind.startswith(FATAL)
        and time.perf_counter() - started > CHEAP
    ):
        # The oracle has survived what all passes left; that it does not survive what some of them
        # left is rare, and to try in a copy each time would take twice as long.
        case = replace(case, symptom=replace(case.symptom, fatal=False))
    feeds = work.reference.feeds[failure.feed]
    whole = Part(start, {value.name: feeds[value.name] for value in start.inputs})
    return explained(case, recording, failure, whole, work.clock)
