"""Time that deciding may take: how much is left, and telling people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from burnish.bench.environment import Stopwatch

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many times so far, and how many times at most."""


class Watch(Protocol):
    """What tells time."""

    @property
    def seconds(self) -> float:
        """Since it began."""


@dataclass(frozen=True)
class Deadline:
    """Time that is limited, from when this is made."""

    seconds: float
    progress: Progress
    watch: Watch = field(default_factory=Stopwatch)

    @property
    def spent(self) -> float:
        """Seconds that are over."""
        return self.watch.seconds

    def tell(self, doing: str, done: int = 0, total: int = 1) -> None:
        """Say what is done, and how long deciding may still take."""
        left = max(0.0, self.seconds - self.spent)
        self.progress(f"{doing}, at most {left:.0f} s more", done, total)

    def is_late(self, share: float = 1.0, needed: float = 0.0) -> bool:
        """Whether so much of the time is over, once what takes ``needed`` seconds is done."""
        return self.spent + needed > share * self.seconds
