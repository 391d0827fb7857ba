"""How the suite compiles what it times, and how long it does."""

from dataclasses import dataclass

from benchmarks.comparison import Compare, comparison
from burnish.bench.timing import Plan as Pace


@dataclass(frozen=True, slots=True)
class Plan(Pace):
    """How long and how often to measure, and what to pass to `burnish compile`."""

    tune: str | None = None
    """Its default if None."""
    precision: str | None = None
    """Its default if None."""

    @property
    def compare(self) -> Compare:
        """How results of burnish are compared with what is right."""
        return comparison(self.precision or "")
