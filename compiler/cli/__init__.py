"""The command line: ``burnish COMMAND``; one module per command.

Commands import what they use when they run, so that ``burnish run`` loads no compiler.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from burnish.cli.app import app
from burnish.cli.session import Session
from burnish.errors import BurnishError

INTERRUPTED = 130
"""Exit code of a process that Ctrl-C ended."""
ENDINGS = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end a process as Ctrl-C does: what stops a job, and a terminal that closes."""
BUG = 1

COLLECT_AFTER = (100_000, 20, 100)
"""Objects made before Python looks for circles among them. A graph is a million objects that live
to the end: with the usual 700, a third of all time goes into finding that they still do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: the process's own if None; on Ctrl-C the process then ends here.
    """
    gc.set_threshold(*COLLECT_AFTER)
    session = Session()
    command = typer.main.get_command(app)
    args = list(sys.argv[1:] if arguments is None else arguments)
    # Known before parsing, because parsing may be what fails.
    session.verbose = bool({"-v", "--verbose"} & set(args))
    heard = _hear() if arguments is None else []
    try:
        code = command.main(args, prog_name="burnish", standalone_mode=False, obj=session)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException as error:
        return _explain(error, session)
    if code == INTERRUPTED:
        with suppress(KeyboardInterrupt):
            session.complain(f"interrupted; {session.fate}")
        if arguments is None:
            _leave(128 + heard[0] if heard else code)
    return code if isinstance(code, int) else 0


def _hear() -> list[int]:
    """Take what ends a process for Ctrl-C, so that nothing is left behind; return what came."""
    heard: list[int] = []

    def interrupt(number: int, _: object) -> NoReturn:
        heard.append(number)
        raise KeyboardInterrupt

    for number in ENDINGS:
        # Who ignores one, as nohup has it, goes on ignoring it.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)
    return heard


def _leave(code: int) -> NoReturn:
    """End the process at once.

    A second Ctrl-C leaves threads in the code generator. The interpreter would wait for them as it
    ends; if a third ends that too, they come back to an interpreter that is gone, which aborts.
    """
    for number in (signal.SIGINT, *ENDINGS):
        signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _explain(error: BaseException, session: Session) -> int:
    """Say in one message what went wrong, and return the exit code for it."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else BUG
    if session.verbose:
        traceback.print_exception(error)
    if isinstance(error, BurnishError):
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        session.complain(f"{error}{notes}")
        return error.exit_code
    if isinstance(error, TyperException):
        # Without arguments the help has been printed, and there is nothing to add.
        if message := error.format_message():
            # How the parser begins what a type says; it tells a user nothing.
            session.complain(message.replace("Value error, ", ""))
        return 2
    if isinstance(error, MemoryError):
        session.complain("out of memory; try a smaller input shape or a machine with more")
        return BUG
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return 0
    if isinstance(error, OSError):
        session.complain(f"{error.filename or 'the system'}: {error.strerror or error}")
        return BUG
    session.complain(
        f"this is a bug in burnish ({type(error).__name__}: {error}); "
        "run again with -v and report what it prints"
    )
    return BUG
