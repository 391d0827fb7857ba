"""Whether other processes had the processors while something was timed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

WAITED = 0.02
"""Share of a time that threads may have waited for processors without it being disturbed."""


def seconds_waited() -> float:
    """Seconds that all threads of this process were ready to run and had no processor.

    Always 0 where the system does not tell. What a host takes from its guests is not in it.
    """
    total = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        # Processor time, waiting time, turns; see the kernel's Documentation/scheduler.
        with suppress(OSError, ValueError, IndexError):
            total += int(path.read_text().split()[1])
    return total * 1e-9
