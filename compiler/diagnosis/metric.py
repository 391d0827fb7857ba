"""Metrics as symptoms: a function of the user's, or a task, says what is wrong with a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from burnish.bench.task import Scores, Task, TaskFailed, evaluate
from burnish.diagnosis.symptom import Failure, run_by_oracle
from burnish.errors import UnsupportedModel, UsageError
from burnish.gates import points_lost
from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.oracle import Oracle
from burnish.verification import Feeds

Wrong = Callable[[Graph], str | None]
"""A user's own judgement: what is wrong with a graph, None if nothing is."""
METRIC = "metric"
"""The kind of failure."""


@dataclass(frozen=True)
class Judged:
    """What a user's own function says."""

    wrong: Wrong
    feeds: Feeds
    """Inputs that the original takes: what does not run on them is not asked about."""

    def of(self, graph: Graph, promise: Numerics) -> Failure | None:
        """Ask the function.

        Raises:
            UsageError: it raises, or returns what is no text.
        """
        broken = _broken(graph, self.feeds)
        if broken is not None:
            return broken
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
    feeds: Feeds
    """Inputs that it takes."""
    _before: tuple[str, Scores] | None = field(default=None, repr=False)

    def of(self, graph: Graph, promise: Numerics) -> Failure | None:
        """Score ``graph``.

        Raises:
            TaskFailed: the task cannot score the original.
        """
        if self._before is None:
            self._before = self._score(Oracle(self.original))
        name, before = self._before
        broken = _broken(graph, self.feeds)
        if broken is not None:
            return broken
        where = f"{name} of {self.task.name}"
        try:
            _, after = self._score(Oracle(graph))
        except TaskFailed as error:
            # It could score the original: what is there no score for is the model's answer.
            return Failure(METRIC, f"{where} goes from {before.metric:.4f} to none: {error}")
        except UnsupportedModel as error:
            return Failure("invalid", f"the rewritten graph does not run in the task: {error}")
        difference = after.metric - before.metric
        lost = points_lost(difference, higher_is_better=before.higher_is_better)
        if lost <= self.allowed:
            return None
        return Failure(
            METRIC,
            f"{where} goes from {before.metric:.4f} to {after.metric:.4f}: "
            f"{lost:.2f} points lost, where {self.allowed:g} are allowed",
        )

    def _score(self, oracle: Oracle) -> tuple[str, Scores]:
        return next(iter(evaluate(self.task, oracle.run).items()))


def _broken(graph: Graph, feeds: Feeds) -> Failure | None:
    """Why ``graph`` does not run at all, if it does not: then no metric can tell."""
    outcome = run_by_oracle(graph, [feeds], fatal=True)
    return outcome if isinstance(outcome, Failure) else None
