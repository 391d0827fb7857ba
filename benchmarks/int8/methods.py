"""What each method of quantization is worth on tasks with labels.

Numbers are rounded where compiled code rounds them; ONNX Runtime computes the models, which it does
in floats where it has no integers for that.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import burnish
from benchmarks.cache import Zoo
from benchmarks.partial import Partial
from benchmarks.tasks.table import Judged
from burnish.bench.document import Metric
from burnish.bench.ladder import Ladder
from burnish.bench.methods import BASE, item_distances, method_names, method_pipeline
from burnish.bench.paired import describe_metrics
from burnish.bench.scoring import scores_of
from burnish.bench.task import Scores
from burnish.bench.variants import Form, Forms, Names
from burnish.calibration.store import Calibration
from burnish.errors import BurnishError
from burnish.ir import Graph
from burnish.optimization import optimize_model
from burnish.oracle import Oracle
from burnish.oracle.exact_products import exact_products
from burnish.passes import get_pass
from burnish.pipeline import PassContext
from burnish.selection import Selection
from burnish.target import resolve
from burnish.verification import Feeds

View = Literal["alone", "without"]
VIEWS: tuple[View, ...] = ("alone", "without")
Verdict = Literal["better", "worse", "noise", "same"]
Scored = Mapping[str, Scores]


@dataclass(frozen=True, slots=True)
class Effect:
    """What a method does to a model in a view."""

    name: str
    view: View
    metrics: Sequence[Metric] = ()
    """With the method, each with its paired difference to what there is without it: those of the
    task, then distances to the original. Empty where both are the same."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        metrics = [one.model_dump() for one in self.metrics]
        return {"name": self.name, "view": self.view, "metrics": metrics}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` was called on."""
        return cls(**{**content, "metrics": _metrics(content["metrics"])})


@dataclass(frozen=True, slots=True)
class MethodsRow:
    """What a task says of the methods on its model."""

    model: str
    task: str
    samples: int = 0
    """Calibration samples."""
    compared: int = 0
    """Others, that distances are of."""
    variants: Mapping[str, Sequence[Metric]] = field(default_factory=dict)
    """Of the float model, quantize-int8 and all methods: metrics, with differences to the first."""
    effects: Sequence[Effect] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    """Methods with which ONNX Runtime does not run the model, and why: none of the others' effects
    are with them."""
    seconds: float = 0.0
    failure: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": self.model, "task": self.task, "samples": self.samples,
            "compared": self.compared, "seconds": self.seconds, "failure": self.failure,
            "variants": {n: [m.model_dump() for m in row] for n, row in self.variants.items()},
            "effects": [one.as_json() for one in self.effects], "failures": dict(self.failures),
        }  # fmt: skip

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` was called on."""
        variants = {name: _metrics(row) for name, row in content["variants"].items()}
        effects = [Effect.from_json(one) for one in content["effects"]]
        return cls(**{**content, "variants": variants, "effects": effects})

    def __str__(self) -> str:
        """Return one line for people."""
        if self.failure:
            return f"{self.model}: {self.failure}"
        found = ", ".join(
            f"{one.name} {one.view} {verdict(one)}" for one in self.effects if one.metrics
        )
        return f"{self.model}: {found}"


FLOAT, WHOLE = "float", "all"


def _metrics(found: Sequence[Mapping[str, Any]]) -> list[Metric]:
    return [Metric.model_validate(one) for one in found]


def verdict(effect: Effect) -> Verdict:
    """What a method does to a task; where its metric cannot tell, to distances.

    A distance tells only if none says the contrary.
    """
    if not effect.metrics:
        return "same"
    told = [_direction(one) for one in effect.metrics]
    if told[0]:
        return "better" if told[0] > 0 else "worse"
    others = set(told[1:]) - {0}
    if len(others) != 1:
        return "noise"
    return "better" if others == {1} else "worse"


def _direction(metric: Metric) -> int:
    """1 if it is better beyond its interval, -1 if worse, else 0."""
    by = metric.difference
    if by is None or by.low <= 0 <= by.high:
        return 0
    return 1 if (by.low > 0) is metric.higher_is_better else -1


def helpful(rows: Sequence[MethodsRow]) -> dict[str, list[str]]:
    """By method: the models that it helps in a view, and makes worse in none."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for name in dict.fromkeys(one.name for one in row.effects):
            told = {verdict(one) for one in row.effects if one.name == name}
            found.setdefault(name, [])
            if "better" in told and "worse" not in told:
                found[name].append(row.model)
    return found


@dataclass(frozen=True, slots=True)
class MethodsPlan:
    """How to measure."""

    samples: int
    """Calibration feeds at most."""
    compared: int
    """Further feeds of that split, that distances are of."""
    threads: int


def measure_methods(
    judged: Mapping[str, Judged], plan: MethodsPlan, zoo: Zoo, partial: Partial
) -> Iterator[MethodsRow]:
    """Quantize by all selections of methods and score; what is kept is not measured again."""
    return partial.each("int8-methods", judged, MethodsRow, lambda one: _row(one, plan, zoo))


def _row(judged: Judged, plan: MethodsPlan, zoo: Zoo) -> MethodsRow:
    started = time.perf_counter()
    task, model = judged.task, judged.locate(zoo)
    feeds = list(islice(iter(task.calibration()), plan.samples + plan.compared))
    # A split may hold fewer: what distances are of was not calibrated on, at least a quarter.
    count = min(plan.samples, max(1, len(feeds) * 3 // 4))
    try:
        with tempfile.TemporaryDirectory(prefix="burnish-methods-") as scratch:
            bench = _Bench(judged, model, feeds[:count], feeds[count:], plan, Path(scratch))
            failures = bench.leave_out_failing()
            variants, effects = bench.run()
    except BurnishError as error:
        return MethodsRow(judged.name, task.name, count, failure=str(error))
    taken = round(time.perf_counter() - started, 1)
    return MethodsRow(
        judged.name, task.name, count, len(feeds) - count, variants, effects, failures, taken
    )  # fmt: skip


class _Bench:
    """One model, quantized by selections of methods."""

    def __init__(
        self, judged: Judged, model: Path, samples: list[Feeds], others: list[Feeds],
        plan: MethodsPlan, folder: Path,
    ) -> None:  # fmt: skip
        self._task, self._threads, self._folder = judged.task, plan.threads, folder
        self._graph, self._model = burnish.load(model), model
        better, _ = optimize_model(self._graph, Selection(), verify="off")
        context = PassContext(
            resolve("cpu", plan.threads), calibration=Calibration(samples, threads=plan.threads)
        )
        self._pipeline = method_pipeline([get_pass(name) for name in method_names()])
        self._forms = Forms(self._pipeline, Ladder(better, context))
        self._others = others or samples
        self._expected = self._answers(self._graph)
        self._found: dict[str, Scored] = {}

    def leave_out_failing(self) -> dict[str, str]:
        """Go on without methods that fail on top of rounding, and say why.

        Raises:
            BurnishError: rounding fails.
        """
        self._scores(self._forms.cleanup)
        found: dict[str, str] = {}
        for each in self._pipeline.questions():
            if each.view == "alone" and each.name != BASE:
                try:
                    self._scores(self._forms.of(each.having))
                except BurnishError as error:
                    found[each.name] = str(error)
        if found:
            kept = [step for step in self._pipeline.steps if step.name not in found]
            self._pipeline = replace(self._pipeline, steps=kept)
            self._forms = Forms(self._pipeline, self._forms.ladder)
        return found

    def run(self) -> tuple[dict[str, list[Metric]], list[Effect]]:
        """Metrics of what is told by name, and effects."""
        before = {
            **self._task_scores(self._model),
            **item_distances(self._expected, self._expected),
        }
        told = {
            name: describe_metrics(self._scores(form), before)
            for name, form in ((BASE, self._forms.cleanup), (WHOLE, self._forms.whole))
        }
        effects = [
            Effect(each.name, view, self._effect(each.having, each.lacking))
            for view in VIEWS
            for each in self._pipeline.questions()
            if each.view == view and each.name != BASE
        ]
        return {FLOAT: describe_metrics(before), **told}, effects

    def _effect(self, having: Names, lacking: Names) -> list[Metric]:
        one, other = self._forms.of(having), self._forms.of(lacking)
        return [] if one is other else describe_metrics(self._scores(one), self._scores(other))

    def _scores(self, form: Form) -> Scored:
        """Of a variant: its task's, and distances to the original.

        Raises:
            BurnishError: a pass or ONNX Runtime refuses it.
        """
        if form.id not in self._found:
            if form.digest is None:
                raise BurnishError(f"{', '.join(form.passes)}: {form.failure}")
            graph = self._forms.ladder.graph(form.digest)
            path = self._folder / f"{form.id}.onnx"
            burnish.save(exact_products(graph, fused=True), path)
            scores = self._task_scores(path)
            path.unlink()
            self._found[form.id] = {
                **scores, **item_distances(self._expected, self._answers(graph))
            }  # fmt: skip
        return self._found[form.id]

    def _answers(self, graph: Graph) -> list[Mapping[str, Any]]:
        oracle = Oracle(graph)
        return [oracle.run(feeds) for feeds in self._others]

    def _task_scores(self, path: Path) -> Scored:
        return scores_of(self._task, "ort", path, self._threads, self._graph.inputs)
