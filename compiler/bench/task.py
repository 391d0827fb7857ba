"""Tasks with labels: what a model is for, as far as it can be scored.

A task runs a model over its evaluation split and scores every item, so that two models can be
compared pair by pair on the same items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

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
