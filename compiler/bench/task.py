"""Tasks with labels: what a model is for, as far as it can be scored.

A task runs a model over its evaluation split and scores every item, so that two models can be
compared pair by pair on the same items (`burnish.bench.paired`). `burnish.bench.loading` makes one
from what a user names, `evaluate` here scores a model with it and checks what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from burnish.errors import InvalidInput

Feeds: TypeAlias = Mapping[str, np.ndarray[Any, Any]]
"""Arrays by input name."""
Run: TypeAlias = Callable[[Feeds], Mapping[str, np.ndarray[Any, Any]]]
"""Runs a model once; arrays by output name."""


@dataclass(frozen=True)
class Scores:
    """What one metric says of each item: the metric is ``sum(values) / sum(weights)``."""

    values: np.ndarray[Any, Any]
    """Float64, one per item: 1 or 0 for right or wrong, else for instance edits of a string."""
    weights: np.ndarray[Any, Any]
    """Float64, one per item: 1, or for instance the characters of a string."""
    higher_is_better: bool = True

    @classmethod
    def of(cls, values: Iterable[float], *, higher_is_better: bool = True) -> Scores:
        """Score items that count alike: the metric is the mean of ``values``."""
        array = np.array(list(values), np.float64)
        return cls(array, np.ones_like(array), higher_is_better)

    @property
    def metric(self) -> float:
        """The metric over all items."""
        return float(self.values.sum() / self.weights.sum())


@runtime_checkable
class Task(Protocol):
    """A metric, a calibration split and an evaluation split."""

    @property
    def name(self) -> str:
        """Of the task, in kebab case."""

    @property
    def input_shapes(self) -> Sequence[Mapping[str, tuple[int, ...]]]:
        """The sets of input shapes that its feeds have, the most frequent first."""

    def calibration(self) -> Iterable[Feeds]:
        """Return feeds without labels, from data that evaluation does not use."""

    def evaluate(self, run: Run) -> Mapping[str, Scores]:
        """Score a model on all items of the evaluation split.

        Args:
            run: runs the model once.

        Returns:
            Scores by metric name; the first is what budgets are about.
        """


class TaskFailed(InvalidInput):
    """A task of the user's cannot score a model: its data or its code are at fault."""


def input_shapes_of(task: Task) -> list[dict[str, tuple[int, ...]]]:
    """The sets of input shapes of a task; one dict counts as one set.

    Raises:
        TaskFailed: they have another form.
    """
    given: object = task.input_shapes
    try:
        sets = [given] if isinstance(given, Mapping) else list(given)  # type: ignore[call-overload]
        return [{str(name): tuple(map(index, shape)) for name, shape in s.items()} for s in sets]
    except (AttributeError, TypeError, ValueError):
        text = repr(given)
        raise TaskFailed(
            f"task {task.name}: input_shapes is {text if len(text) < 80 else f'{text[:77]}...'}; "
            "make it a list of dicts, [{'x': (1, 3, 224, 224)}]"
        ) from None


def evaluate(task: Task, run: Run) -> dict[str, Scores]:
    """Score a model on a task.

    Returns:
        Scores by metric name, the task's first metric first: float64, finite, one value per item
        in each, at least one item.

    Raises:
        TaskFailed: the scores are no such scores.
        BurnishError: the model cannot be run on what the task feeds it.
    """
    return checked(task.name, task.evaluate(run))


def checked(task: str, scores: object) -> dict[str, Scores]:
    """Return what a task called ``task`` gave as scores if it can be used.

    Raises:
        TaskFailed: it cannot; the message names the metric and the first item that is wrong.
    """
    if not isinstance(scores, Mapping) or not scores:
        raise TaskFailed(
            f"task {task}: evaluate returned {_described(scores)}; return a dict of "
            "burnish.bench.task.Scores by the name of the metric"
        )
    return {str(metric): _checked(f"task {task}: {metric}", one) for metric, one in scores.items()}


def _checked(where: str, scores: object) -> Scores:
    if not isinstance(scores, Scores):
        raise TaskFailed(f"{where} is {_described(scores)}; make burnish.bench.task.Scores of it")
    try:
        values = np.asarray(scores.values, np.float64)
        weights = np.asarray(scores.weights, np.float64)
    except (TypeError, ValueError):
        raise TaskFailed(f"{where}: values and weights have to be numbers") from None
    if values.ndim != 1 or values.shape != weights.shape:
        raise TaskFailed(
            f"{where} has values of shape {values.shape} and weights of shape {weights.shape}; "
            "both need one number per item"
        )
    if not values.size:
        raise TaskFailed(f"{where} is about no items: the evaluation split is empty")
    for kind, array in (("value", values), ("weight", weights)):
        wrong = np.flatnonzero(~np.isfinite(array))
        if wrong.size:
            raise TaskFailed(
                f"{where}: the {kind} of item {wrong[0]} is {array[wrong[0]]}, and {wrong.size} "
                f"of {array.size} are not finite; look at what the model gives for that item"
            )
    if weights.min() < 0 or not weights.sum() > 0:
        raise TaskFailed(f"{where}: weights must not be negative, nor all of them zero")
    return Scores(values, weights, bool(scores.higher_is_better))


def _described(value: object) -> str:
    """A few words about a value of the wrong type."""
    if isinstance(value, Mapping) and not value:
        return "an empty dict"
    return "nothing" if value is None else f"a {type(value).__name__}"
