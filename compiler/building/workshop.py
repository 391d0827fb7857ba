"""Making the results of one job: with passes left out, or for other shapes."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from burnish.building.job import Job
from burnish.compilation import Compilation, Request, compile_model
from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.optimization import optimize_model
from burnish.pipeline import PipelineReport, Progress, silent
from burnish.shape_sets import Shapes
from burnish.source import save
from burnish.suggest import unknown
from burnish.target import Target, resolve

if TYPE_CHECKING:
    from burnish.backends.artifact import Artifact
    from burnish.backends.manifest import Manifest
    from burnish.bench.document import Metric
    from burnish.bench.task import Task
    from burnish.building.starting import Start
    from burnish.building.trial import Contender, Ring
    from burnish.pruning.result import Pruned
    from burnish.quantization.result import Quantized


EXACT = 1e-2
"""Largest error of a result that is to be exact, beyond which timing it says nothing: far above
what rounding may do, which the checks of the pipeline hold it against."""

KEPT = 2
"""Results that a workshop holds on to."""


@dataclass(frozen=True)
class Made(ABC):
    """A result that is not written to its place yet."""

    report: PipelineReport
    notices: Sequence[str]
    skipped: tuple[str, ...]
    """Optional passes that were left out."""
    quantized: Quantized | None = field(default=None, kw_only=True)
    """What was quantized, if that was asked for."""
    pruned: Pruned | None = field(default=None, kw_only=True)
    """What was pruned, if that was asked for."""

    @abstractmethod
    def save(self, path: Path) -> Mapping[str, int]:
        """Write it, and return the bytes of its files by name."""

    def stating(self, quantized: Quantized | None, pruned: Pruned | None = None) -> Made:
        """The same with what became of layers that were to be quantized, and of structures."""
        return replace(self, quantized=quantized, pruned=pruned or self.pruned)

    @property
    def is_quantized(self) -> bool:
        """Whether some of it multiplies integers because that was asked for."""
        return self.quantized is not None and self.quantized.count > 0

    @property
    def arena(self) -> int | None:
        """Bytes between kernels, None for ONNX: the engine that runs it decides."""
        return None


@dataclass(frozen=True)
class MadeOnnx(Made):
    """A rewritten graph."""

    graph: Graph

    def save(self, path: Path) -> Mapping[str, int]:
        """Write an ONNX file, with its weights beside it where they are large."""
        save(self.graph, path)
        files = (path, path.with_name(path.name + ".data"))
        return {file.name: file.stat().st_size for file in files if file.exists()}


@dataclass(frozen=True)
class MadeArtifact(Made):
    """A compiled artifact."""

    compilation: Compilation

    @property
    def artifact(self) -> Artifact:
        """The artifact, which knows the budgets that it was held against."""
        self.compilation.artifact.budgets = self.report.budgets
        return self.compilation.artifact

    def stating(self, quantized: Quantized | None, pruned: Pruned | None = None) -> Made:
        """The same, also in its manifest."""
        from burnish.backends.build import state_changes

        made = super().stating(quantized, pruned)
        state_changes(
            self.compilation.artifact,
            quantization=None if made.quantized is None else made.quantized.summary(),
            pruning=None if made.pruned is None else made.pruned.summary(),
        )
        return made

    @property
    def manifest(self) -> Manifest:
        """What the artifact says of itself."""
        return self.compilation.artifact.manifest

    def save(self, path: Path) -> Mapping[str, int]:
        """Write a folder or one file."""
        self.compilation.artifact.save(path)
        return {name: file.bytes for name, file in self.manifest.files.items()}

    @property
    def arena(self) -> int | None:
        """The largest of any entry."""
        return max(entry.arena_bytes for entry in self.manifest.entries)

    @property
    def shapes(self) -> list[Shapes]:
        """The input shapes of each entry."""
        return [{p.name: tuple(p.shape) for p in e.inputs} for e in self.manifest.entries]


@dataclass
class Workshop:
    """Makes the results of one job, with passes left out or for other shapes."""

    job: Job
    graph: Graph
    progress: Progress | None = None
    begun: Start | None = None
    """What passes begin with, if that was made already."""
    _latest: dict[tuple[str, ...], Made] = field(default_factory=dict)

    def make(self, skip: Sequence[str]) -> Made:
        """Make the result without the passes ``skip``.

        The two results asked for last are kept: the next pass is judged against one of them, and
        one of them is the final result.
        """
        key = tuple(skip)
        made = self._latest.pop(key, None) or self._made(key, self.job.shapes)
        self._latest[key] = made
        if len(self._latest) > KEPT:
            del self._latest[next(iter(self._latest))]
        return made

    def _made(self, skip: tuple[str, ...], sets: Sequence[Shapes]) -> Made:
        """Make it for sets of shapes."""
        if self.job.target is None:
            return self._rewritten(skip, sets[0])
        return self._compiled(self.job.target, skip, sets)

    def _rewritten(self, skip: tuple[str, ...], shapes: Shapes) -> Made:
        job, chosen = self.job, self.job.selection
        selection = replace(chosen, skip=(*chosen.skip, *skip), input_shapes=shapes or None)
        if (start := self.start) is not None:
            return MadeOnnx(
                start.report, (), skip, start.graph, quantized=start.quantized, pruned=start.pruned
            )
        graph, report = optimize_model(
            self.graph, selection, verify=job.verify, samples=job.samples, keep=job.keep,
            progress=self.progress,
        )  # fmt: skip
        return MadeOnnx(report, (), skip, graph)

    def _compiled(self, target: Target, skip: tuple[str, ...], shapes: Sequence[Shapes]) -> Made:
        job, chosen = self.job, self.job.selection
        selection = replace(chosen, input_shapes=None, skip=(*chosen.skip, *skip))
        request = Request(
            target, selection, job.verify, job.samples, job.tune, job.winograd,
            job.provenance, job.precision, shapes,
        )  # fmt: skip
        start = self.start
        if start is None:
            made = compile_model(self.graph, request, self.progress)
            return MadeArtifact(made.report, made.notices, skip, made)
        # Nothing in int8: what is made then is what is made without quantization, bit by bit.
        graph = start.plain
        if start.has_integers:
            graph = start.graph
            request = replace(request, samples=job.samples or start.samples)
        made = compile_model(graph, request, self.progress)
        if graph is not self.graph:
            made.report.passes[:0] = start.report.passes
        made.report.notices += start.report.notices
        result = MadeArtifact(made.report, made.notices, skip, made)
        quantized = None if start.quantized is None else start.quantized.narrowed(made.report)
        return result.stating(quantized, start.pruned)

    @cached_property
    def start(self) -> Start | None:
        """The pruned or quantized model that passes begin with, None for the original."""
        from burnish.building.starting import prepare

        job = self.job
        if self.begun is not None or not job.lossy:
            return self.begun
        task = None if job.task is None else self.task
        return prepare(job, self.graph, task, self.progress or silent, job.before)

    @cached_property
    def ring(self) -> Ring:
        """Where results run against the original."""
        from burnish.building.trial import Ring

        job = self.job
        tolerance = EXACT if job.precision.is_full else job.precision.tolerance
        threads = (job.target or resolve("cpu")).threads
        start = self.start
        if start is None:
            return Ring(self.graph, self.source, job.shapes[0], threads, tolerance, job.samples)
        return Ring(
            start.plain, self.source, job.shapes[0], threads, tolerance,
            job.samples or start.samples, start.graph,
            is_narrowed=not job.precision.is_full,
        )  # fmt: skip

    @cached_property
    def source(self) -> Path:
        """A file of the original, written if there is none."""
        if self.job.source is not None:
            return self.job.source
        room = Path(tempfile.mkdtemp(prefix="burnish-original-"))
        weakref.finalize(self, shutil.rmtree, room, ignore_errors=True)
        path = room / "original.onnx"
        save(self.graph, path)
        return path

    @cached_property
    def task(self) -> Task:
        """The task of the job.

        Raises:
            TaskFailed: it cannot be used, or feeds inputs that the model does not have.
        """
        from burnish.bench.loading import load_task
        from burnish.bench.task import TaskFailed, input_shapes_of

        given = self.job.task
        assert given is not None  # a budget about a task needs one
        task = load_task(given) if isinstance(given, str) else given
        inputs = [value.name for value in self.graph.inputs]
        for name in (name for shapes in input_shapes_of(task) for name in shapes):
            if name not in inputs:
                raise TaskFailed(f"task {task.name}: {unknown('input', name, inputs)}")
        return task

    def contender(self, path: Path, made: Made) -> Contender:
        """A result, saved as its engine takes it."""
        from burnish.building.trial import Contender

        engine = "ort" if self.job.target is None else "burnish"
        return Contender(engine, path, is_quantized=made.is_quantized)

    def metrics(self, made: Made, path: Path) -> list[Metric]:
        """What the job's task says of a result, and how it differs from the original.

        A result that lacks the task's shapes is made once more: an artifact for them, ONNX with
        its sizes left open.

        Raises:
            TaskFailed: the task states shapes that the model does not take.
        """
        from burnish.bench.task import TaskFailed, input_shapes_of

        wanted = input_shapes_of(self.task)
        if self._takes(made, wanted):
            return self.ring.metrics(self.task, self.contender(path, made))
        with tempfile.TemporaryDirectory(prefix="burnish-build-") as scratch:
            other = Path(scratch, path.name)
            try:
                sets = [{}] if self.job.target is None else wanted
                self._made(made.skipped, sets).save(other)
            except UsageError as error:
                raise TaskFailed(
                    f"task {self.task.name} states input_shapes that do not fit: {error}"
                ) from error
            return self.ring.metrics(self.task, self.contender(other, made))

    def _takes(self, made: Made, wanted: Sequence[Shapes]) -> bool:
        """Whether a result takes all shapes of the task."""
        if isinstance(made, MadeArtifact):
            return all(each in made.shapes for each in wanted)
        frozen = self.job.shapes[0].items()
        return all(each.get(name, shape) == shape for each in wanted for name, shape in frozen)
