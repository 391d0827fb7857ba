"""Task metrics of variants: the model as it is against what passes and the engine make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from burnish.bench.client import Engine, EngineFailed
from burnish.bench.document import Metric
from burnish.bench.paired import describe_metrics
from burnish.bench.task import Scores, Task, TaskFailed, evaluate, input_shapes_of
from burnish.bench.variants import Form, Forms, Question
from burnish.compilation import Request, compile_model
from burnish.errors import UnsupportedModel
from burnish.ir import DType, Graph, VariableNode
from burnish.numerics import Numerics
from burnish.oracle.exact_products import exact_products
from burnish.pipeline import PassContext, run_pipeline
from burnish.selection import Selection, choose
from burnish.suggest import unknown
from burnish.target import Target
from burnish.verification import Feeds


def scored(questions: Sequence[Question], forms: Forms) -> list[Form]:
    """The variants that a task is to judge: the whole, and those that tell of lossy passes.

    What keeps the values up to rounding answers what the original does; to score it once with all
    passes is enough.
    """
    lossy = {step.name for step in forms.pipeline.steps if step.numerics is Numerics.LOSSY}
    if forms.pipeline.base is not None:
        # What prepares a model for a lossy pass changes what that one does.
        lossy |= set(forms.pipeline.studied)
    found = [forms.whole]
    for question in questions:
        if question.name in lossy:
            found += [forms.of(question.having), forms.of(question.lacking)]
    return list({form.id: form for form in found}.values())


@dataclass(frozen=True)
class Judgement:
    """What a task says of the model as it is, and of variants."""

    before: Mapping[str, Scores] = field(default_factory=dict)
    original: str = ""
    """The variant that stands for the model as it is."""
    scores: Mapping[str, Mapping[str, Scores]] = field(default_factory=dict)
    """By the id of the variant."""

    def metrics(self, id: str) -> list[Metric]:
        """Of a variant, with its difference to the original; none where it was not scored."""
        if id == self.original:
            return describe_metrics(self.before)
        return describe_metrics(self.scores[id], self.before) if id in self.scores else []


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

    def judgement(self, chosen: Sequence[Form], forms: Forms) -> Judgement:
        """Score the variants ``chosen``, and the model as it is for the original.

        Raises:
            TaskFailed: the task cannot score a model.
            BurnishError: a model cannot be made for the shapes of the task.
        """
        before = self._scores("ort", self.source)
        found: dict[str, Mapping[str, Scores]] = {}
        for form in chosen:
            loader, path = self._made(form, forms)
            found[form.id] = self._scores(loader, path)
        return Judgement(before, forms.original.id, found)

    def _made(self, form: Form, forms: Forms) -> tuple[str, Path]:
        """A variant for all shapes of the task."""
        skip = [name for name in forms.pipeline.names if name not in form.passes]
        settings = self.selection.settings or {}
        selection = replace(
            self.selection, skip=[*self.selection.skip, *skip], compiling=self.target is not None,
            # Options of a pass that is not part of a run are refused.
            settings={k: v for k, v in settings.items() if k.partition(".")[0] not in skip},
        )  # fmt: skip
        if self.target is None:
            settle = selection.passes is None
            made, _ = run_pipeline(
                self.graph, choose(selection), PassContext(), verify="off", settle=settle
            )
            return self._written(made, form)
        return self._compiled(self.graph, selection, form)

    def _written(self, graph: Graph, form: Form) -> tuple[str, Path]:
        path = self.folder / f"scored-{form.id}.onnx"
        exact_products(graph, fused=True).save(path)
        return "ort", path

    def _compiled(self, graph: Graph, selection: Selection, form: Form) -> tuple[str, Path]:
        assert self.target is not None
        path = self.folder / f"scored-{form.id}"
        shapes = input_shapes_of(self.task)
        request = Request(self.target, selection, "off", tune=self.tune, shapes=shapes)
        compile_model(graph, request).artifact.save(path)
        return "burnish", path

    def _scores(self, loader: str, path: Path) -> Mapping[str, Scores]:
        return scores_of(self.task, loader, path, self.threads, self.graph.inputs)


def scores_of(
    task: Task, loader: str, path: Path, threads: int, inputs: Sequence[VariableNode]
) -> Mapping[str, Scores]:
    """What a task says of a model in a file, as the engine ``loader`` runs it.

    Args:
        task: what scores it.
        loader: as `Engine` takes it.
        path: the file.
        threads: how many the engine may use.
        inputs: of the original model, by which to tell what is wrong with feeds.

    Raises:
        TaskFailed: the task cannot score it, or feeds what the model does not take.
        UnsupportedModel: the model does not run on what the task feeds it.
    """
    with Engine(loader) as engine:

        def run(feeds: Feeds) -> Mapping[str, Any]:
            try:
                engine.feed(feeds)
                return engine.outputs()
            except EngineFailed as failure:
                if wrong := _misfit(task, feeds, inputs):
                    raise TaskFailed(f"task {task.name} {wrong}") from failure
                raise _refusal(task, failure) from failure

        try:
            engine.load(path, threads)
        except EngineFailed as failure:
            raise _refusal(task, failure) from failure
        return evaluate(task, run)


def _refusal(task: Task, failure: EngineFailed) -> UnsupportedModel:
    return UnsupportedModel(
        f"the model cannot be run on what the task {task.name} feeds it: {failure}"
    )


def _misfit(task: Task, feeds: Feeds, inputs: Sequence[VariableNode]) -> str:
    """What is wrong with feeds, empty if nothing is that inputs and the task itself tell."""
    known = {value.name: value for value in inputs}
    for name in feeds:
        if name not in known:
            return f"feeds an {unknown('input', name, known)}"
    if missing := [name for name in known if name not in feeds]:
        return f"does not feed {', '.join(map(repr, missing))}"
    for name, value in known.items():
        array = np.asarray(feeds[name])
        if value.dtype not in (None, DType.STRING) and array.dtype != value.dtype.numpy:
            return f"feeds {name!r} {array.dtype}, where the model takes {value.dtype.numpy}"
        if value.shape is not None and not _fits(array.shape, value.shape):
            sizes = ", ".join("?" if size is None else str(size) for size in value.shape)
            return f"feeds {name!r} of shape {array.shape}, where the model takes ({sizes})"
    shapes = {name: np.asarray(array).shape for name, array in feeds.items()}
    stated = input_shapes_of(task)
    if stated and not any(all(shapes.get(n) == s for n, s in each.items()) for each in stated):
        told = " or ".join(map(str, stated))
        return f"feeds shapes {shapes}, which its input_shapes do not state: {told}"
    return ""


def _fits(shape: Sequence[int], declared: Sequence[int | str | None]) -> bool:
    return len(shape) == len(declared) and all(
        size == wanted
        for size, wanted in zip(shape, declared, strict=True)
        if isinstance(wanted, int)
    )
