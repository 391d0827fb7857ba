"""Time single kernels through the runtime that models use, in a process that may crash.

    with KernelBench(objects, target, threads=2) as bench:
        seconds = bench.time_kernel("matmul_3", (a, b, c), repeat=20, cold=True)

A candidate kernel that crashes or hangs costs its own process: the next call starts another.
"""

from __future__ import annotations

import pickle
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from burnish.backends.bench_patterns import Expected, Patterns
from burnish.backends.link import link_kernels
from burnish.errors import BurnishError
from burnish.target import Target

_LENGTH = struct.Struct("<Q")
START_TIMEOUT = 30.0
"""Seconds in which a library is loaded."""


class KernelFailure(BurnishError):
    """A kernel crashed, hung or reported an error."""


class KernelBench:
    """Kernels of some object files, in a process of their own."""

    def __init__(
        self, objects: Sequence[bytes], target: Target, threads: int | None = None
    ) -> None:
        """Link the objects.

        Args:
            objects: Object files that export kernels, for a target that is this machine.
            target: What they were compiled for.
            threads: How many threads the pool has; None for the target's number.

        Raises:
            BurnishError: they cannot be linked.
        """
        self._target = target
        self._library = link_kernels(objects, target)
        self._threads = threads or target.threads
        self._process: subprocess.Popen[bytes] | None = None
        self._sent: tuple[np.ndarray, ...] | Patterns | None = None

    def __enter__(self) -> KernelBench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, objects: Sequence[bytes]) -> None:
        """Take other kernels, in the same process while there is one.

        If it is gone, or cannot load them, the next call starts another and says what is wrong.

        Raises:
            BurnishError: they cannot be linked.
        """
        self._library = link_kernels(objects, self._target)
        if not self._is_alive():
            return
        try:
            self._send(("load", "at start", None, self._library, self._threads), "at start")
            answer = self._receive("at start", time.monotonic() + START_TIMEOUT)
        except KernelFailure:
            return
        if isinstance(answer, str):
            self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process = self._sent = None

    def time_kernel(
        self,
        symbol: str,
        arrays: Sequence[np.ndarray] | Patterns,
        repeat: int,
        cold: bool | Sequence[int] = False,
        budget: float = 1.0,
        timeout: float = 30.0,
    ) -> list[float]:
        """Call a kernel once, then time it.

        Args:
            symbol: The kernel's name, without `__tvm_ffi_`.
            arrays: Its arguments, outputs included, or how to make them. Arrays that the last
                call had too are not sent again; what kernels write stays on the other side.
            repeat: How often to time it.
            cold: Whether all arguments are put out of the caches before each call, or which.
            budget: Seconds after which no further repetition starts; one is always done.
            timeout: Seconds after which the process is ended.

        Returns:
            The seconds that each call took, measured around the kernel alone.

        Raises:
            KernelFailure: it crashed, hung or reported an error.
        """
        count = len(arrays.arguments if isinstance(arrays, Patterns) else arrays)
        flushed = tuple(range(count)) if cold is True else tuple(cold or ())
        seconds: list[float] = self._ask("time", symbol, arrays, timeout, repeat, flushed, budget)
        return seconds

    def call_kernel(
        self, symbol: str, arrays: Sequence[np.ndarray], timeout: float = 30.0
    ) -> list[np.ndarray]:
        """Call a kernel on copies of `arrays` and return them as it left them.

        Raises:
            KernelFailure: it crashed, hung or reported an error.
        """
        self._sent = None
        results: list[np.ndarray] = self._ask("call", symbol, arrays, timeout)
        self._sent = None
        return results

    def check_kernel(
        self,
        symbol: str,
        arrays: Patterns,
        expected: Sequence[Expected],
        timeout: float = 30.0,
    ) -> None:
        """Call a kernel and compare what it writes with what is known of it.

        The first kernel that is right is kept in mind: later ones for the same arrays of which
        the same is expected have to agree with all of its outputs.

        Raises:
            KernelFailure: it crashed, hung, reported an error or was wrong.
        """
        self._ask("check", symbol, arrays, timeout, tuple(expected))

    def _ask(
        self,
        verb: str,
        symbol: str,
        arrays: Sequence[np.ndarray] | Patterns,
        timeout: float,
        *rest: object,
    ) -> Any:
        if not self._is_alive():
            self._start(timeout)
        content = arrays if isinstance(arrays, Patterns) else tuple(arrays)
        same = _is_same(self._sent, content)
        self._sent = content
        self._send((verb, symbol, None if same else content, *rest), symbol)
        answer = self._receive(symbol, time.monotonic() + timeout)
        if isinstance(answer, str):
            raise KernelFailure(f"kernel {symbol}: {answer}")
        return answer

    def _is_alive(self) -> bool:
        """Whether there is a process; one that ended since the last call is put away."""
        if self._process is not None and self._process.poll() is not None:
            self.close()
        return self._process is not None

    def _start(self, timeout: float) -> None:
        command = [sys.executable, "-m", "burnish.backends.bench_worker"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._sent = None
        self._send((self._library, self._threads), "at start")
        answer = self._receive("at start", time.monotonic() + timeout)
        if isinstance(answer, str):
            self.close()
            raise KernelFailure(answer)

    def _send(self, message: object, symbol: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        data = pickle.dumps(message, protocol=5)
        try:
            self._process.stdin.write(_LENGTH.pack(len(data)) + data)
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail(symbol)

    def _receive(self, symbol: str, deadline: float) -> Any:
        length = _LENGTH.unpack(self._read(_LENGTH.size, symbol, deadline))[0]
        # Safe: the other end is our own code.
        return pickle.loads(self._read(length, symbol, deadline))

    def _read(self, size: int, symbol: str, deadline: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        pieces, left = [], size
        while left:
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([self._process.stdout], [], [], wait)[0]:
                self.close()
                raise KernelFailure(f"kernel {symbol}: no answer in time")
            piece = self._process.stdout.raw.read(left)  # type: ignore[attr-defined]  # a pipe
            if not piece:
                self._fail(symbol)
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _fail(self, symbol: str) -> None:
        """Say how the process ended."""
        assert self._process is not None
        code = self._process.wait()
        self._process.communicate()
        self._process = self._sent = None
        reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise KernelFailure(f"kernel {symbol}: crashed ({reason})")


def _is_same(
    sent: tuple[np.ndarray, ...] | Patterns | None, arrays: tuple[np.ndarray, ...] | Patterns
) -> bool:
    """Whether the other side has these very arrays."""
    if isinstance(sent, Patterns) or isinstance(arrays, Patterns):
        return sent == arrays
    if sent is None or len(sent) != len(arrays):
        return False
    return all(a is b for a, b in zip(sent, arrays, strict=True))
