"""What a page says of a quantized model: what layers became, and accuracy against latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from burnish.bench.report.headline import Tile
from burnish.bench.report.parts import Part
from burnish.bench.report.svg import Chart
from burnish.bench.report.tables import Table
from burnish.bench.report.trials import Axis, Losses, Spot, picture
from burnish.layer_formats import ValueFormat
from burnish.quantization.decision import Point
from burnish.quantization.result import Layer, Quantized
from burnish.wording import counted, duration, percent, visible

_LEAST_SHARE = 1e-4
"""Share of the bound that the lowest points of the drawing stand for: that, and all below."""


def part_of(found: Quantized) -> Part:
    """What a page says of what was quantized."""
    return Part(
        "quantization", "in int8", sentence(found), _tiles(found),
        {"tried": "Accuracy and latency", "layers": "Layers"},
        Path(__file__).parent / "templates" / "quantization.html",
        {"chart": drawing(found), "is_timed": found.times.seconds is not None,
         "layers": layer_rows(found), "points": _points(found)},
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
    return Spot(x, share, chosen, share <= 1, visible(f"{layers}: loses {text}{time}"))


def drawing(found: Quantized) -> Chart | None:
    """Loss against latency of all that was tried; None if nothing was."""
    if found.times.seconds is None:
        what, x = "layers in int8", Axis("layers in int8")
    else:
        what, x = "time of a run", Axis("ms a run, without tuning", lambda x: f"{1e3 * x:.3g}")
    losses = Losses(
        "share of the allowed loss", lambda share: f"{100 * share:g} %", _LEAST_SHARE, limit=1.0
    )
    return picture("tried", f"Share of the allowed loss against {what}", spots(found), x, losses)


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
