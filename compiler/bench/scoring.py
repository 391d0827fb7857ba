"""Task metrics of variants: the model as it is against what passes and the engine make of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from burnish.bench.client import Engine, EngineFailed
from burnish.bench.document import Metric
from burnish.bench.paired import describe_metrics
from burnish.bench.task import Scores, Task, evaluate
from burnish.bench.variants import Form, Forms, Question
from burnish.compilation import Request, compile_model
from burnish.errors import UnsupportedModel
from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.pipeline import PassContext, run_pipeline
from burnish.selection import Selection, choose
from burnish.target import Target
from burnish.verification import Feeds


def scored(questions: Sequence[Question], forms: Forms) -> list[Form]:
    """The variants that a task is to judge: the whole, and those that tell of lossy passes.

    What keeps the values up to rounding answers what the original does; to score it once with all
    passes is enough.
    """
    lossy = {step.name for step in forms.pipeline.steps if step.numerics is Numerics.LOSSY}
    found = [forms.whole]
    for question in questions:
        if question.name in lossy:
            found += [forms.of(question.having), forms.of(question.lacking)]
    return list({form.id: form for form in found}.values())


@dataclass(frozen=True)
class Judge:
    """Scores models on one task."""

    task: Task
    graph: Graph
    """The model as it is."""
    source: Path
    """Its file."""
    selection: Selection
    target: Target | None
    """None where ONNX Runtime runs variants."""
    threads: int
    tune: float
    folder: Path

    def metrics(self, chosen: Sequence[Form], forms: Forms) -> Mapping[str, list[Metric]]:
        """Metrics by the id of the variant.

        Raises:
            TaskFailed: the task cannot score a model.
            BurnishError: a model cannot be made for the shapes of the task.
        """
        before = self._scores("ort", self.source)
        found = {forms.original.id: describe_metrics(before)}
        for form in chosen:
            skip = [name for name in forms.pipeline.names if name not in form.passes]
            loader, path = self._made(form, skip)
            found[form.id] = describe_metrics(self._scores(loader, path), before)
        return found

    def _made(self, form: Form, skip: Sequence[str]) -> tuple[str, Path]:
        """A variant for all shapes of the task."""
        settings = self.selection.settings or {}
        selection = replace(
            self.selection, skip=[*self.selection.skip, *skip], compiling=self.target is not None,
            # Options of a pass that is not part of a run are refused.
            settings={k: v for k, v in settings.items() if k.partition(".")[0] not in skip},
        )  # fmt: skip
        path = self.folder / f"scored-{form.id}"
        if self.target is None:
            path = path.with_suffix(".onnx")
            settle = selection.passes is None
            made, _ = run_pipeline(
                self.graph, choose(selection), PassContext(), verify="off", settle=settle
            )
            made.save(path)
            return "ort", path
        shapes = list(self.task.input_shapes)
        request = Request(self.target, selection, "off", tune=self.tune, shapes=shapes)
        compile_model(self.graph, request).artifact.save(path)
        return "burnish", path

    def _scores(self, loader: str, path: Path) -> Mapping[str, Scores]:
        return scores_of(self.task, loader, path, self.threads)


def scores_of(task: Task, loader: str, path: Path, threads: int) -> Mapping[str, Scores]:
    """What a task says of a model in a file, as the engine ``loader`` runs it.

    Raises:
        TaskFailed: the task cannot score it.
        UnsupportedModel: the model does not take what the task feeds it.
    """
    with Engine(loader) as engine:

        def run(feeds: Feeds) -> Mapping[str, Any]:
            with _refusals(task):
                engine.feed(feeds)
                return engine.outputs()

        with _refusals(task):
            engine.load(path, threads)
        return evaluate(task, run)


@contextmanager
def _refusals(task: Task) -> Iterator[None]:
    """Turn what an engine says into a message for the user."""
    try:
        yield
    except EngineFailed as failure:
        raise UnsupportedModel(
            f"the model cannot be run on what the task {task.name} feeds it: {failure}"
        ) from failure
