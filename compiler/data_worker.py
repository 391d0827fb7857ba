"""The process in which code of the user's gives calibration data; it may raise, hang or crash.

It answers each request with the next sample, in plain arrays, or with what is wrong in a sentence.
`burnish.calibration.data` is the other end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from burnish.backends.child import serve
from burnish.errors import BurnishError, UsageError
from burnish.user_code import member, module_of, plain_feeds, what_happened

Answer = tuple[Any, ...]
"""What it is, and its content; ("failed", sentence) and ("usage", sentence) are errors."""


class Worker:
    """Reads what ``text`` names from the beginning."""

    def __init__(self, text: str) -> None:
        """Remember the name; nothing is loaded before the first request."""
        self._text = text
        self._samples: Iterator[object] | None = None

    def answer(self, _: object) -> Answer:
        """The next sample."""
        try:
            if self._samples is None:
                self._samples = iter(samples_of(self._text))
            for feeds in self._samples:
                return "feeds", plain_feeds(self._text, feeds)
        except UsageError as error:
            return "usage", str(error)
        except BurnishError as error:
            return "failed", str(error)
        except (Exception, SystemExit) as error:  # it is the user's code
            return "failed", f"{self._text}: {what_happened(error, __file__)}"
        return ("end",)


def samples_of(text: str) -> Iterable[object]:
    """What ``module:NAME``, ``file.py:NAME`` or ``file.py`` gives.

    Raises:
        UsageError: there is no such module or name, or it gives no samples.
    """
    place, _, name = text.rpartition(":")
    if not place or text.endswith(".py"):
        place, name = text, ""
    module = module_of(place)
    found = member(module, place, name or _default(module, place))
    if isinstance(found, type):
        found = found()
    if callable(getattr(found, "calibration", None)):
        found = found.calibration()
    elif callable(found):
        found = found()
    if isinstance(found, Iterable) and not isinstance(found, Mapping | str | bytes):
        return found
    raise UsageError(
        f"{text} gives a {type(found).__name__}; name a function that returns or yields dicts of "
        "arrays by input name, a list of such, or a task with calibration()"
    )


def _default(module: Any, place: str) -> str:
    """The name of the function ``calibration``, else of what alone has such a method.

    Raises:
        UsageError: there is neither, or several have one.
    """
    if callable(getattr(module, "calibration", None)):
        return "calibration"
    able = {
        name: one for name, one in vars(module).items()
        if callable(getattr(one, "calibration", None))
    }  # fmt: skip
    objects = {id(one): name for name, one in able.items() if not isinstance(one, type)}
    classes = {id(one): name for name, one in able.items() if one.__module__ == module.__name__}
    found: dict[int, str] = objects or classes
    if len(found) == 1:
        return next(iter(found.values()))
    which = f"{len(found)} tasks, {', '.join(found.values())}" if found else "no task"
    raise UsageError(
        f"{place} has no function calibration and {which}: write {place}:NAME for what gives the "
        "samples"
    )


def _begin(text: str) -> Callable[[object], Answer]:
    return Worker(text).answer


if __name__ == "__main__":
    serve(_begin)
