"""Figures and names of a report as text: one unit for one quantity, intervals beside estimates."""

from __future__ import annotations

import math
import unicodedata
from typing import TypeAlias

from burnish.bench.document import Interval
from burnish.ir import REGION_DOMAIN
from burnish.wording import UNKNOWN, shortened, visible

_MOST = 1e12


def operator(op_type: str) -> str:
    """An operator's type; of operators merged into one, which one they make."""
    return visible(op_type.removeprefix(f"{REGION_DOMAIN}:"))


def fitting(name: str, room: float, size: float) -> str:
    """``visible`` name without its middle, so that it takes at most ``room`` at a font size.

    Widths are estimated for fonts as wide as Verdana, because which font a reader has is not known.
    """
    text = visible(name)
    wide = any(unicodedata.east_asian_width(char) in "WF" for char in text)
    widest = 1.05 if wide else 0.57
    return shortened(text, max(12, int(room / (size * widest))))


def finite(interval: Interval | None) -> Interval | None:
    """``interval`` if its figures can be those of something real, else None."""
    if interval is None or not all(abs(figure) < _MOST for figure in bounds(interval)):
        return None
    return interval


def bounds(interval: Interval) -> tuple[float, float, float]:
    """Estimate, lower and upper end."""
    return interval.value, interval.low, interval.high


def inverse(ratio: Interval | None) -> Interval | None:
    """One over ``ratio``; None if that is not known or no positive number."""
    if (ratio := finite(ratio)) is None or min(bounds(ratio)) <= 0:
        return None
    return Interval(value=1 / ratio.value, low=1 / ratio.high, high=1 / ratio.low)


Unit: TypeAlias = tuple[str, float, int]
"""Name of a unit of time, how many seconds it has, and digits after the point."""


def unit_of(seconds: float) -> Unit:
    """The unit that times up to ``seconds`` are shown in, to four digits."""
    units = (("s", 1.0), ("ms", 1e-3))
    name, scale = next((each for each in units if seconds >= each[1]), ("µs", 1e-6))
    return name, scale, max(0, 4 - len(f"{seconds / scale:.0f}"))


def change_of_time(seconds: float, unit: Unit) -> str:
    """A difference with its sign: ``−0.42 ms``."""
    name, scale, digits = unit
    text = f"{abs(seconds) / scale:.{digits}f}"
    return f"{'' if not text.strip('0.') else '−' if seconds < 0 else '+'}{text} {name}"


def times(ratio: float, digits: int = 2) -> str:
    """A ratio: ``1.34×``."""
    return f"{_ratio(ratio, digits)}×" if math.isfinite(ratio) else UNKNOWN


def ends(ratio: Interval, digits: int = 2) -> str:
    """The interval of a ratio: ``1.31 to 1.37``."""
    return f"{_ratio(ratio.low, digits)} to {_ratio(ratio.high, digits)}"


def _ratio(ratio: float, digits: int) -> str:
    return f"{ratio:.3g}" if abs(ratio) >= 99.5 else f"{ratio:.{digits}f}"


def percent(share: float, digits: int = 1) -> str:
    """A share: ``12.5%``."""
    return f"{share:.{digits}%}" if math.isfinite(share) else UNKNOWN


def relative(before: float | None, after: float | None) -> str:
    """What became of a quantity, in percent with its sign; empty if that says nothing."""
    if not before or after is None or not (math.isfinite(before) and math.isfinite(after)):
        return ""
    if before == after:
        return "same"
    share = after / before - 1
    return f"{'−' if share < 0 else '+'}{abs(share):.1%}"


def count(number: float | None) -> str:
    """A count with thin spaces between thousands."""
    return UNKNOWN if number is None else f"{number:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def metric(value: float) -> str:
    """A metric of a task: four digits after the point."""
    return f"{value:.4f}" if math.isfinite(value) else "not a number"


def signed(value: float) -> str:
    """A difference of metrics with its sign."""
    text = metric(abs(value))
    return text if not value or not math.isfinite(value) else f"{'−' if value < 0 else '+'}{text}"


def digits(value: float) -> str:
    """A number of any size: three digits that tell."""
    return f"{value:.3g}" if math.isfinite(value) else "not a number"


def signed_digits(value: float) -> str:
    """A difference of such numbers with its sign."""
    return f"{value:+.3g}".replace("-", "−") if math.isfinite(value) else "not a number"


def error(value: float) -> str:
    """A relative error: ``1.2e-06``, or that there is none."""
    return "none" if value == 0 else f"{value:.1e}"
