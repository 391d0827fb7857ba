"""What was tried as points of a drawing: what each loses against what it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

from matplotlib.ticker import FuncFormatter, MaxNLocator

from burnish.bench.report.palette import LIGHT
from burnish.bench.report.svg import SIZE, Canvas, Chart, chart

HEIGHT = 360
"""Of the drawing, in CSS pixels."""


@dataclass(frozen=True)
class Spot:
    """One try."""

    x: float
    loss: float
    """What is below the floor of the drawing lies on its lowest line."""
    is_chosen: bool
    is_allowed: bool
    """Whether it keeps to what may be lost."""
    text: str
    """What it is, in words."""


@dataclass(frozen=True)
class Axis:
    """What a direction of the drawing stands for."""

    label: str
    form: Callable[[float], str] | None = None
    """A number of it for people."""


@dataclass(frozen=True)
class Losses(Axis):
    """The upward direction, of powers of ten."""

    floor: float = 1e-4
    limit: float | None = None
    """What is allowed, if that is one number."""


def picture(key: str, label: str, spots: Sequence[Spot], x: Axis, losses: Losses) -> Chart | None:
    """Draw losses; None where there are not two to compare.

    Args:
        key: of the chart, other than that of any other chart of the page.
        label: what it shows; what the spots are follows.
        spots: what was tried.
        x: what it takes.
        losses: what it loses.
    """
    drawn = [spot for spot in spots if isfinite(spot.x) and isfinite(spot.loss)]
    if len(drawn) < 2:
        return None
    told = f"{label}: {'; '.join(spot.text for spot in drawn)}"
    return chart(key, told, lambda width: HEIGHT, lambda canvas: _draw(canvas, drawn, x, losses))


def _draw(canvas: Canvas, drawn: Sequence[Spot], x: Axis, losses: Losses) -> None:
    axes = canvas.axes(62, 34, 14, 56)
    axes.set_yscale("log")
    heights = [max(spot.loss, losses.floor) for spot in drawn]
    axes.set_ylim(losses.floor / 2, 2 * max(*heights, losses.limit or 0.0))
    xs = [spot.x for spot in drawn]
    room = 0.08 * (max(xs) - min(xs)) or 0.1 * abs(max(xs)) or 1.0
    axes.set_xlim(min(xs) - room, max(xs) + room)
    if losses.limit is not None:
        axes.axhline(losses.limit, color=LIGHT["vermillion"], lw=1.5, dashes=(6, 3))
    for spot, height in zip(drawn, heights, strict=True):
        kind = "green" if spot.is_chosen else "blue" if spot.is_allowed else "vermillion"
        artist = axes.scatter(
            [spot.x], [height], s=150 if spot.is_chosen else 60,
            marker="D" if spot.is_chosen else "o" if spot.is_allowed else "X",
            facecolor=LIGHT[kind], edgecolor=LIGHT["paper"], linewidth=1, zorder=4,
        )  # fmt: skip
        canvas.name(artist, spot.text)
    axes.xaxis.set_major_locator(MaxNLocator(4 if canvas.is_narrow else 8))
    for axis, of in ((axes.xaxis, x), (axes.yaxis, losses)):
        if of.form is not None:
            axis.set_major_formatter(_formatter(of.form))
    axes.minorticks_off()
    axes.grid(color=LIGHT["rule"], lw=1)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, pad=6)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(x.label, fontsize=SIZE, loc="left")
    canvas.figure.text(0, canvas.height - 14, losses.label, color=LIGHT["muted"],
                       transform=canvas.pixels)  # fmt: skip


def _formatter(form: Callable[[float], str]) -> FuncFormatter:
    return FuncFormatter(lambda number, _: form(number))
