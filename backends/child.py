"""A process of its own for code that may crash or hang: requests go there, answers come back.

    child = Child("burnish.backends.bench_worker", opening, timeout=30.0)
    answer = child.ask(("verb", argument), timeout=1.0)

On the other side the module calls `serve`. Messages are pickled: both ends are our own code.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from burnish.errors import BurnishError

_LENGTH = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1
ENDING = 5.0
"""Seconds that a process may go on after it has closed its end of the pipe."""


class ChildFailed(BurnishError):
    """The process crashed, hung or did not start."""


class Child:
    """A process that runs a module, which answers one request after the other."""

    def __init__(
        self, module: str, opening: object, timeout: float, *, silent: bool = False,
        room: Path | None = None,
    ) -> None:  # fmt: skip
        """Start it and send what it begins with.

        With ``silent``, what it writes to stderr, where crashes leave pages, is thrown away. Its
        temporary files go to ``room``: it cannot remove them itself when it crashes or is ended.

        Raises:
            ChildFailed: it cannot be started, does not answer within ``timeout`` seconds, or that
                it cannot begin.
        """
        # -P: no file of the user's folder is taken for a module.
        command = [sys.executable, "-P", "-m", module]
        environment = None if room is None else {**os.environ, "TMPDIR": str(room)}
        try:
            # A group of its own: Ctrl-C is for the process that asks.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0,
                stderr=subprocess.DEVNULL if silent else None, env=environment,
            )  # fmt: skip
        except OSError as error:
            raise ChildFailed(f"did not start: {error.strerror}") from error
        try:
            answer = self.ask(opening, timeout)
            if isinstance(answer, str):
                raise ChildFailed(answer)
        except BaseException:
            # Ctrl-C too: nobody else can end it.
            self.close()
            raise

    def close(self) -> None:
        """End the process, and those that it has started."""
        if self._process.returncode is None:
            self._end_group()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        self._process.wait()

    def _end_group(self) -> None:
        # A process that it has started holds the pipe open as well: nobody may wait for its end.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def is_alive(self) -> bool:
        """Whether it can still answer."""
        return self._process.poll() is None

    def ask(self, request: object, timeout: float) -> Any:
        """Send a request and return the answer.

        Raises:
            ChildFailed: it crashed, or did not answer in so many seconds; then it is ended.
        """
        assert self._process.stdin is not None
        data = pickle.dumps(request, protocol=5)
        try:
            self._process.stdin.write(_LENGTH.pack(len(data)) + data)
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()
        deadline = time.monotonic() + timeout
        length = _LENGTH.unpack(self._read(_LENGTH.size, deadline))[0]
        return pickle.loads(self._read(length, deadline))

    def _read(self, size: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        pieces, left = [], size
        while left:
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([self._process.stdout], [], [], wait)[0]:
                self.close()
                raise ChildFailed("no answer in time")
            piece = self._process.stdout.raw.read(left)  # type: ignore[attr-defined]  # a pipe
            if not piece:
                self._fail()
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _fail(self) -> None:
        """Say how the process ended."""
        try:
            code = self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self.close()
            raise ChildFailed("closed its end of the pipe and went on") from None
        self._end_group()
        self.close()
        reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise ChildFailed(f"crashed ({reason})")


Ask: TypeAlias = Callable[[object], Any]
"""Sends an answer that is a question, and returns the request that comes next."""


def serve(begin: Callable[[Any], Callable[[Any], object]]) -> None:
    """Answer requests until the other end closes.

    Args:
        begin: takes what `Child` was given to begin with and returns what answers requests. A
            BurnishError of it is told to the other end.
    """
    serve_asking(lambda opening, _: begin(opening))


def serve_asking(begin: Callable[[Any, Ask], Callable[[Any], object]]) -> None:
    """Answer requests, some of them by a question first.

    Args:
        begin: as of `serve`, with what asks the other end as its second argument. Where the other
            end closes instead of answering, this process ends.
    """
    die_with_parent()
    # Nothing that is called must read requests, or write among the answers.
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)

    owner = os.getpid()

    def tell(message: object) -> None:
        if os.getpid() != owner:
            # A copy that what was called has made of this process: two would answer everything.
            os._exit(0)
        _send(target, message)

    def ask(question: object) -> Any:
        tell(question)
        if (reply := _receive(source)) is None:
            raise SystemExit
        return reply

    try:
        answer = begin(_receive(source), ask)
        tell(None)
    except BurnishError as error:
        tell(str(error))
        return
    while (request := _receive(source)) is not None:
        tell(answer(request))


def _receive(source: BinaryIO) -> Any:
    header = source.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    return pickle.loads(source.read(_LENGTH.unpack(header)[0]))


def _send(target: BinaryIO, message: object) -> None:
    data = pickle.dumps(message, protocol=5)
    target.write(_LENGTH.pack(len(data)) + data)
    target.flush()


def die_with_parent() -> None:
    """Let nothing that hangs outlive the process that asked for it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
