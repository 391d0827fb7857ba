"""Makes a task from what the user names: ``--eval module:TASK`` or ``--eval FOLDER``."""

from __future__ import annotations

from pathlib import Path

from burnish.bench.folder_task import FolderTask
from burnish.bench.task import Task
from burnish.bench.user_task import LIMIT, UserTask
from burnish.errors import UsageError


def load_task(text: str, limit: float = LIMIT) -> Task:
    """Return the task that ``text`` names.

    Args:
        text: a folder of .npz files (see `FolderTask`), or ``module:NAME``, ``file.py:NAME`` or
            ``file.py`` with one task in it, which runs in a process of its own (see `UserTask`).
        limit: seconds that code of the user's has for loading and for an evaluation.

    Raises:
        UsageError: ``text`` names no task.
        TaskFailed: the task cannot be used: its files or its code are at fault.
    """
    if Path(text).is_dir():
        return FolderTask(Path(text))
    named_in(text)
    return UserTask(text, limit)


def named_in(text: str) -> tuple[str, str]:
    """The file or module that ``text`` names, and the name in it; empty for the one task there.

    Raises:
        UsageError: it has another form.
    """
    place, _, name = text.rpartition(":")
    if place and name.isidentifier():
        return place, name
    if text.endswith(".py"):
        return text, ""
    raise UsageError(
        f"--eval {text}: no folder of that name; give a folder of .npz files, or a task in Python "
        "as module:NAME or file.py:NAME"
    )
