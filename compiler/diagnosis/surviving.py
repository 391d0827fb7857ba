"""Whether this process would survive something: a copy of it tries."""

from __future__ import annotations

import os
import select
import signal
import warnings
from collections.abc import Callable

from burnish.backends.child import die_with_parent


def killed_by(task: Callable[[], object], seconds: float) -> str | None:
    """The name of the signal that would end this process in ``task``, None if none would.

    What ``task`` raises or returns does not matter. A copy that does not end within ``seconds``
    tells nothing: it lacks the threads of this process, and may wait for one.
    """
    ended, ending = os.pipe()
    with warnings.catch_warnings():
        # Threads of a runtime that is idle hold nothing that the copy needs.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process == 0:
        _try(task)
    os.close(ending)
    has_ended = False
    try:
        has_ended = bool(select.select([ended], [], [], seconds)[0])
    finally:
        # Ctrl-C too: nobody else can end it.
        if not has_ended:
            os.kill(process, signal.SIGKILL)
        os.close(ended)
        _, status = os.waitpid(process, 0)
    if not has_ended or not os.WIFSIGNALED(status):
        return None
    return signal.Signals(os.WTERMSIG(status)).name


def _try(task: Callable[[], object]) -> None:
    """In the copy: run ``task``, silently, and end."""
    try:
        die_with_parent()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        task()
    finally:
        # Neither handlers of the original nor its buffers are for the copy.
        os._exit(0)
