"""Ctrl-C that ends a part of the work instead of all of it."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from burnish.backends.link import Progress


class Interrupt:
    """Whether Ctrl-C was pressed: once to end tuning, twice to end everything."""

    def __init__(self, progress: Progress) -> None:
        """Tell ``progress`` at once when it was pressed: what is under way may take seconds."""
        self.pressed = False
        self._progress = progress
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True
        self._progress("tuning stops; Ctrl-C again gives up", 0, 1)
