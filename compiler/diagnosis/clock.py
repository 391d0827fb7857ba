"""The time that a diagnosis has."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being tried, how many seconds have gone and how many there are."""


class OutOfTime(Exception):
    """There is no time left to try anything else."""


class Clock:
    """Counts seconds down, and tells whoever watches what they are spent on."""

    def __init__(self, seconds: float, progress: Progress | None = None) -> None:
        """Start counting."""
        self.limit = seconds
        self._progress = progress
        self._started = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def left(self) -> float:
        """Seconds that are left, never below 0."""
        return max(0.0, self.limit - self.spent)

    def begin(self, what: str) -> None:
        """Say what comes next.

        Raises:
            OutOfTime: there is no time for it.
        """
        if self._progress is not None:
            self._progress(what, min(int(self.spent), int(self.limit)), max(1, int(self.limit)))
        if not self.left:
            raise OutOfTime
