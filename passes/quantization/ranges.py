"""The range of every value that is quantized, from what it is on calibration data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from burnish.calibration import Calibration, Histogram
from burnish.calibration.formats import S8, U8, Interval
from burnish.calibration.ranges import METHODS, best_range
from burnish.ir import DType, Graph, VariableNode
from burnish.passes.quantization.formats import Scaling
from burnish.passes.quantization.operators import BOUNDS
from burnish.passes.quantization.placement import Placement

AUTOMATIC = "auto"


@dataclass(frozen=True)
class Chosen:
    """The scaling of a value, how it was found, and what it costs."""

    scaling: Scaling
    method: str
    sqnr: float | None = None
    """Signal to noise in dB, on the data that it was found with; None where it was given."""


@dataclass(frozen=True)
class Ranger:
    """Chooses ranges."""

    dtype: DType
    """Of the integers."""
    method: str = AUTOMATIC
    """One of `METHODS`, or `AUTOMATIC` for that of least error."""
    given: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Ranges by the name of the value."""

    def choose(
        self, graph: Graph, placement: Placement, calibration: Calibration
    ) -> dict[VariableNode, Chosen | str]:
        """The scaling of every value that is to be quantized, or why it has none.

        Raises:
            BurnishError: the data do not fit the graph.
        """
        found: dict[VariableNode, Chosen | str] = {}
        unknown: list[tuple[list[VariableNode], Histogram]] = []
        for group in placement.groups():
            known = self._known(group)
            if known is None:
                unknown.append((group, Histogram()))
            else:
                found |= dict.fromkeys(group, known)
        wanted = {
            value: [histogram]
            for group, histogram in unknown
            for value in placement.observed(group)
        }
        if wanted:
            calibration.collect(graph, wanted)
        for group, histogram in unknown:
            found |= dict.fromkeys(group, self._of(histogram))
        return {value: found[value] for value in placement.values}

    def _known(self, group: Iterable[VariableNode]) -> Chosen | None:
        """What the user or an operator says of the range of a value of ``group``."""
        for value in group:
            if value.name in self.given:
                return self._over(Interval.over(*self.given[value.name]), "given")
        for value in group:
            maker = value.producer
            if maker is not None and maker.domain == "" and maker.op_type in BOUNDS:
                return self._over(Interval(*BOUNDS[maker.op_type]), "bounds")
        return None

    def _of(self, histogram: Histogram) -> Chosen | str:
        seen = histogram.range
        if seen.wrong:
            return f"{seen.wrong} of {seen.count} numbers seen are not finite"
        if seen.is_empty:
            return "no number of it was seen"
        methods = METHODS
        if self.method != AUTOMATIC:
            methods = {self.method: METHODS[self.method]}
        format = U8 if self.dtype is DType.UINT8 else S8
        choice = best_range(histogram, format, methods=methods)
        return self._over(choice.interval, choice.method, decibels(1.0, choice.error))

    def _over(self, interval: Interval, method: str, sqnr: float | None = None) -> Chosen:
        return Chosen(Scaling.over(interval, self.dtype), method, sqnr)


def decibels(signal: float, noise: float) -> float | None:
    """The ratio of two powers; None without noise."""
    return 10 * math.log10(signal / noise) if noise > 0 and signal > 0 else None
