"""A task that is Python code of the user's: it runs in a process of its own, with a time limit."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from burnish.backends.child import Child, ChildFailed
from burnish.bench.task import Feeds, Run, Scores, TaskFailed
from burnish.errors import UsageError

WORKER = "burnish.bench.task_worker"
LIMIT = 600.0
"""Seconds that the user's code has for one evaluation, not counting the runs of the model."""


class UserTask:
    """What ``module:NAME`` names, as a `burnish.bench.task.Task`."""

    def __init__(self, text: str, limit: float = LIMIT) -> None:
        """Load the task.

        Args:
            text: ``module:NAME`` or ``file.py:NAME``.
            limit: seconds that its code has for loading, for each feed of the calibration split,
                and for an evaluation.

        Raises:
            UsageError: there is no such module, or nothing of that name that is a task.
            TaskFailed: its code raises, crashes or does not end.
        """
        self._text = text
        self.limit = limit
        """Seconds, as above."""
        self._child: Child | None = None
        _, name, shapes = self._begin("load")
        self.name: str = name
        """As the user called it."""
        self.input_shapes: Sequence[Mapping[str, tuple[int, ...]]] = shapes
        """The sets of input shapes that its feeds have, the most frequent first."""

    def calibration(self) -> Iterator[Feeds]:
        """Yield the feeds of the calibration split.

        Raises:
            TaskFailed: as of the class.
        """
        _, number = self._begin("calibration")
        while (answer := self._ask(("next", number), self.limit))[0] != "end":
            yield answer[1]

    def evaluate(self, run: Run) -> Mapping[str, Scores]:
        """Score a model; it runs in this process.

        Raises:
            TaskFailed: as of the class.
            BurnishError: what ``run`` raises.
        """
        started, elsewhere = time.monotonic(), 0.0
        answer = self._begin("evaluate")
        while answer[0] != "scores":
            before = time.monotonic()
            try:
                outputs = run(answer[1])
            except BaseException:
                # The other end waits for outputs that will never come.
                self.close()
                raise
            elsewhere += time.monotonic() - before
            spent = time.monotonic() - started - elsewhere
            answer = self._ask(outputs, self.limit - spent)
        return {name: Scores(*parts) for name, parts in answer[1].items()}

    def close(self) -> None:
        """End the process; the next use starts another one."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _begin(self, *request: object) -> tuple[Any, ...]:
        """Ask for something new, of another process if the last one has ended."""
        if self._child is None or not self._child.is_alive():
            with self._explained():
                self._child = Child(WORKER, self._text, self.limit)
            weakref.finalize(self, self._child.close)
            if request != ("load",):
                self._ask(("load",), self.limit)
        return self._ask(request, self.limit)

    def _ask(self, request: object, limit: float) -> tuple[Any, ...]:
        """Ask the process that is there."""
        assert self._child is not None
        with self._explained():
            answer: tuple[Any, ...] = self._child.ask(request, max(limit, 0.0))
        if answer[0] == "usage":
            raise UsageError(answer[1])
        if answer[0] == "failed":
            raise TaskFailed(answer[1])
        return answer

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say of which task it was that the process failed, and have none that is out of step."""
        try:
            yield
        except ChildFailed as failure:
            self._child = None
            raise TaskFailed(self._complaint(failure)) from failure
        except BaseException:
            # Such as Ctrl-C: an answer that comes late would be taken for that to the next request.
            self.close()
            raise

    def _complaint(self, failure: ChildFailed) -> str:
        if "in time" in str(failure):
            return (
                f"{self._text} did not finish in {self.limit:g} s of its own; it hangs, or its "
                "evaluation split is too large for what it does with it"
            )
        return f"{self._text}: its process {failure}"
