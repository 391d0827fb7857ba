"""A task's calibration split as a source of calibration data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from burnish.bench.task import Feeds, Task
from burnish.calibration.cutting import Cut


@dataclass(frozen=True)
class TaskData:
    """The split, read anew each time."""

    cut: ClassVar[Cut] = Cut.TO_BATCH
    task: Task

    def __iter__(self) -> Iterator[Feeds]:
        """Read from the beginning."""
        return iter(self.task.calibration())
