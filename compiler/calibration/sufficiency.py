"""Whether there are enough samples: how much ranges still grew while the second half was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from burnish.calibration.collectors import Range
from burnish.wording import counted

GROWING = 0.02
"""Growth of ranges, in the median, from which on more samples are worth asking for."""


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
        more = "; give more samples, as ranges still grow" if self.median > GROWING else ""
        return (
            f"ranges from {of_what} are up to {self.largest:.1%} narrower than from all, that of "
            f"{self.tensor!r}, and {self.median:.1%} in the median{more}"
        )


def calibration_note(ranges: Mapping[str, Range], samples: int | None = None) -> Sufficiency:
    """Compare ranges after half of the samples with those after all.

    Args:
        ranges: of tensors by name, each updated for every sample, as often for one as for another.
        samples: how many there were; by default, as many as the range of a single tensor says.
    """
    if samples is None:
        samples = min((len(found.course) for found in ranges.values()), default=0)
    half = samples // 2
    growth = {name: _growth(found, half / max(1, samples)) for name, found in ranges.items()}
    tensor = max(growth, key=lambda name: growth[name], default="")
    largest = growth.get(tensor, 0.0)
    return Sufficiency(
        samples, half, tensor if largest else "", largest, median(growth.values() or [0.0])
    )


def _growth(found: Range, share: float) -> float:
    """Share of the final width that came after this share of the updates."""
    before = round(share * len(found.course))
    if not before or found.is_empty:
        return 0.0
    low, high = found.course[before - 1]
    width = max(found.high, 0.0) - min(found.low, 0.0)
    narrower = max(high, 0.0) - min(low, 0.0)
    return 1.0 - narrower / width if width else 0.0
