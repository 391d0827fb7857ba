"""Metrics as symptoms: a function of the user's, or a task, says what is wrong with a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from burnish.bench.task import Scores, Task, evaluate
from burnish.diagnosis.symptom import Failure
from burnish.errors import BurnishError, UsageError
from burnish.gates import points_lost
from burnish.ir import Graph
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.oracle import Oracle

Wrong = Callable[[Graph], str | None]
"""A user's own judgement: what is wrong with a graph, None if nothing is."""
METRIC = "metric"
"""The kind of failure."""


@dataclass(frozen=True)
class Judged:
    """What a user's own function says."""

    wrong: Wrong

    def of(self, graph: Graph, promise: Numerics) -> Failure | None:
        """Ask the function.

        Raises:
            UsageError: it raises, or returns what is no text.
        """
        try:
            text = self.wrong(graph)
        except Exception as error:
            raise UsageError(
                f"the function that says what is wrong raised {type(error).__name__}: {error}"
            ) from error
        if text is not None and not isinstance(text, str):
            raise UsageError(
                f"the function that says what is wrong returns text or None, not {text!r}"
            )
        return None if text is None else Failure(METRIC, text)


@dataclass
class Scored:
    """What a task's first metric loses, as the oracle runs the graph."""

    task: Task
    allowed: float
    """Points, which are hundredths, that may be lost."""
    original: Graph
    _before: tuple[str, Scores] | None = field(default=None, repr=False)

    def of(self, graph: Graph, promise: Numerics) -> Failure | None:
        """Score ``graph``.

        Raises:
            TaskFailed: the task cannot score the original, or its own code is at fault.
        """
        if self._before is None:
            self._before = self._score(Oracle(self.original))
        name, before = self._before
        try:
            verify(graph)
            oracle = Oracle(graph)
        except BurnishError as error:
            return Failure("invalid", f"the rewritten graph is no model that runs: {error}")
        _, after = self._score(oracle)
        difference = after.metric - before.metric
        lost = points_lost(difference, higher_is_better=before.higher_is_better)
        if lost <= self.allowed:
            return None
        return Failure(
            METRIC,
            f"{name} of {self.task.name} goes from {before.metric:.4f} to {after.metric:.4f}: "
            f"{lost:.2f} points lost, where {self.allowed:g} are allowed",
        )

    def _score(self, oracle: Oracle) -> tuple[str, Scores]:
        return next(iter(evaluate(self.task, oracle.run).items()))
