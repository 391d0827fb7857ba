"""A bench of the methods of quantization: on which data, as which passes, and how a task judges.

What ``optimize`` does comes before and is in every variant, and so is what compiling needs after.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from burnish.backends.self_test import Vector
from burnish.bench.graph_parts import GraphParts, graph_parts
from burnish.bench.methods import BASE, SHAPES, method_names, method_pipeline
from burnish.bench.scoring import Judge
from burnish.bench.task import Task
from burnish.bench.task_data import TaskData
from burnish.bench.variants import Form, Forms, Pipeline
from burnish.calibration.data import load_data
from burnish.calibration.store import Calibration
from burnish.errors import BurnishError, GateFailed, UsageError
from burnish.ir import Graph
from burnish.optimization import infer, optimize_model
from burnish.pipeline import Pass, PassContext, Progress, copy_of, run_pass
from burnish.quantization.request import SAMPLES, Quantization
from burnish.selection import Selection, choose
from burnish.target import Target
from burnish.verification import Feeds, Reference

COMPARED = 16
"""Inputs that variants are compared with the original on."""
Sizes = Mapping[str, tuple[int, ...]]


@dataclass
class Methods:
    """The methods of quantization on one model."""

    graph: Graph
    """After what comes before, its sizes open as they were."""
    context: PassContext
    selection: Selection
    """As the user gave it."""
    feeds: list[Feeds]
    """Inputs of equal shapes to compare and time on."""
    shapes: Sizes
    """Of these."""
    notes: list[str]

    @classmethod
    def prepare(
        cls, graph: Graph, asked: Quantization, task: Task | None, selection: Selection,
        shapes: Sizes, target: Target | None, progress: Progress,
    ) -> Methods:  # fmt: skip
        """Optimize a model and look at the data.

        Raises:
            UsageError: there are no data, or none of the shapes that are timed; or an option does
                not fit.
            BurnishError: the data or the model cannot be used.
        """
        _require_fitting(selection)
        source: Iterable[Feeds] | None = None if task is None else TaskData(task)
        if asked.source is not None:
            named = isinstance(asked.source, str | Path)
            source = load_data(str(asked.source)) if named else asked.source  # type: ignore[assignment]
        if source is None:
            raise UsageError(
                "what methods of quantization are worth is known on real data only: give "
                "--calibration with a folder of .npz or .npy files or module:function, or --eval"
            )
        own = set(method_names())
        before = replace(
            selection, skip=[name for name in selection.skip if name not in own],
            settings=_settings(selection, lambda name: name not in own),
        )  # fmt: skip
        limit = asked.samples or SAMPLES
        Calibration(source, most=limit + COMPARED).check(graph)
        better, _ = optimize_model(graph, before, progress=progress)
        calibration = Calibration(source, samples=asked.samples, most=SAMPLES, progress=progress)
        feeds, count = _last(source, limit + COMPARED, better, shapes)
        among = "" if count > limit else ", which are among them"
        notes = [
            f"quantized on {limit} samples of the data at most; compared with the original on the "
            f"last {len(feeds)} of {count} that have the shapes which are timed{among}"
        ]
        sizes = {name: tuple(array.shape) for name, array in feeds[0].items()}
        context = PassContext(target, calibration=calibration)
        return cls(better, context, selection, feeds, sizes, notes)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The methods, and what compiling needs."""
        return method_pipeline(self._methods, self._after)

    @property
    def _methods(self) -> list[Pass]:
        names = [name for name in method_names() if name not in self.selection.skip]
        settings = _settings(self.selection, lambda name: name in names)
        return choose(Selection(passes=names, settings=settings))

    @property
    def _after(self) -> list[Pass]:
        compiles = self.context.target is not None
        passes = None if compiles else ["freeze-input-shapes", SHAPES]
        return choose(Selection(passes=passes, input_shapes=self.shapes, compiling=compiles))

    def parts(self) -> GraphParts:
        """The graph before and after, and what fired where."""
        return graph_parts(self.graph, None, self.pipeline.steps, self.context, settle=False)

    def require_quantized(self, forms: Forms) -> None:
        """Give up where there is nothing to compare.

        Raises:
            GateFailed: no layer is quantized.
            BurnishError: the data or the model cannot be used.
        """
        if forms.cleanup is not forms.original and not forms.cleanup.failure:
            return
        # Whatever it refuses it says here.
        report = run_pass(copy_of(self.graph), self._base, self.context)
        why = "; ".join(report.notes) or "no product or convolution has constant weights"
        raise GateFailed(f"nothing is quantized, so there is nothing to compare: {why}")

    @property
    def _base(self) -> Pass:
        return next(step for step in self._methods if step.name == BASE)

    def quantized(self, form: Form, forms: Forms) -> Graph:
        """The graph of a variant before its sizes are set and it is compiled for them."""
        methods = [step for step in self._methods if step.name in form.passes]
        return forms.ladder.graph(forms.ladder.climb([self.pipeline.steps[0], *methods]))

    def vector(self, form: Form, forms: Forms) -> Vector:
        """What compiled code has to answer: what the quantized model does, not the original."""
        answers = Reference(self.quantized(form, forms), self.feeds[:1], self.shapes)
        return Vector(answers.feeds[0], answers.expected[0], answers.leeway(0))


@dataclass(frozen=True)
class MethodJudge(Judge):
    """Scores variants that quantize by some methods."""

    methods: Methods | None = None

    def _made(self, form: Form, forms: Forms) -> tuple[str, Path]:
        assert self.methods is not None
        graph = self.methods.quantized(form, forms)
        if self.target is None:
            return self._written(graph, form)
        return self._compiled(graph, Selection(compiling=True), form)


def _require_fitting(selection: Selection) -> None:
    if selection.passes is not None:
        raise UsageError(
            "--passes does not go with --quantize, whose methods are the passes in question; "
            "leave some of them out with --skip"
        )
    if BASE in selection.skip:
        raise UsageError(f"--skip {BASE} leaves nothing to compare with --quantize")


def _settings(selection: Selection, chosen: Any) -> dict[str, Any]:
    """Options of the passes whose name is ``chosen``."""
    settings = selection.settings or {}
    return {key: value for key, value in settings.items() if chosen(key.partition(".")[0])}


def _last(
    source: Iterable[Feeds], most: int, graph: Graph, shapes: Sizes
) -> tuple[list[Feeds], int]:
    """The last samples of equal shapes, and how many samples there are, ``most`` at most.

    Raises:
        UsageError: none has the shapes that are timed.
        BurnishError: the data cannot be used.
    """
    wanted = {name: tuple(shape) for name, shape in shapes.items()}
    static = infer(graph, shapes)
    try:
        return _equal(Calibration(source, most=most), static, wanted)
    except BurnishError:
        # Samples of several shapes, of which some do not fit sizes that are set.
        return _equal(Calibration(source, most=most), graph, wanted)


def _equal(data: Calibration, graph: Graph, wanted: Sizes) -> tuple[list[Feeds], int]:
    kept: deque[Feeds] = deque(maxlen=COMPARED)
    for feeds in data.feeds(graph):
        sizes = {name: tuple(array.shape) for name, array in feeds.items()}
        wanted = wanted or sizes
        if all(sizes[name] == shape for name, shape in wanted.items()) and _alike(kept, sizes):
            kept.append(feeds)
    if not kept:
        shown = ", ".join(f"{name}={'x'.join(map(str, shape))}" for name, shape in wanted.items())
        raise UsageError(
            f"no sample of the calibration data has the shapes that are timed, {shown}; give "
            "others with --input-shape"
        )
    return list(kept), data.samples or 0


def _alike(kept: deque[Feeds], sizes: Sizes) -> bool:
    return not kept or all(kept[0][name].shape == shape for name, shape in sizes.items())
