"""Where a command writes: results to stdout, progress and messages to stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from burnish.errors import GateFailed
from burnish.wording import printable

if TYPE_CHECKING:
    from rich.console import Console

    from burnish.pipeline import PipelineReport, Progress

WIDEST, UNCUT = 100, 1000
"""Columns that tables use at most in a terminal, and anywhere else, where nothing wraps."""
PATIENCE = 1.0
"""Seconds of work before a progress bar appears."""
PERIOD = 30.0
"""Seconds between lines about progress where there is no terminal."""


@dataclass
class Session:
    """One invocation of the command line."""

    verbose: bool = False
    quiet: bool = False
    json: bool = False
    fate: str = "nothing was written"
    """What becomes of results if Ctrl-C comes now."""

    @property
    def out(self) -> Console:
        """The console for results."""
        return _console(stderr=False)

    @property
    def err(self) -> Console:
        """The console for everything else."""
        return _console(stderr=True)

    def complain(self, message: str) -> None:
        """Write one message to stderr."""
        sys.stderr.write(_fitted(f"burnish: {printable(message.strip())}", sys.stderr) + "\n")

    def note(self, message: str) -> None:
        """Write something the user should know to stderr, unless they asked for quiet."""
        if not self.quiet:
            sys.stderr.write(_fitted(printable(message), sys.stderr) + "\n")

    def tell(self, line: str) -> None:
        """Write a line of results to stdout, in as many as a terminal needs."""
        sys.stdout.write(_fitted(printable(line), sys.stdout) + "\n")

    def warn_of_rollbacks(self, report: PipelineReport) -> None:
        """Name on stderr the passes that were undone, with tracebacks if asked for details."""
        for entry in report.rolled_back:
            self.note(f"burnish: pass {entry.name} was undone: {entry.rolled_back}")
            if entry.traceback and self.verbose:
                self.note(entry.traceback)

    def data(self, value: Any) -> None:
        """Write ``value`` as JSON to stdout."""
        sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")

    @contextmanager
    def gates_as_data(self, model: Path) -> Iterator[None]:
        """Where a gate fails and results are for programs, write why, with budgets if any."""
        try:
            yield
        except GateFailed as error:
            if self.json:
                budgets = [gate.as_json() for gate in error.gates]
                failure = {"failure": str(error), "code": error.exit_code}
                self.data({"model": str(model), "output": None, **failure, "budgets": budgets})
            raise

    @property
    def shows_tables(self) -> bool:
        """Whether results are for people."""
        return not self.json and not self.quiet

    @contextmanager
    def progress(self) -> Iterator[Progress | None]:
        """Yield a callback that shows how far work is, or None where nobody watches.

        In a terminal that is a bar, elsewhere a line now and then.
        """
        if self.quiet:
            yield None
        elif sys.stderr.isatty():
            with self._bar() as show:
                yield show
        else:
            yield self._lines()

    def _lines(self) -> Progress:
        """What writes a line each `PERIOD` seconds."""
        last = time.monotonic()

        def show(name: str, done: int, total: int) -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= PERIOD:
                last = now
                self.note(f"burnish: {name}, {done} of {total}")

        return show

    @contextmanager
    def _bar(self) -> Iterator[Progress]:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=self.err, transient=True)
        started, task = time.monotonic(), bar.add_task("", total=None)

        def show(name: str, done: int, total: int) -> None:
            if total != bar.tasks[0].total:
                # Another stage, with steps of another length: its time left is another matter.
                bar.reset(task)
            bar.update(task, description=name, completed=done, total=total)
            if time.monotonic() - started > PATIENCE and not bar.live.is_started:
                bar.start()

        try:
            yield show
        finally:
            bar.stop()


def _fitted(text: str, stream: IO[str]) -> str:
    """``text`` in lines that a terminal has room for; what has lines of its own keeps them."""
    if "\n" in text or not (stream.isatty() or "COLUMNS" in os.environ):
        return text
    return textwrap.fill(
        text, min(shutil.get_terminal_size().columns, WIDEST), subsequent_indent="  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, soft_wrap=False, markup=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        console.width = min(console.width, WIDEST)
    else:
        # What reads from a pipe wants whole names.
        console.width = UNCUT
    return console
