"""What can be told of a job by looking at its files, before any of it is done."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import suppress
from pathlib import Path

from burnish.bench.loading import named_in
from burnish.building.job import Job
from burnish.compilation import require_shapes
from burnish.errors import UsageError
from burnish.passes import get_pass
from burnish.pipeline import PassContext, copy_of, run_pass
from burnish.source import load


def check(job: Job) -> None:
    """Refuse a job whose model, input shapes or task cannot be what is meant.

    No code of the user's runs: of a task, only where it would be found.

    Raises:
        InvalidInput: the model is none.
        UsageError: shapes name no input, do not fit or leave one open where code is to be
            generated, or there is no such task.
    """
    if isinstance(job.task, str):
        check_task(job.task)
    assert job.source is not None  # a build reads files
    graph = load(job.source)
    for shapes in job.shapes:
        if job.target is not None:
            require_shapes(graph, shapes)
        run_pass(copy_of(graph), get_pass("freeze-input-shapes", shapes=shapes), PassContext())


def check_task(text: str) -> None:
    """Refuse what names no task that could be there.

    Raises:
        UsageError: there is no such folder, file or module.
    """
    if Path(text).is_dir():
        return
    place, _ = named_in(text)
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise UsageError(f"--eval: {place} does not exist")
    elif not _is_module(place.partition(".")[0]):
        raise UsageError(
            f"--eval: there is no module {place!r} here; name a task as module:NAME or file.py:NAME"
        )


def _is_module(name: str) -> bool:
    """Whether a module or package of that name is in this folder or installed."""
    here = Path.cwd()
    if (here / f"{name}.py").is_file() or (here / name).is_dir() or name in sys.modules:
        return True
    with suppress(ValueError, ImportError):
        return importlib.util.find_spec(name) is not None
    return False
