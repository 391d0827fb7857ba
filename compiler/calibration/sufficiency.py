"""Whether there are enough samples: how much ranges still grew while the second half was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from burnish.calibration.collectors import Range
from burnish.wording import counted


@dataclass(frozen=True, slots=True)
class Sufficiency:
    """How ranges of the first half of the samples compare with those of all."""

    samples: int
    half: int
    tensor: str
    """The tensor whose range grew most; empty if none did."""
    largest: float
    """Growth of its range, relative to what it is in the end."""
    median: float
    """Of the growth of all ranges."""

    def __str__(self) -> str:
        """Return one sentence."""
        if self.half < 1:
            return "ranges come from one sample, which tells nothing of others; give more"
        of_what = f"the first {self.half} of {counted(self.samples, 'sample')}"
        if not self.largest:
            return f"{of_what} give the same ranges as all"
        return (
            f"ranges from {of_what} are up to {self.largest:.1%} narrower than from all, that of "
            f"{self.tensor!r}, and {self.median:.1%} in the median"
        )


def calibration_note(ranges: Mapping[str, Range]) -> Sufficiency:
    """Compare ranges after half of the samples with those after all.

    Args:
        ranges: of tensors by name, each updated once for every sample.
    """
    samples = max((len(found.course) for found in ranges.values()), default=0)
    half = samples // 2
    growth = {
        name: _growth(found, half) for name, found in ranges.items() if len(found.course) == samples
    }
    tensor = max(growth, key=lambda name: growth[name], default="")
    largest = growth.get(tensor, 0.0)
    return Sufficiency(
        samples, half, tensor if largest else "", largest, median(growth.values() or [0.0])
    )


def _growth(found: Range, half: int) -> float:
    """Share of the final width that the second half added."""
    if half < 1 or found.is_empty:
        return 0.0
    low, high = found.course[half - 1]
    width = max(found.high, 0.0) - min(found.low, 0.0)
    before = max(high, 0.0) - min(low, 0.0)
    return 1.0 - before / width if width else 0.0
