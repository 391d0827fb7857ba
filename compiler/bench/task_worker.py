"""The process in which a task of the user's runs, whose code may raise, hang or crash.

It knows one task, loads it when asked to, and answers with plain values: whatever is wrong with
the task becomes a sentence here. `burnish.bench.user_task` is the other end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from burnish.backends.child import Ask, serve_asking
from burnish.bench.loading import named_in
from burnish.bench.task import Feeds, Scores, checked, input_shapes_of
from burnish.errors import BurnishError, UsageError
from burnish.user_code import member, module_of, plain_feeds, what_happened

PARTS = ("name", "input_shapes", "calibration", "evaluate")
Answer = tuple[Any, ...]
"""What it is, and its content; ("failed", sentence) and ("usage", sentence) are errors."""


class Worker:
    """Holds a task between requests."""

    def __init__(self, text: str, ask: Ask) -> None:
        """Remember that ``text`` names the task."""
        self._text = text
        self._ask = ask
        self._task: Any = None
        self._splits: list[Iterator[object]] = []
        """Calibration splits that somebody reads, by number."""

    def answer(self, request: Answer) -> Answer:
        """Do what is asked for."""
        verb, *arguments = request
        actions: dict[str, Callable[..., Answer]] = {
            "load": self._load,
            "calibration": self._calibration,
            "next": self._next,
            "evaluate": self._evaluate,
        }
        try:
            return actions[verb](*arguments)
        except UsageError as error:
            return "usage", str(error)
        except BurnishError as error:
            return "failed", str(error)
        except (Exception, SystemExit) as error:  # it is the user's code
            return "failed", f"{self._text}: {what_happened(error, __file__)}"

    def _load(self) -> Answer:
        self._task = found = find_object(self._text)
        missing = [part for part in PARTS if not hasattr(found, part)]
        if missing:
            raise UsageError(
                f"{self._text} is an object of type {type(found).__name__} without "
                f"{' and '.join(missing)}; a task has {', '.join(PARTS)}: see "
                "burnish.bench.task.Task"
            )
        return "task", str(found.name), input_shapes_of(found)

    def _calibration(self) -> Answer:
        self._splits.append(iter(self._task.calibration()))
        return "split", len(self._splits) - 1

    def _next(self, number: int) -> Answer:
        for feeds in self._splits[number]:
            return "feeds", plain_feeds(self._text, feeds)
        return ("end",)

    def _evaluate(self) -> Answer:
        def run(feeds: Feeds) -> Mapping[str, np.ndarray]:
            outputs: Mapping[str, np.ndarray] = self._ask(("run", plain_feeds(self._text, feeds)))
            return outputs

        scores = checked(self._text, self._task.evaluate(run))
        return "scores", {name: _plain_scores(one) for name, one in scores.items()}


def find_object(text: str) -> Any:
    """Return what ``module:NAME`` or ``file.py:NAME`` names, or the one task in ``file.py``.

    A class or function is called.

    Raises:
        UsageError: there is no such module or name, or the file has no task or several.
    """
    place, name = named_in(text)
    module = module_of(place)
    if not name:
        name = _only_task(module, place)
    found = member(module, place, name)
    is_factory = isinstance(found, type) or not hasattr(found, "evaluate")
    return found() if is_factory and callable(found) else found


def _only_task(module: Any, place: str) -> str:
    """The name of the one task in a module: of an object, else of a class that is written there."""
    found: dict[int, str] = {}
    classes = []
    for name, one in vars(module).items():
        if name.startswith("_") or not callable(getattr(one, "evaluate", None)):
            continue
        if not isinstance(one, type):
            found.setdefault(id(one), name)
        elif one.__module__ == module.__name__:
            classes.append(name)
    names = list(found.values()) or classes
    if len(names) == 1:
        return names[0]
    if names:
        raise UsageError(
            f"{place} has {len(names)} tasks, {', '.join(names)}: write {place}:{names[0]}"
        )
    raise UsageError(
        f"{place} has no task, which is an object with {', '.join(PARTS)}: see "
        "burnish.bench.task.Task"
    )


def _plain_scores(scores: Scores) -> Answer:
    return scores.values, scores.weights, scores.higher_is_better


def _begin(text: str, ask: Ask) -> Callable[[Answer], Answer]:
    return Worker(text, ask).answer


if __name__ == "__main__":
    serve_asking(_begin)
