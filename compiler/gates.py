"""Budgets: what a build must keep to, and whether it did.

A budget that fails ends a command with exit code 3 and the table of all of them; nothing is
written then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

from burnish.errors import GateFailed, UsageError
from burnish.wording import data_size

_UNITS = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_Ends: TypeAlias = tuple[float, float]
"""Of an interval."""
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]*)", re.IGNORECASE)
_MOST = 10**18
"""Bytes that a budget may allow at most: beyond all files, and within what floats count."""


@dataclass(frozen=True)
class Budgets:
    """What is asked of a result; None where nothing is."""

    size: int | None = None
    """Bytes of all files of the result at most."""
    arena: int | None = None
    """Bytes of memory for what is between kernels at most."""
    max_drop: float | None = None
    """Points, hundredths of the task's metric, that it may be worse than the original's."""
    min_speedup: float | None = None
    """Time of ONNX Runtime on the original, in the same run, over the result's, at least."""

    def __post_init__(self) -> None:
        """Refuse what no result could be held against.

        Raises:
            UsageError: a number is out of its range.
        """
        for option, value in (("--budget-size", self.size), ("--budget-arena", self.arena)):
            if value is not None and not 1 <= value <= _MOST:
                raise UsageError(f"{option} is at least one byte, and at most {_MOST:.0e}")
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise UsageError(f"--max-drop is 0 to 100 points, not {self.max_drop:g}")
        if self.min_speedup is not None and not 0 < self.min_speedup < float("inf"):
            raise UsageError(f"--min-speedup is a ratio above 0, not {self.min_speedup:g}")

    @property
    def are_set(self) -> bool:
        """Whether there is any."""
        return any(getattr(self, field.name) is not None for field in fields(self))

    def describe(self) -> list[str]:
        """What is asked, one line for each budget."""
        return [f"{kind.name} {kind.word} {kind.form(limit)}" for kind, limit in self.limits()]

    def limits(self) -> list[tuple[_Kind, float]]:
        """The budgets that there are."""
        given = (self.size, self.arena, self.max_drop, self.min_speedup)
        return [(k, limit) for k, limit in zip(_KINDS, given, strict=True) if limit is not None]


@dataclass(frozen=True)
class Found:
    """What a result came to; None where it was not measured."""

    size: int | None = None
    """Bytes."""
    arena: int | None = None
    """Bytes."""
    drop: float | None = None
    """Points."""
    speedup: float | None = None
    """Ratio."""
    drop_interval: _Ends | None = None
    """95% interval of the drop in points."""
    speedup_interval: _Ends | None = None
    """95% interval of the ratio."""


@dataclass(frozen=True)
class Gate:
    """One budget and what was found."""

    name: str
    """``size``, ``arena``, ``max-drop`` or ``min-speedup``."""
    limit: float
    found: float
    passed: bool
    text: str
    """Found against limit, for people."""
    advice: str
    """What to do where it failed."""

    def as_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "name": self.name, "limit": self.limit, "found": self.found, "passed": self.passed,
            "text": self.text,
        }  # fmt: skip

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.name}: {self.text}"


def points_lost(difference: float, *, higher_is_better: bool) -> float:
    """Points that are lost where a metric differs so.

    Rounded far below what any metric resolves: one item of a hundred is 1 point, not
    1.0000000000000009, which a budget of 1 would not allow.
    """
    return round((-100.0 if higher_is_better else 100.0) * difference, 9) + 0.0  # no -0.0


def drop_in_points(
    difference: tuple[float, float, float], *, higher_is_better: bool
) -> tuple[float, float, float]:
    """The same of a difference and the ends of its interval."""
    value, *ends = (points_lost(each, higher_is_better=higher_is_better) for each in difference)
    return value, min(ends), max(ends)


def judge(budgets: Budgets, found: Found) -> list[Gate]:
    """Hold what was found against each budget that there is.

    A figure that is not a number passes no gate. Figures are judged as they are, not by the far
    end of their intervals, which the text states beside them.

    Raises:
        UsageError: a budget is about something that was not measured.
    """
    figures: Mapping[str, tuple[float | None, _Ends | None]] = {
        "size": (found.size, None),
        "arena": (found.arena, None),
        "max-drop": (found.drop, found.drop_interval),
        "min-speedup": (found.speedup, found.speedup_interval),
    }
    return [_held(kind, limit, *figures[kind.name]) for kind, limit in budgets.limits()]


def _held(kind: _Kind, limit: float, value: float | None, interval: _Ends | None) -> Gate:
    if value is None:
        raise UsageError(f"the budget {kind.name} is about something that was not measured")
    # The unit stands before them.
    ends = f" [{', '.join(kind.form(end).split()[0] for end in interval)}]" if interval else ""
    found, allowed = kind.form(value), kind.form(limit)
    if found == allowed and value != limit:
        # They differ in what is not shown.
        found, allowed = (f"{figure:.12g}{kind.unit}" for figure in (value, limit))
    text = f"{found}{ends}, {kind.word} {allowed}"
    passed = value <= limit if kind.word == "at most" else value >= limit
    return Gate(kind.name, limit, value, passed, text, kind.advice)


def require(gates: Sequence[Gate], then: str = "nothing was written") -> None:
    """Make sure that all budgets hold.

    Args:
        gates: what was judged.
        then: what became of the result, in the message.

    Raises:
        GateFailed: some do not; the message is the table of all, and what to do.
    """
    failed = [gate for gate in gates if not gate.passed]
    if not failed:
        return
    width = max(len(gate.name) for gate in gates)
    rows = "\n".join(
        f"  {gate.name:<{width}}  {'ok    ' if gate.passed else 'failed'}  {gate.text}"
        for gate in gates
    )
    advice = "; ".join(f"{gate.name}: {gate.advice}" for gate in failed)
    raise GateFailed(
        f"{len(failed)} of {len(gates)} budgets failed, {then}\n{rows}\n{advice}", gates
    )


def parse_bytes(text: str, where: str) -> int:
    """Bytes that ``12MB``, ``512 KiB`` or ``4096`` spells; kB, MB and GB are powers of ten.

    Raises:
        UsageError: it spells none; the message starts with ``where``.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(match[2].lower() or "b") if match else None
    if match is None or unit is None:
        raise UsageError(f"{where} takes a size such as 12MB or 512KiB, not {text!r}")
    return int(float(match[1]) * unit)


def _bytes(count: float) -> str:
    return data_size(round(count))


def _points(drop: float) -> str:
    return f"{drop:.2f} points lost"


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}x" if ratio < 1e4 else f"{ratio:.0e}x"


@dataclass(frozen=True)
class _Kind:
    """What one budget is about."""

    name: str
    word: str
    form: Callable[[float], str]
    """A figure for people."""
    unit: str
    """Of a figure that is not rounded."""
    advice: str
    """What to do where it fails."""


_KINDS = (
    _Kind("size", "at most", _bytes, " B",
          "`burnish bench --report` shows what each layer takes; --weights bf16 halves those of "
          "an artifact"),
    _Kind("arena", "at most", _bytes, " B", "a smaller --input-shape needs less"),
    _Kind("max-drop", "at most", _points, " points lost",
          "`burnish bench --eval` shows what each pass costs; leave one out with --skip"),
    _Kind("min-speedup", "at least", _ratio, "x",
          "see with `burnish bench` what each pass is worth; an artifact gains by --tune"),
)  # fmt: skip
