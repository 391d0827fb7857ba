"""The page of a quantized model: what each layer became, and accuracy against latency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.ticker import FuncFormatter, MaxNLocator

from burnish.bench.report.headline import Tile
from burnish.bench.report.page import TEMPLATES as SHARED
from burnish.bench.report.palette import DARK, LIGHT
from burnish.bench.report.svg import SIZE, Canvas, Chart, chart
from burnish.bench.report.tables import Table
from burnish.layer_formats import ValueFormat
from burnish.output import staged
from burnish.quantization.decision import Point
from burnish.quantization.result import Layer, Quantized
from burnish.wording import counted, duration, percent, visible

TEMPLATES = (Path(__file__).parent / "templates", SHARED)
"""Where the page and what it shares with that of benches come from."""
HEIGHT = 360
"""Of the drawing, in CSS pixels."""
_LEAST_SHARE = 1e-4
"""Share of the bound that the lowest points of the drawing stand for: that, and all below."""


@dataclass(frozen=True)
class Spot:
    """A selection of layers in the drawing."""

    x: float
    """Seconds of a run, or layers that are quantized where nothing was timed."""
    share: float
    """Of what may be lost."""
    is_chosen: bool
    text: str
    """What it is, in words."""


def write_page(found: Quantized, name: str, notices: Sequence[str], path: Path) -> None:
    """Write what was quantized as one HTML file that asks for no other.

    Args:
        found: what was quantized.
        name: of the model.
        notices: what a user should know.
        path: of the file, which is replaced or left as it was.

    Raises:
        UsageError: no file can be written at ``path``.
        CannotWrite: the disk is full or refuses.
    """
    with staged(path) as draft:
        draft.write_bytes(render(found, name, notices).encode("utf-8", "backslashreplace"))


def render(found: Quantized, name: str, notices: Sequence[str]) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style = environment.get_template("report.css").render(light=LIGHT, dark=DARK, families=())
    return environment.get_template("quantization.html").render(
        name=visible(name), style=Markup(style), sentence=sentence(found), tiles=_tiles(found),
        chart=picture(found), is_timed=found.times.seconds is not None, layers=layer_rows(found),
        points=_points(found), notices=[visible(one) for one in notices],
    )  # fmt: skip


def sentence(found: Quantized) -> str:
    """What came of it."""
    text = f"{found.count} of {counted(len(found.layers), 'layer')} multiply integers of 8 bits"
    if not found.count and len(reasons := {one.format.reason for one in found.layers}) == 1:
        text += f"; {visible(*reasons)}"
    if not found.loss:
        return text + "."
    return f"{text}. Loss: {found.loss}; allowed: {found.bound}."


def _tiles(found: Quantized) -> list[Tile]:
    chosen, speedup = found.decision.chosen, found.final_speedup or found.speedup
    tiles = [Tile("Layers in int8", f"{found.count} of {len(found.layers)}", "the rest in float")]
    if chosen is not None:
        share = chosen.loss.share
        tiles.append(Tile("Of what may be lost", percent(share), visible(chosen.loss.text)))
    if speedup is not None:
        is_final = found.final_speedup is not None
        how = "of the artifacts" if is_final else "both without tuning"
        if found.sets > 1:
            how += ", least of all input shapes" if is_final else ", at the first input shapes"
        interval = f"{speedup.low:.2f} to {speedup.high:.2f}, {how}"
        tiles.append(Tile("Speed over float", f"{speedup.median:.2f}×", interval))
    return tiles


def spots(found: Quantized) -> list[Spot]:
    """What was tried, the model in float first."""
    names = [layer.format.layer for layer in found.layers]
    found_spots = [_spot(found, names, 0.0, "nothing", chosen=found.decision.chosen is None)]
    for point in found.decision.points:
        chosen = point is found.decision.chosen
        spot = _spot(found, point.floats, point.loss.share, point.loss.text, chosen=chosen)
        found_spots.append(spot)
    return found_spots


def _spot(
    found: Quantized, floats: Sequence[str], share: float, text: str, *, chosen: bool
) -> Spot:
    stays = {layer.format.layer for layer in found.layers if layer.format.data is None}
    count = len(found.layers) - len(stays | set(floats))
    seconds = found.latency(floats)
    time = "" if seconds is None else f", {duration(seconds)} a run"
    layers = f"{count} of {counted(len(found.layers), 'layer')} in int8" if count else "float"
    x = float(count) if seconds is None else seconds
    return Spot(x, share, chosen, visible(f"{layers}: loses {text}{time}"))


def picture(found: Quantized) -> Chart | None:
    """Loss against latency of all that was tried; None if nothing was."""
    drawn = [spot for spot in spots(found) if math.isfinite(spot.x) and math.isfinite(spot.share)]
    if len(drawn) < 2:
        return None
    timed = found.times.seconds is not None
    label = (
        f"Share of the allowed loss against {'time of a run' if timed else 'layers in int8'}: "
        + "; ".join(spot.text for spot in drawn)
    )
    return chart("tried", label, lambda width: HEIGHT, lambda canvas: _draw(canvas, drawn, timed))


def _draw(canvas: Canvas, drawn: Sequence[Spot], timed: bool) -> None:
    axes = canvas.axes(62, 34, 14, 56)
    axes.set_yscale("log")
    heights = [max(spot.share, _LEAST_SHARE) for spot in drawn]
    axes.set_ylim(_LEAST_SHARE / 2, max(2.0, 2 * max(heights)))
    xs = [spot.x for spot in drawn]
    room = 0.08 * (max(xs) - min(xs)) or 0.1 * abs(max(xs)) or 1.0
    axes.set_xlim(min(xs) - room, max(xs) + room)
    axes.axhline(1.0, color=LIGHT["vermillion"], lw=1.5, dashes=(6, 3))
    for spot, height in zip(drawn, heights, strict=True):
        kind = "green" if spot.is_chosen else "blue" if spot.share <= 1 else "vermillion"
        artist = axes.scatter(
            [spot.x], [height], s=150 if spot.is_chosen else 60,
            marker="D" if spot.is_chosen else "o" if spot.share <= 1 else "X",
            facecolor=LIGHT[kind], edgecolor=LIGHT["paper"], linewidth=1, zorder=4,
        )  # fmt: skip
        canvas.name(artist, spot.text)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
    axes.xaxis.set_major_locator(MaxNLocator(4 if canvas.is_narrow else 8))
    if timed:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{1e3 * x:.3g}"))
    axes.minorticks_off()
    axes.grid(color=LIGHT["rule"], lw=1)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, pad=6)
    axes.spines[:].set_visible(False)
    label = "ms a run, without tuning" if timed else "layers in int8"
    axes.set_xlabel(label, fontsize=SIZE, loc="left")
    canvas.figure.text(0, canvas.height - 14, "share of the allowed loss", color=LIGHT["muted"],
                       transform=canvas.pixels)  # fmt: skip


def layer_rows(found: Quantized) -> Table:
    """A row for each layer."""
    heads = ["layer", "operator", "format", "data", "weights", "dB", "cost", "gain",
             "why it stays in float"]  # fmt: skip
    rows = [_layer_row(layer) for layer in found.layers]
    return Table("Layers", heads, rows, right=frozenset({5, 6, 7}), long=frozenset({0, 8}))


def _layer_row(layer: Layer) -> list[str]:
    form = layer.format
    noises = [v.sqnr for v in (form.data, form.weights) if v is not None and v.sqnr is not None]
    gain = ""
    if layer.gain is not None:
        low, high = 1e6 * layer.gain.low, 1e6 * layer.gain.high
        gain = f"{1e6 * layer.gain.median:.1f} µs\n{low:.1f} to {high:.1f}"
    cost = "" if layer.sensitivity is None else percent(layer.sensitivity)
    if cost and layer.group > 1:
        cost += f"\n1 of {layer.group}"
    return [
        visible(form.layer), visible(form.op_type), layer.kind, _value(form.data),
        _value(form.weights),
        " ".join(f"{noise:.0f}" for noise in noises), cost, gain, visible(form.reason),
    ]  # fmt: skip


def _value(value: ValueFormat | None) -> str:
    if value is None:
        return ""
    scales = f", {counted(value.channels, 'scale')}" if value.channels > 1 else ""
    return f"{value.dtype} {value.low:.3g} to {value.high:.3g}\n{value.method}{scales}"


def _points(found: Quantized) -> Table:
    rows = [_point_row(found, point) for point in found.decision.points]
    heads = ["left in float", "loss", "of what is allowed", "a run"]
    return Table("Selections", heads, rows, right=frozenset({2, 3}))


def _point_row(found: Quantized, point: Point) -> list[str]:
    seconds = found.latency(point.floats)
    return [
        counted(len(point.floats), "layer"), visible(point.loss.text), percent(point.loss.share),
        "" if seconds is None else duration(seconds),
    ]  # fmt: skip
