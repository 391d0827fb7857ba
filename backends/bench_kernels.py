"""Time single kernels through the runtime that models use, in a process that may crash.

    with KernelBench(objects, target, threads=2) as bench:
        seconds = bench.time_kernel("matmul_3", (a, b, c), repeat=20, cold=True)

A candidate kernel that crashes or hangs costs its own process: the next call starts another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from burnish.backends.bench_patterns import Expected, Patterns
from burnish.backends.child import Child, ChildFailed
from burnish.backends.link import link_kernels
from burnish.errors import BurnishError
from burnish.target import Target

_WORKER = "burnish.backends.bench_worker"
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
        self._child: Child | None = None
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
        if self._child is None or not self._child.is_alive():
            return
        request = ("load", "at start", None, self._library, self._threads)
        try:
            answer = self._child.ask(request, START_TIMEOUT)
        except ChildFailed:
            self._child = self._sent = None
            return
        if isinstance(answer, str):
            self.close()

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.close()
        self._child = self._sent = None

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
        content = arrays if isinstance(arrays, Patterns) else tuple(arrays)
        answer = None
        try:
            if self._child is None or not self._child.is_alive():
                self.close()
                self._child = Child(_WORKER, (self._library, self._threads), timeout)
            same = _is_same(self._sent, content)
            self._sent = content
            answer = self._child.ask((verb, symbol, None if same else content, *rest), timeout)
        except ChildFailed as failure:
            self._child = self._sent = None
            raise KernelFailure(f"kernel {symbol}: {failure}") from failure
        if isinstance(answer, str):
            raise KernelFailure(f"kernel {symbol}: {answer}")
        return answer


def _is_same(
    sent: tuple[np.ndarray, ...] | Patterns | None, arrays: tuple[np.ndarray, ...] | Patterns
) -> bool:
    """Whether the other side has these very arrays."""
    if isinstance(sent, Patterns) or isinstance(arrays, Patterns):
        return sent == arrays
    if sent is None or len(sent) != len(arrays):
        return False
    return all(a is b for a, b in zip(sent, arrays, strict=True))
