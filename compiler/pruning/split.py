"""Which of the calibration data layers are fitted to, and which results are judged on."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.calibration import Calibration
from burnish.ir import Graph
from burnish.quantization.guard import GUARDED, DistanceGuard
from burnish.wording import counted

JUDGED = 8
"""One of so many samples is only judged on, and one at least, if there are `FEWEST_SAMPLES`."""
FEWEST_SAMPLES = 4
FEWEST = 128
"""Items below which a notice says that layers are fitted to few."""


@dataclass(frozen=True)
class Split:
    """Calibration data, parted in two."""

    whole: Calibration
    fitted: Calibration
    judged: int
    """How many of the last samples are judged on."""
    items: int
    """In the part that layers are fitted to."""
    others: int
    """Items that are judged on."""

    @classmethod
    def of(cls, graph: Graph, calibration: Calibration) -> Split:
        """Read the data once.

        Raises:
            BurnishError: they do not fit ``graph``.
        """
        sizes = [
            max((array.shape[0] for array in feeds.values() if array.ndim > 1), default=1)
            for feeds in calibration.feeds(graph)
        ]
        if len(sizes) < FEWEST_SAMPLES:
            return cls(calibration, calibration, len(sizes), sum(sizes), sum(sizes))
        judged = min(GUARDED, max(1, len(sizes) // JUDGED))
        kept = len(sizes) - judged
        fitted = calibration.fewer(kept)
        return cls(calibration, fitted, judged, sum(sizes[:kept]), sum(sizes[kept:]))

    def guard(self, graph: Graph) -> DistanceGuard:
        """Compares with ``graph`` on what layers are not fitted to."""
        return DistanceGuard(graph, self.whole, self.judged)

    def whole_guard(self, graph: Graph) -> DistanceGuard:
        """Compares on all data: of many small changes, few items tell too little apart."""
        return DistanceGuard(graph, self.whole)

    @property
    def text(self) -> str:
        """What is judged on, in words."""
        same = " that it was fitted to" if self.fitted is self.whole else ""
        return f"on {counted(self.others, 'item')}{same}"

    @property
    def notices(self) -> list[str]:
        """What a user should know of the data."""
        found = list(self.whole.notices)
        if self.fitted is self.whole:
            found.append(
                f"{counted(self.judged, 'sample')} of calibration data: results are judged on what "
                "layers were fitted to, so that they may be worse on other data; give more"
            )
        elif self.items < FEWEST:
            found.append(
                f"layers are fitted to {counted(self.items, 'item')}: {FEWEST} or more do better"
            )
        return found
