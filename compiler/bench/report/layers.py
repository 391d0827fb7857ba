"""Size by layer, before and after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import takewhile

from burnish.bench.document import Document, Node
from burnish.bench.report.bars import Axis, Bar, Row, row_chart
from burnish.bench.report.svg import Chart
from burnish.bench.report.text import relative
from burnish.wording import counted, data_size

SCOPE = 8
"""Characters of a scope of names that are worth leaving out."""
DRAWN = 16
"""Layers in the chart; of the others the sum is told."""


@dataclass(frozen=True)
class Layer:
    """A source node with the constants that it brought, and what became of their bytes."""

    name: str
    op_type: str
    before: int
    after: float


def layers(document: Document) -> list[Layer]:
    """Every source node with constants before or after, the largest first.

    Bytes of an operator that came from several source nodes are counted for each of them by its
    share of the bytes before; so that what merged three products is not booked on the first.
    """
    before = {node.name: node.constant_bytes for node in document.before}
    after = dict.fromkeys(before, 0.0)
    made = 0.0
    for node in document.after:
        sources = [name for name in _origins(node) if name in before]
        weight = sum(before[name] for name in sources)
        for name in sources:
            share = before[name] / weight if weight else 1 / len(sources)
            after[name] += node.constant_bytes * share
        if not sources:
            made += node.constant_bytes
    types = {node.name: node.op_type for node in document.before}
    found = [Layer(name, types[name], before[name], after[name]) for name in before]
    if made:
        found.append(Layer("made by passes", "", 0, made))
    found = [layer for layer in found if layer.before or layer.after]
    return sorted(found, key=lambda layer: (-max(layer.before, layer.after), layer.name))


def _origins(node: Node) -> list[str]:
    return list(dict.fromkeys(node.sources or [node.name]))


def size_chart(found: list[Layer]) -> Chart | None:
    """The largest layers, two bars each; None if the model has no constants."""
    if not found:
        return None
    shown = found[:DRAWN] if len(found) > DRAWN + 1 else found
    names = _without_prefix([layer.name for layer in shown])
    rows = [_row(name, layer.before, layer.after)
            for name, layer in zip(names, shown, strict=True)]  # fmt: skip
    if rest := found[len(shown) :]:
        # Without bars, which would be longer than all others and hide their differences.
        sizes = sum(layer.before for layer in rest), sum(layer.after for layer in rest)
        row = _row(counted(len(rest), "other layer"), *sizes)
        rows.append(replace(row, bars=(), is_set_off=True))
    totals = sum(layer.before for layer in found), sum(layer.after for layer in found)
    label = (
        f"Size of constants by layer, before and after: {data_size(totals[0])} and "
        f"{data_size(round(totals[1]))} in all. The largest: "
        + ", ".join(f"{row.name} {row.figure}" for row in rows[:3])
    )
    unit, scale = _unit(max(bar.end for row in rows for bar in row.bars))
    axis = Axis(f"constants in {unit}", lambda size: f"{size / scale:.4g}")
    return row_chart("layers", label, rows, axis)


def _without_prefix(names: list[str]) -> list[str]:
    """Names without the scopes that all of them are in, if these are long."""
    scopes = [name.split("/")[:-1] for name in names]
    common = list(takewhile(lambda parts: len(set(parts)) == 1, zip(*scopes, strict=False)))
    prefix = "".join(f"{parts[0]}/" for parts in common)
    if len(names) < 2 or len(prefix) < SCOPE:
        return names
    return [f"…{name[len(prefix) :]}" for name in names]


def _unit(size: float) -> tuple[str, float]:
    """The unit that sizes up to ``size`` are shown in, and how many bytes it has."""
    units = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
    return next((each for each in units if size >= each[1]), ("bytes", 1.0))


def _row(name: str, before: int, after: float) -> Row:
    change = relative(before, after) if before else "new"
    sizes = data_size(before), data_size(round(after))
    figure = sizes[0] if sizes[0] == sizes[1] else " → ".join(sizes)
    title = f"{sizes[0]} before, {sizes[1]} after ({change})"
    bars = (Bar(0.0, before, "before"), Bar(0.0, after, "after"))
    return Row(name, figure, figure, bars, title)
