"""Charts of rows: a name, bars with intervals, and the figure beside them.

On a narrow page the name and the figure stand above the bars, which then have the whole width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from burnish.bench.report.palette import LIGHT
from burnish.bench.report.svg import SIZE, Canvas, Chart, chart
from burnish.bench.report.text import fitting
from burnish.wording import visible

Kind = Literal["gain", "loss", "even", "total", "before", "after"]
_FILL = {
    "gain": "blue", "loss": "vermillion", "even": "paper", "total": "muted", "before": "paper",
    "after": "green",
}  # fmt: skip
_EDGE = {**_FILL, "even": "grey", "before": "grey"}

BAR, PAIR, GAP = 14, 12, 12
"""Height of a single bar, of each of several in a row, and space between rows, in CSS pixels."""
NAMES = 280
"""Width of the column of names of a wide chart, in CSS pixels."""
LINE = 22
"""Height of the line above the bars of a narrow chart."""
TOP, BOTTOM = 8, 52


@dataclass(frozen=True)
class Bar:
    """One bar, in units of the axis."""

    start: float
    end: float
    kind: Kind
    interval: tuple[float, float] | None = None
    """That the end may lie in."""


@dataclass(frozen=True)
class Row:
    """One row: a pass, a layer, an engine."""

    name: str
    figure: str
    """What stands beside the bars."""
    short: str
    """The same where there is less room."""
    bars: tuple[Bar, ...] = ()
    title: str = ""
    """More about it, for the pointer."""
    is_set_off: bool = False
    """Whether a line sets it off from the rows before it."""


@dataclass(frozen=True)
class Axis:
    """What lengths mean."""

    label: str
    format: Callable[[float], str]
    zero: float = 0.0
    """Where a line is drawn that bars start from."""
    is_zero_shown: bool = True
    connects: bool = False
    """Whether each row starts where the one before it ends, as in a waterfall; a wide chart shows
    that by lines."""


def row_chart(key: str, label: str, rows: Sequence[Row], axis: Axis) -> Chart:
    """A chart of ``rows``, from top to bottom."""
    return chart(
        key, label, lambda width: _places(rows, width)[-1] + TOP + BOTTOM,
        lambda canvas: _draw(canvas, rows, axis),
    )  # fmt: skip


def _places(rows: Sequence[Row], width: int) -> list[int]:
    """Where each row starts, and where the last one ends, in CSS pixels from the first."""
    above = LINE + 4 if Canvas.is_for_phones(width) else 0
    places = [0]
    for row in rows:
        places.append(places[-1] + above + _thickness(row, width) + GAP)
    return places


def _thickness(row: Row, width: int) -> int:
    """Height of the bars of a row; a wide chart has its name beside them."""
    if not row.bars and Canvas.is_for_phones(width):
        return 0
    return BAR if len(row.bars) <= 1 else PAIR * len(row.bars)


def _draw(canvas: Canvas, rows: Sequence[Row], axis: Axis) -> None:
    places = _places(rows, canvas.width)
    figures = 16 + round(0.6 * SIZE * max(len(row.figure) for row in rows))
    left, right = (2, 14) if canvas.is_narrow else (NAMES, figures)
    axes = canvas.axes(left, TOP, right, BOTTOM)
    axes.set_ylim(places[-1], 0)
    _scale(axes, rows, axis, canvas)
    previous: float | None = None
    for row, top, bottom in zip(rows, places, places[1:], strict=False):
        middle = (top + bottom) / 2
        if canvas.is_narrow:
            middle = top + LINE + _thickness(row, canvas.width) / 2
        if row.is_set_off:
            y = canvas.height - TOP - top + (4 if canvas.is_narrow else 0)
            line = Line2D([0, canvas.width], [y, y], lw=1, color=LIGHT["rule"],
                          transform=canvas.pixels)  # fmt: skip
            canvas.figure.add_artist(line)
        _names(canvas, row, top, middle)
        _bars(canvas, axes, row, middle)
        if axis.connects and not canvas.is_narrow and previous is not None and row.bars:
            axes.plot([previous] * 2, [top - GAP / 2 - 2, middle - BAR / 2], lw=1, zorder=1,
                      color=LIGHT["grey"])  # fmt: skip
        previous = row.bars[-1].end if row.bars else previous


def _scale(axes: Axes, rows: Sequence[Row], axis: Axis, canvas: Canvas) -> None:
    """Limits, ticks and the line at zero."""
    reach = [x for row in rows for bar in row.bars
             for x in (bar.start, bar.end, *(bar.interval or ()))]  # fmt: skip
    if axis.is_zero_shown:
        reach.append(axis.zero)
    low, high = min(reach), max(reach)
    slack = (high - low or abs(high) or 1.0) * 0.03
    axes.set_xlim(low if low == axis.zero and axis.is_zero_shown else low - slack, high + slack)
    axes.xaxis.set_major_locator(MaxNLocator(4 if canvas.is_narrow else 6, min_n_ticks=2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: axis.format(x)))
    axes.tick_params(axis="x", length=0, pad=6)
    axes.set_yticks([])
    axes.set_xlabel(axis.label, fontsize=SIZE, loc="left")
    axes.grid(axis="x", color=LIGHT["rule"], lw=1)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    if axis.is_zero_shown:
        axes.axvline(axis.zero, color=LIGHT["muted"], lw=1.2, zorder=2)


def _names(canvas: Canvas, row: Row, top: float, middle: float) -> None:
    """The name at the left, the figure at the right."""
    figure = row.short if canvas.is_narrow else row.figure
    if canvas.is_narrow:
        y, room = top + LINE - 7, canvas.width - 9 * len(figure) - 12
        across = "baseline"
        # No line of the grid goes through text.
        patch = Rectangle((0, canvas.height - TOP - top - LINE + 2), canvas.width, LINE,
                          facecolor=LIGHT["paper"], transform=canvas.pixels)  # fmt: skip
        canvas.figure.add_artist(patch)
    else:
        y, room, across = middle, NAMES - 12, "center_baseline"
    y = canvas.height - TOP - y
    text = canvas.figure.text(0, y, fitting(row.name, room, SIZE), va=across,
                              transform=canvas.pixels)  # fmt: skip
    canvas.name(text, f"{visible(row.name)}: {row.title or row.figure}")
    canvas.figure.text(canvas.width, y, figure, va=across, ha="right", transform=canvas.pixels)


def _bars(canvas: Canvas, axes: Axes, row: Row, middle: float) -> None:
    thick = BAR if len(row.bars) <= 1 else PAIR
    for number, bar in enumerate(row.bars):
        y = middle + (number - (len(row.bars) - 1) / 2) * thick
        if bar.start == bar.end and bar.kind == "total":
            axes.plot(bar.end, y, marker="D", markersize=9, color=LIGHT["muted"], zorder=4)
            continue
        patch = Rectangle(
            (min(bar.start, bar.end), y - thick / 2 + 1), abs(bar.end - bar.start), thick - 2,
            facecolor=LIGHT[_FILL[bar.kind]], edgecolor=LIGHT[_EDGE[bar.kind]], lw=1.2, zorder=3,
        )  # fmt: skip
        if bar.kind == "loss":
            # Told apart without colour as well.
            patch.set(facecolor=LIGHT["paper"], hatch="/////")
        axes.add_patch(patch)
        canvas.name(patch, f"{visible(row.name)}: {row.title or row.figure}")
        if bar.interval is not None:
            axes.plot(bar.interval, [y, y], color=LIGHT["ink"], lw=1.5, zorder=4,
                      marker="|", markersize=8, mew=1.5, solid_capstyle="butt")  # fmt: skip
