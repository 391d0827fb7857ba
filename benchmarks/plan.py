"""How the suite compiles what it times, and how long it does."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.comparison import INT8, LOSSY, TOLERANCE
from burnish.bench.timing import Plan as Pace


@dataclass(frozen=True, slots=True)
class Plan(Pace):
    """How long and how often to measure, and what to pass to `burnish compile`."""

    tune: str | None = None
    """Its default if None."""
    precision: str | None = None
    """Its default if None."""

    @property
    def tolerance(self) -> Mapping[str, float]:
        """Largest errors of burnish that are allowed, by dtype of the output."""
        return {"bf16": LOSSY, "int8": INT8}.get(self.precision or "", TOLERANCE)
