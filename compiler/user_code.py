"""Python code of the user's: how it is found by name, and what it gives made plain.

It may do anything, so it is loaded in a process of its own (`burnish.backends.child`).
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from burnish.errors import InvalidInput, UsageError
from burnish.suggest import unknown


def module_of(place: str) -> Any:
    """Import ``module`` or ``file.py``.

    Raises:
        UsageError: there is no such module or file. What its own imports lack is an ImportError.
    """
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
            f"there is no module {error.name!r} here; write module:NAME or file.py:NAME"
        ) from None


def member(module: Any, place: str, name: str) -> Any:
    """What ``module``, which was named as ``place``, calls ``name``.

    Raises:
        UsageError: nothing.
    """
    try:
        return getattr(module, name)
    except AttributeError:
        public = [one for one in vars(module) if not one.startswith("_")]
        raise UsageError(f"{place}: {unknown('name', name, public)}") from None


def plain_feeds(text: str, feeds: object) -> dict[str, np.ndarray]:
    """Feeds as arrays by input name and nothing else.

    Raises:
        InvalidInput: they are no mapping, or hold what is no array of numbers or strings.
    """
    if not isinstance(feeds, Mapping):
        raise InvalidInput(
            f"{text}: feeds are a {type(feeds).__name__}; they have to be a dict of arrays by "
            "input name"
        )
    arrays = {str(name): np.array(one, copy=None) for name, one in feeds.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise InvalidInput(
                f"{text}: what is fed to {name!r} holds objects; feed it an array of numbers or "
                "strings, all rows equally long"
            )
    return arrays


def what_happened(error: BaseException, worker: str) -> str:
    """Return one line about an exception of the user's code, with the place where it arose.

    Args:
        error: the exception.
        worker: path of our own module that called the code: no place to name.
    """
    said = " ".join(str(error).split())[:400]
    ours = (worker, __file__)
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename not in ours]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if said else ''}{said}{place}"
