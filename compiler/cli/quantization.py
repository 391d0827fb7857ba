"""What was quantized, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from burnish.wording import counted, duration, percent, shortened

if TYPE_CHECKING:
    from burnish.cli.session import Session
    from burnish.layer_formats import ValueFormat
    from burnish.quantization.result import Layer, Quantized

_NAME = 32
"""Characters of a layer's name that a table has room for."""


def show_quantization(session: Session, found: Quantized | None, *, verbose: bool) -> None:
    """Print how many layers are quantized, what that loses, and layers that stay in float.

    With ``verbose`` all layers.
    """
    if found is None:
        return
    shown = found.layers if verbose else [one for one in found.layers if one.format.reason]
    if shown:
        session.out.print(layer_table(shown))
    deciding = f"deciding took {duration(found.seconds)}"
    for line in (*quantization_lines(found.summary()), found.told_speedup, deciding):
        if line:
            session.tell(line)


def quantization_lines(summary: Mapping[str, Any] | None) -> list[str]:
    """How much of a model is quantized and what that loses: of the manifest's entry, if any."""
    if summary is None:
        return []
    count = f"{summary['format']}: {summary['layers']} of {counted(summary['of'], 'layer')}"
    if summary.get("bf16"):
        count += f", {summary['bf16']} in bf16"
    if not summary["loss"]:
        return [count]
    return [f"{count}; loss: {summary['loss']}; allowed: {summary['bound']}"]


def layer_table(layers: Sequence[Layer]) -> Table:
    """A row for each layer: format, range, noise, what it costs and gains, why it stays."""
    table = Table(box=None, pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column("operator")
    table.add_column("format")
    table.add_column("range", justify="right")
    table.add_column("dB", justify="right")
    table.add_column("cost", justify="right")
    table.add_column("gain", justify="right")
    table.add_column("why it stays in float")
    for layer in layers:
        format = layer.format
        table.add_row(
            Text(shortened(format.layer, _NAME)), format.op_type, layer.kind, _range(format.data),
            _noise(format.data, format.weights),
            _cost(layer),
            "" if layer.gain is None else f"{1e6 * layer.gain.median:.0f} us",
            Text(format.reason),
        )  # fmt: skip
    return table


def _cost(layer: Layer) -> str:
    """The share of the bound: of a layer alone, or its part of what several take together."""
    if layer.sensitivity is None:
        return ""
    share = percent(layer.sensitivity)
    return share if layer.group == 1 else f"{share} (1/{layer.group})"


def _range(value: ValueFormat | None) -> str:
    return "" if value is None else f"{value.low:.3g} to {value.high:.3g}"


def _noise(*values: ValueFormat | None) -> str:
    """Signal to noise of data and weights."""
    found = [v.sqnr for v in values if v is not None and v.sqnr is not None]
    return " ".join(f"{sqnr:.0f}" for sqnr in found)
