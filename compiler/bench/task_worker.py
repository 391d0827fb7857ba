"""The process in which a task of the user's runs, whose code may raise, hang or crash.

It knows one task, loads it when asked to, and answers with plain values: whatever is wrong with
the task becomes a sentence here. `burnish.bench.user_task` is the other end.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from burnish.backends.child import Ask, serve_asking
from burnish.bench.loading import named_in
from burnish.bench.task import Feeds, Scores, TaskFailed, checked, input_shapes_of
from burnish.errors import BurnishError, UsageError
from burnish.suggest import unknown

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
            return "failed", f"{self._text}: {what_happened(error)}"

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
            return "feeds", self._plain(feeds)
        return ("end",)

    def _evaluate(self) -> Answer:
        def run(feeds: Feeds) -> Mapping[str, np.ndarray]:
            outputs: Mapping[str, np.ndarray] = self._ask(("run", self._plain(feeds)))
            return outputs

        scores = checked(self._text, self._task.evaluate(run))
        return "scores", {name: _plain_scores(one) for name, one in scores.items()}

    def _plain(self, feeds: object) -> dict[str, np.ndarray]:
        """Feeds as arrays and nothing else."""
        if not isinstance(feeds, Mapping):
            raise TaskFailed(
                f"{self._text}: feeds are a {type(feeds).__name__}; they have to be a dict of "
                "arrays by input name"
            )
        arrays = {str(name): np.array(one, copy=None) for name, one in feeds.items()}
        for name, array in arrays.items():
            if array.dtype.hasobject:
                raise TaskFailed(
                    f"{self._text}: what is fed to {name!r} holds objects; feed it an array of "
                    "numbers or strings, all rows equally long"
                )
        return arrays


def find_object(text: str) -> Any:
    """Return what ``module:NAME`` or ``file.py:NAME`` names, or the one task in ``file.py``.

    A class or function is called.

    Raises:
        UsageError: there is no such module or name, or the file has no task or several.
    """
    place, name = named_in(text)
    module = _module(place)
    if not name:
        name = _only_task(module, place)
    try:
        found = getattr(module, name)
    except AttributeError:
        public = [one for one in vars(module) if not one.startswith("_")]
        raise UsageError(f"{place}: {unknown('name', name, public)}") from None
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


def _module(place: str) -> Any:
    if place.endswith(".py"):
        path = Path(place)
        if not path.is_file():
            raise UsageError(f"{place} does not exist")
        sys.path.insert(0, str(path.resolve().parent))
        place = path.stem
    else:
        # As with python -m: modules of the folder that one works in.
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise
        raise UsageError(
            f"there is no module {error.name!r} here; name a task as module:NAME or file.py:NAME"
        ) from None


def what_happened(error: BaseException) -> str:
    """Return one line about an exception of the user's code, with the place where it arose."""
    said = " ".join(str(error).split())[:400]
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename != __file__]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if said else ''}{said}{place}"


def _plain_scores(scores: Scores) -> Answer:
    return scores.values, scores.weights, scores.higher_is_better


def _begin(text: str, ask: Ask) -> Callable[[Answer], Answer]:
    return Worker(text, ask).answer


if __name__ == "__main__":
    serve_asking(_begin)
