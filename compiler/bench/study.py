"""A bench from beginning to end: variants, checks, sittings, and the document of what was found."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from burnish.backends.self_test import Vector
from burnish.bench.ablation import ablated
from burnish.bench.answers import Answers
from burnish.bench.builders import ArtifactBuilder, Builder, ModelBuilder
from burnish.bench.client import EngineFailed
from burnish.bench.columns import Rival, Rivals
from burnish.bench.document import Document, Model
from burnish.bench.environment import Stopwatch, machine_to_ourselves, record_environment
from burnish.bench.graph_parts import GraphParts, graph_parts
from burnish.bench.kernels import Profile, profiled
from burnish.bench.ladder import Ladder
from burnish.bench.loading import load_task
from burnish.bench.methods import BASE
from burnish.bench.quantized import MethodJudge, Methods
from burnish.bench.remarks import profile_remarks, remarks
from burnish.bench.scoring import Judge, Judgement, scored
from burnish.bench.sittings import Pace, Table, Timings
from burnish.bench.subjects import Keeper, Seating, Subject, Workshop
from burnish.bench.task import input_shapes_of
from burnish.bench.variants import NEEDED, Forms, Pipeline, Question
from burnish.compilation import require_shapes, tuning_seconds
from burnish.errors import BurnishError, GateFailed, UnsupportedModel, UsageError
from burnish.numerics import Numerics, loosest
from burnish.pipeline import PassContext, PipelineReport, Progress, run_pipeline, silent
from burnish.quantization.request import Quantization
from burnish.selection import Selection, choose
from burnish.source import describe_source, load
from burnish.target import Target, resolve
from burnish.verification import Reference
from burnish.wording import counted, data_size

EngineName = Literal["tvm", "ort"]
SECONDS = 300.0
"""Spent on timing unless the user says otherwise."""
REWRITING = 0.5
"""Share of the time for making variants of methods until which methods are run for one more."""
TOLD = 3
"""Variants that sit first: the baseline, the original, and cleanup."""


@dataclass(frozen=True)
class Request:
    """What to bench, and how."""

    model: Path
    engine: EngineName = "tvm"
    selection: Selection = field(default_factory=Selection)
    """Without shapes and without a preset, those of the engine."""
    threads: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    seconds: float = SECONDS
    tune: float | str = "off"
    peers: bool = False
    """Compare with other tools as well, where they are installed."""
    task: str | None = None
    """What names a task to score by, as ``load_task`` takes it."""
    ablation: bool = False
    """Compare with ONNX Runtime without each of its own optimizers as well."""
    command: Sequence[str] = ()
    quantization: Quantization | None = None
    """To quantize: the passes in question are the methods of that."""


def bench(request: Request, progress: Progress | None = None) -> Document:
    """Measure what each pass is worth.

    Raises:
        UsageError: an option does not exist or does not fit, or an input has no fixed shape.
        UnsupportedModel: the oracle or the engine cannot run the model.
        GateFailed: the result of the whole pipeline is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="burnish-bench-") as scratch:
        return _Study(request, Path(scratch), progress or silent).document()


@dataclass
class _Study:
    request: Request
    folder: Path
    progress: Progress
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = Stopwatch()
        # Before anything runs: the load is that of others.
        self.environment = record_environment()
        self.left_out: set[str] = set()
        request = self.request
        if not 0 <= request.seconds < float("inf"):
            raise UsageError(f"--time takes a number of seconds, not {request.seconds:g}")
        self.graph = load(request.model)
        self.task = None if request.task is None else load_task(request.task)
        self.shapes = dict(request.shapes)
        stated = [] if self.task is None else input_shapes_of(self.task)
        if stated and not self.shapes:
            self.shapes = stated[0]
            self.notes.append("timed at the shapes that the task has most often")
        if request.quantization is None:
            require_shapes(self.graph, self.shapes, "timing")
        self.tune = tuning_seconds(request.tune)
        target = resolve("cpu", request.threads)
        self.threads = target.threads
        self.target: Target | None = target if request.engine == "tvm" else None
        self.methods: Methods | None = None
        if request.quantization is not None:
            self.methods = Methods.prepare(
                self.graph, request.quantization, self.task, request.selection, self.shapes,
                self.target, self.progress,
            )  # fmt: skip
            self.shapes = dict(self.methods.shapes)
            self.notes += self.methods.notes
        feeds = None if self.methods is None else self.methods.feeds
        self.reference = Reference(self.graph, feeds, self.shapes)

    @property
    def settles(self) -> bool:
        """Whether passes run until none changes anything, as ``optimize`` has it."""
        return self.target is None and self.request.selection.passes is None

    @property
    def preset(self) -> str | None:
        """The preset whose passes run, None where passes were named or compiling adds none."""
        chosen = self.request.selection
        if self.methods is not None:
            return chosen.preset or "default"
        if chosen.passes is None and chosen.preset is None and self.target is None:
            return "default"
        return chosen.preset

    def document(self) -> Document:
        """Do all of it."""
        self.making = Stopwatch()
        pipeline, parts = self.checked_pipeline()
        forms, questions = self.rewritten(pipeline)
        with Keeper() as keeper:
            asked = self.made(forms, questions, keeper)
        judged = self.scored(asked)
        with Keeper() as keeper:
            rivals = self.rivals(keeper)
        subjects = asked.subjects
        timings = self.timed(asked, rivals)
        contrasts = timings.contrasts()
        self.notes += remarks(
            timings, asked, compiles=self.target is not None, tune=self.tune,
            seconds=self.request.seconds,
        )  # fmt: skip
        profile = self.profiled(subjects[forms.whole.id])
        if profile is not None:
            self.notes += profile_remarks(profile, timings.latency(timings.whole))
        return Document(
            command=list(self.request.command),
            environment=self.environment.beside({r.name: r.version for r in rivals}).as_json(),
            model=self.described(),
            engine=self.request.engine,
            threads=self.threads,
            preset=self.preset,
            shapes={name: list(array.shape) for name, array in self.reference.feeds[0].items()},
            whole=forms.whole.id,
            cleanup=forms.cleanup.id,
            original=forms.original.id,
            base="cleanup" if self.methods is None else BASE,
            variants=[
                subject.as_variant(
                    **asked.timing(subject, timings, contrasts), metrics=judged.metrics(id)
                )
                for id, subject in subjects.items()
            ],
            steps=[asked.step(each, timings, contrasts, judged) for each in asked.questions],
            columns=[rival.as_column(timings, contrasts) for rival in rivals],
            before=parts.before,
            after=parts.after,
            fired=parts.fired,
            missed=parts.missed,
            kernels=[] if profile is None else profile.kernels,
            ceiling=None if profile is None else profile.ceiling,
            seconds=self.watch.seconds,
            notes=self.notes,
        )

    def is_late(self, share: float = 1.0) -> bool:
        """Whether making variants of methods has had that share of its time."""
        return self.methods is not None and self.making.seconds > share * self.request.seconds

    def rewritten(self, pipeline: Pipeline) -> tuple[Forms, list[Question]]:
        """The graphs of all variants, and the questions that they answer, as there is time."""
        ladder = Ladder(self.graph, PassContext(self.target), self.settles)
        if self.methods is not None:
            ladder = Ladder(self.methods.graph, self.methods.context)
        forms = Forms(pipeline, ladder)
        questions = pipeline.questions()
        if self.methods is not None:
            self.methods.require_quantized(forms)
        # What all others are compared with is made however late it is.
        _ = forms.whole, forms.original, forms.cleanup
        kept = []
        for done, each in enumerate(questions):
            self.progress("rewrite variants", done, len(questions))
            if forms.knows(each) or not self.is_late(REWRITING):
                forms.of(each.having), forms.of(each.lacking)
                kept.append(each)
        return forms, kept

    def checked_pipeline(self) -> tuple[Pipeline, GraphParts]:
        """The passes of the run, without those that verification undoes."""
        if self.methods is not None:
            return self.methods.pipeline, self.methods.parts()
        request = self.request
        selection = Selection(
            request.selection.preset, request.selection.passes, request.selection.skip,
            request.selection.settings, self.shapes, request.selection.opset,
            compiling=self.target is not None,
        )  # fmt: skip
        steps, context = choose(selection), PassContext(self.target)
        result, report = run_pipeline(
            self.graph, steps, context, verify="end", reference=self.reference,
            progress=self.progress, settle=self.settles,
        )  # fmt: skip
        self.left_out = self.undone(report)
        kept = [step for step in steps if step.name not in self.left_out]
        if not kept:
            raise UsageError("no pass is left to bench: all are left out or undone")
        parts = graph_parts(self.graph, result, kept, context, settle=self.settles)
        return Pipeline(kept, frozenset(NEEDED[request.engine])), parts

    def undone(self, report: PipelineReport) -> set[str]:
        """Names of passes that were undone, noted."""
        for entry in report.rolled_back:
            self.notes.append(f"{entry.name} was undone and is left out: {entry.rolled_back}")
        return {entry.name for entry in report.rolled_back}

    def made(self, forms: Forms, questions: Sequence[Question], keeper: Keeper) -> Answers:
        """Variants, built and checked, and what they answer; the whole pipeline first.

        Raises:
            UnsupportedModel: the whole pipeline's does not build.
        """
        workshop = Workshop(self.builder(forms), self.reference, self.threads, self.shapes, keeper)
        whole, pipeline = forms.whole, forms.pipeline
        first = {form.id: form for form in (whole, forms.original, forms.cleanup)}
        asked = (forms.of(names) for each in questions for names in (each.having, each.lacking))
        order = list((first | {form.id: form for form in asked}).values())
        found: dict[str, Subject] = {}
        for done, form in enumerate(order):
            if form.id not in first and self.is_late():
                continue
            self.progress("build variants", done, len(order))
            graph = None if form.digest is None else forms.ladder.graph(form.digest)
            promises = [step.numerics for step in pipeline.steps if step.name in form.passes]
            # Engines sum in orders of their own.
            numerics = loosest([Numerics.REASSOCIATES, *promises])
            found[form.id] = workshop.make(form, graph, numerics)
            if form is whole:
                self.require_usable(found[form.id], len(order))
        self.workshop = workshop
        pairs = ({forms.of(each.having).id, forms.of(each.lacking).id} for each in questions)
        answered = [each for each, ids in zip(questions, pairs, strict=True) if ids <= found.keys()]
        if left := len(pipeline.questions()) - len(answered):
            self.notes.append(
                f"{counted(left, 'comparison')} left out, as there was no time to make them within "
                f"{self.request.seconds:g} s; raise --time, or leave methods out with --skip"
            )
        return Answers(answered, forms, found)

    def require_usable(self, whole: Subject, count: int) -> None:
        """Give up where there is nothing to compare with, or no room for the others.

        Raises:
            UnsupportedModel: the engine does not take it, or the disk is too small.
            GateFailed: it is wrong.
        """
        if whole.failure:
            kind = UnsupportedModel if whole.built is None else GateFailed
            raise kind(f"the result of the whole pipeline cannot be timed: {whole.failure}")
        needed = count * int(whole.figures["artifact_bytes"])
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise UnsupportedModel(
                f"{counted(count, 'variant')} need about {data_size(needed)} in "
                f"{self.folder.parent}, where {data_size(free)} are free; name a larger disk by "
                "TMPDIR, or look at some passes only with --passes or --skip"
            )
        assert whole.built is not None
        native = whole.built.native
        if native is not None and native < 1:
            self.notes.append(f"{native:.1%} of the operators have kernels of burnish; "
                              "the others run in ONNX Runtime")  # fmt: skip

    def builder(self, forms: Forms) -> Builder:
        """What makes variants for the engine."""
        if self.target is None:
            return ModelBuilder(self.folder)
        vector = Vector(self.reference.feeds[0], self.reference.expected[0])
        methods = self.methods

        def expected(id: str) -> Vector:
            return vector if methods is None else methods.vector(forms.by_id[id], forms)

        return ArtifactBuilder(self.folder, self.target, expected, self.tune)

    def rivals(self, keeper: Keeper) -> list[Rival]:
        """What variants are compared with."""
        self.progress("check what is compared with", 0, 1)
        found = Rivals(
            self.request.model, self.reference, self.threads, self.shapes, self.folder, keeper,
            self.notes,
        )  # fmt: skip
        best = found.onnx_runtime()
        rivals = [best, *(found.peers() if self.request.peers else ())]
        if self.request.ablation:
            report = partial(self.progress, "leave out ONNX Runtime's optimizers")
            rivals += ablated(found, best, report)
        return rivals

    def timed(self, asked: Answers, rivals: Sequence[Rival]) -> Timings:
        """Let all variants that are right sit, and what they are compared with."""
        seats: dict[str, Seating] = {}
        for id in asked.seated():
            built = asked.subjects[id].built
            assert built is not None
            seats[id] = self.workshop.seating(built)
        for rival in rivals:
            if rival.seating is not None:
                seats.setdefault(rival.seat, rival.seating)
        feeds = self.reference.feeds[min(1, len(self.reference.feeds) - 1)]
        largest = max(
            *(each.resident for each in asked.subjects.values()), *(r.resident for r in rivals)
        )
        pace = Pace(seconds=self.request.seconds, together=_together(largest))
        report = partial(self.progress, "time variants")
        table = Table(lambda name: seats[name].start(feeds), pace, (EngineFailed,), report=report)
        forms = asked.forms
        first = asked.seat_of(forms.whole.id)
        told = [asked.seat_of(form.id) for form in (forms.original, forms.cleanup)]
        told = [each for each in [*(rival.seat for rival in rivals[:1]), *told] if each in seats]
        told += [rival.seat for rival in rivals if rival.seat in seats and rival.seat not in told]
        pairs = [*asked.comparisons(), *((each, first) for each in told)]
        pairs = [pair for pair in dict.fromkeys(pairs) if pair[0] != pair[1]]
        # Whom the result is compared with comes first: the time may be short.
        order = list(dict.fromkeys([*told[:TOLD], *seats]))
        with machine_to_ourselves():
            return table.measure(order, pairs, first)

    def scored(self, asked: Answers) -> Judgement:
        """What the task says, if there is one."""
        if self.task is None:
            return Judgement()
        self.progress(f"evaluate {self.task.name}", 0, 1)
        chosen = self.request.selection
        parts = (
            self.task, self.graph, self.request.model,
            replace(chosen, skip=[*chosen.skip, *self.left_out]), self.target, self.threads,
            self.tune, self.folder,
        )  # fmt: skip
        judge = Judge(*parts) if self.methods is None else MethodJudge(*parts, self.methods)
        return judge.judgement(scored(asked.questions, asked.forms), asked.forms)

    def profiled(self, whole: Subject) -> Profile | None:
        """The kernels of the whole pipeline, where they are burnish's own."""
        if self.target is None or whole.built is None:
            return None
        self.progress("time kernels", 0, 1)
        try:
            with machine_to_ourselves():
                return profiled(whole.built.path, self.threads)
        except BurnishError as error:
            # What was timed is worth more than to be lost for this.
            self.notes.append(f"kernels are not profiled: {error}")
            return None

    def described(self) -> Model:
        """The model as it is."""
        source = describe_source(self.request.model)
        return Model(
            path=str(self.request.model), sha256=source["sha256"], opset=self.graph.opset,
            inputs={value.name: list(value.shape or ()) for value in self.graph.inputs},
            outputs=list(self.graph.output_names),
        )  # fmt: skip


def _together(largest: int) -> int:
    """Processes that fit in half of the memory that is free."""
    free = 0
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    return max(2, min(Pace.together, free // 2 // max(1, largest)))
