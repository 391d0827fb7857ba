"""Metrics of a task's model as it is, as `optimize` leaves it, and as compiled."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import burnish
from benchmarks.cache import Zoo
from benchmarks.partial import Partial
from benchmarks.tasks.table import Judged
from burnish.bench.document import Metric
from burnish.bench.paired import describe_metrics
from burnish.bench.task import Scores, evaluate
from burnish.errors import BurnishError
from burnish.oracle import Oracle

ORIGINAL, DEFAULT, COMPILED = "original", "default", "compiled"
"""The model in ONNX Runtime, what the preset of that name leaves of it in ONNX Runtime, and the
artifact."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """What a task says of its model before and after."""

    model: str
    task: str
    metrics: Mapping[str, Sequence[Metric]] = field(default_factory=dict)
    """By variant, in the order above."""
    seconds: float = 0.0
    """Of all evaluations; other work on the machine counts, too."""
    failure: str | None = None

    @property
    def complaints(self) -> list[str]:
        """What contradicts that a rewritten model is as good as the original.

        A metric of `default` must be the same; sums in another order, as compiled code has them,
        may turn over an item that was a tie, so a difference of zero has to be in its interval.
        """
        found = [self.failure] if self.failure else []
        for variant, metrics in self.metrics.items():
            for metric in metrics:
                by = metric.difference
                if by is None or by.value == 0:
                    continue
                if variant == DEFAULT or not by.low <= 0 <= by.high:
                    found.append(
                        f"{metric.name} of {variant} differs by {by.value:+.2g} "
                        f"({by.low:+.2g} to {by.high:+.2g})"
                    )
        return [f"{self.model}: {one}" for one in found]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        metrics = {name: [one.model_dump() for one in row] for name, row in self.metrics.items()}
        return {
            "model": self.model, "task": self.task, "metrics": metrics, "seconds": self.seconds,
            "failure": self.failure,
        }  # fmt: skip

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` was called on."""
        metrics = {
            name: [Metric.model_validate(one) for one in row]
            for name, row in content["metrics"].items()
        }
        return cls(**{**content, "metrics": metrics})

    def __str__(self) -> str:
        """Return one line for people."""
        if self.failure:
            return f"{self.model}: {self.failure}"
        values = [
            f"{metric.name} {metric.value.value:.4f} ({variant})"
            for variant, metrics in self.metrics.items()
            for metric in metrics
        ]
        return f"{self.model}: {', '.join(values)}"


def measure_tasks(
    judged: Mapping[str, Judged], zoo: Zoo, threads: int, tune: float | str, partial: Partial | None
) -> Iterator[TaskRow]:
    """Score every model; with `partial`, what is kept there is not measured again."""

    def score(one: Judged) -> TaskRow:
        return measure_task(one, zoo, threads, tune)

    if partial is None:
        yield from map(score, judged.values())
    else:
        yield from partial.each("task", judged, TaskRow, score)


def measure_task(judged: Judged, zoo: Zoo, threads: int, tune: float | str) -> TaskRow:
    """Score a model on its task, original, optimized and compiled.

    Args:
        judged: the model and its task.
        zoo: where models are.
        threads: of ONNX Runtime and of the artifact.
        tune: seconds for timing candidates of kernels, or "off".

    Returns:
        The metrics of all three; a row with a failure if one of them cannot be had.
    """
    started = time.perf_counter()
    task, scores = judged.task, dict[str, Mapping[str, Scores]]()
    try:
        model = burnish.load(judged.locate(zoo))
        scores[ORIGINAL] = evaluate(task, Oracle(model, threads=threads).run)
        better, _ = burnish.optimize(model)
        scores[DEFAULT] = evaluate(task, Oracle(better, threads=threads).run)
        artifact = burnish.compile(
            model, input_shapes=list(task.input_shapes), threads=threads, tune=tune
        )
        scores[COMPILED] = evaluate(task, artifact.run)
    except BurnishError as error:
        return TaskRow(judged.name, task.name, failure=str(error))
    metrics = {
        name: describe_metrics(one, None if name == ORIGINAL else scores[ORIGINAL])
        for name, one in scores.items()
    }
    return TaskRow(judged.name, task.name, metrics, round(time.perf_counter() - started, 1))
