"""Charts of latency: the waterfall, what each pass is worth alone and last, other engines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from burnish.bench.document import Interval, Step, View
from burnish.bench.report.bars import Axis, Bar, Kind, Row, row_chart
from burnish.bench.report.facts import EFFECTIVE, SIGNS, Facts
from burnish.bench.report.svg import Chart
from burnish.bench.report.text import Unit, change_of_time, ends, finite, percent, times, unit_of
from burnish.wording import counted, duration

DRAWN = 24
"""Rows of passes in a chart; those within noise are left out first, and counted."""
_KINDS: dict[str, Kind] = {"faster": "gain", "slower": "loss"}


def waterfall(facts: Facts) -> Chart | None:
    """From the first variant of the cumulative view to its last, pass by pass.

    None if nothing was timed.
    """
    rows = _waterfall_rows(facts)
    if len(rows) < 2:
        return None
    ends_at = [bar.end for row in rows for bar in row.bars]
    zoomed = min(ends_at) > 0.5 * max(ends_at)
    if zoomed:
        # A total drawn as a bar from zero would leave no room for the differences.
        rows = [_as_mark(row) for row in rows]
    unit, scale, _ = unit_of(max(ends_at))
    axis = Axis(
        f"time of a run in {unit}" + ("; the axis does not start at zero" if zoomed else ""),
        lambda seconds: f"{seconds / scale:.4g}",
        is_zero_shown=not zoomed,
        connects=True,
    )
    label = (
        f"Waterfall of latency by pass: from {duration(ends_at[0])} to {duration(ends_at[-1])} "
        f"in {counted(len(rows) - 2, 'step')}. The table of passes has the same figures."
    )
    return row_chart("waterfall", label, rows, axis)


def _waterfall_rows(facts: Facts) -> list[Row]:
    # What no variant does without has none to be compared with.
    steps = [s for s in facts.view("cumulative") if s.verdict != "same" and s.variant != s.against]
    timed = [s for s in steps if None not in (facts.time(s.against), facts.time(s.variant))]
    rows: list[Row] = []
    start = facts.time(timed[0].against if timed else facts.document.original)
    if start is None:
        return []
    first = facts.original is not None and timed and timed[0].against == facts.original.id
    rows.append(_total("original model" if first else "before the first pass", start))
    now = start
    for group in _groups(timed):
        after = facts.time(group[-1].variant)
        assert after is not None
        rows.append(_step_row(group, now, after, unit_of(start)))
        now = after
    whole = facts.time(facts.document.whole)
    if whole is not None and whole != now:
        change = change_of_time(whole - now, unit_of(start))
        rows.append(Row("other passes", change, change, (Bar(now, whole, "even"),)))
        now = whole
    rows.append(_total("whole pipeline", now, is_set_off=True))
    return rows


def _groups(steps: Sequence[Step]) -> list[list[Step]]:
    """Each step alone; if there are too many, runs of those within noise together."""
    if len(steps) <= DRAWN:
        return [[step] for step in steps]
    groups: list[list[Step]] = []
    for step in steps:
        if groups and step.verdict not in EFFECTIVE and groups[-1][0].verdict not in EFFECTIVE:
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


def _total(name: str, seconds: float, *, is_set_off: bool = False) -> Row:
    figure = duration(seconds)
    return Row(name, figure, figure, (Bar(0.0, seconds, "total"),), is_set_off=is_set_off)


def _as_mark(row: Row) -> Row:
    """A total as a point, since its axis does not start at zero."""
    if not row.bars or row.bars[0].kind != "total":
        return row
    end = row.bars[0].end
    return replace(row, bars=(Bar(end, end, "total"),))


def _step_row(group: Sequence[Step], before: float, after: float, unit: Unit) -> Row:
    change = change_of_time(after - before, unit)
    if len(group) > 1:
        names = ", ".join(step.name for step in group)
        name = f"{len(group)} passes within noise"
        return Row(name, f"≈ {change}", f"≈ {change}", (Bar(before, after, "even"),), names)
    step = group[0]
    speedup = finite(step.speedup)
    interval = None
    if speedup is not None and speedup.low > 0:
        interval = (before / speedup.high, before / speedup.low)
    short = f"{SIGNS[step.verdict]} {change}".strip()
    figure = short if speedup is None else f"{short} ({times(speedup.value, 3)})"
    kind = _KINDS.get(step.verdict, "even")
    return Row(step.name, figure, short, (Bar(before, after, kind, interval),), _in_words(step))


def _in_words(step: Step) -> str:
    speedup = finite(step.speedup)
    measured = "" if speedup is None else (
        f", time without it over time with it {times(speedup.value, 3)} ({ends(speedup, 3)})"
    )  # fmt: skip
    return f"{step.verdict}{measured}, removes {counted(step.operators, 'operator')}"


def worth(facts: Facts, view: View) -> Chart | None:
    """Bars with intervals for each pass of the views alone and without; None if none was timed."""
    steps = [step for step in facts.view(view)
             if step.verdict != "same" and finite(step.speedup) is not None]  # fmt: skip
    shown = _most_telling(steps)
    if not shown:
        return None
    rows = [_worth_row(step, step.speedup) for step in shown if step.speedup is not None]
    axis = Axis("time that a run takes more without the pass", _percent)
    base = facts.document.base
    what = {
        "without": "Leave-one-out: what a run takes more if one pass is left out",
        "alone": f"Each pass alone on top of {base}: what a run takes more without it",
        "cumulative": "Each pass after those before it: what a run takes more without it",
    }[view]
    best = ", ".join(f"{row.name} {row.figure}" for row in rows[:3])
    label = f"{what}, with 95% intervals, of {len(rows)} passes. Largest: {best}."
    return row_chart(view, label, rows, axis)


def _most_telling(steps: Sequence[Step]) -> list[Step]:
    """Those with the largest gains first; of those within noise only as many as there is room."""
    telling = [step for step in steps if step.verdict in EFFECTIVE]
    rest = [step for step in steps if step.verdict not in EFFECTIVE]
    rest.sort(key=lambda step: -abs(math.log(_speedup(step))))
    telling += rest[: max(0, DRAWN - len(telling))]
    return sorted(telling, key=lambda step: -_speedup(step))


def _speedup(step: Step) -> float:
    return step.speedup.value if step.speedup is not None and step.speedup.value > 0 else 1.0


def _worth_row(step: Step, speedup: Interval) -> Row:
    kind = _KINDS.get(step.verdict, "even")
    bar = Bar(0.0, speedup.value - 1, kind, (speedup.low - 1, speedup.high - 1))
    sign = SIGNS[step.verdict]
    low, high = speedup.low - 1, speedup.high - 1
    short = f"{sign} {_percent(speedup.value - 1)}".strip()
    figure = f"{short} ({_bare(low)} to {_bare(high)})"
    return Row(step.name, figure, short, (bar,), _in_words(step))


def _percent(share: float) -> str:
    return f"{_bare(share)}%"


def _bare(share: float) -> str:
    """A share in percent with its sign, without the unit."""
    text = percent(abs(share)).removesuffix("%")
    return text if text == "0.0" else f"{'−' if share < 0 else '+'}{text}"


def engines(facts: Facts) -> Chart | None:
    """Time of a run: the whole pipeline, the original, and every engine compared with."""
    rows = []
    variants = {"whole pipeline": facts.whole, "original model": facts.original}
    for name, variant in variants.items():
        if variant is not None and (latency := facts.latency(variant)) is not None:
            rows.append(_engine_row(name, latency, "gain" if variant is facts.whole else "even"))
    for column in facts.engines:
        if (latency := facts.latency(column)) is not None:
            rows.append(_engine_row(column.name, latency, "even"))
    if not facts.engines or len(rows) < 2:
        return None
    longest = max(bar.end for row in rows for bar in row.bars)
    unit, scale, _ = unit_of(longest)
    label = "Time of a run by engine: " + ", ".join(f"{r.name} {r.figure}" for r in rows) + "."
    axis = Axis(f"time of a run in {unit}: shorter is faster", lambda s: f"{s / scale:.4g}")
    return row_chart("engines", label, rows, axis)


def _engine_row(name: str, latency: Interval, kind: Kind) -> Row:
    bar = Bar(0.0, latency.value, kind, (latency.low, latency.high))
    reach = f"{duration(latency.low)} to {duration(latency.high)}"
    figure = duration(latency.value)
    return Row(name, figure, figure, (bar,), f"{figure} ({reach})")
