"""What methods of quantization are worth, as tables for terminals and pages."""

from collections.abc import Sequence

from rich.table import Table

from benchmarks.int8.methods import FLOAT, VIEWS, WHOLE, Effect, MethodsRow, helpful, verdict
from burnish.bench.document import Metric
from burnish.bench.methods import BASE, NOISE
from burnish.quantization import work

HEADS = ("model", "method", "alone", "without", "noise alone", "noise without")


def method_cells(rows: Sequence[MethodsRow]) -> list[list[str]]:
    """A row for each model and method: points of the metric, and decibels of noise it removes."""
    found = []
    for row in rows:
        for name in dict.fromkeys(one.name for one in row.effects):
            effects = [_effect(row, name, view) for view in VIEWS]
            points = [_points(one) for one in effects]
            found.append([row.model, name, *points, *(_noise(one) for one in effects)])
    return found


def _effect(row: MethodsRow, name: str, view: str) -> Effect:
    return next(one for one in row.effects if (one.name, one.view) == (name, view))


def _points(effect: Effect) -> str:
    if not effect.metrics:
        return "same"
    by = effect.metrics[0].difference
    assert by is not None
    return f"{100 * by.value:+.2f} ({100 * by.low:+.2f} to {100 * by.high:+.2f})"


def _noise(effect: Effect) -> str:
    """By how much noise changes, in percent of what it is without the method."""
    found = _named(effect.metrics, NOISE)
    if found is None or found.difference is None:
        return "same" if not effect.metrics else "-"
    before = found.value.value - found.difference.value
    if not before:
        return "-"
    by = found.difference
    low, value, high = (100 * each / before for each in (by.low, by.value, by.high))
    return f"{value:+.0f}% ({low:+.0f} to {high:+.0f})"


def _named(metrics: Sequence[Metric], name: str) -> Metric | None:
    return next((one for one in metrics if one.name == name), None)


def totals(rows: Sequence[MethodsRow]) -> list[list[str]]:
    """A row for each model: its metric in float, and points of rounding alone and of all."""
    found = []
    for row in rows:
        if FLOAT not in row.variants:
            continue
        first = row.variants[FLOAT][0]
        cells = [_points(Effect("", "alone", row.variants[name])) for name in (BASE, WHOLE)]
        title = first.name.replace("-", " ")
        value = f"{100 * first.value.value:.2f}"
        found.append([row.model, title, str(first.items), value, *cells])
    return found


def conclusion(rows: Sequence[MethodsRow]) -> str:
    """Which methods help where, in sentences."""
    found = helpful(rows)
    lines = []
    for row in rows:
        for name, why in row.failures.items():
            found.setdefault(name, [])
            lines.append(f"- `{name}`: ONNX Runtime does not run {row.model} with it: {why}.")
    for name, models in found.items():
        if models:
            lines.append(f"- `{name}` helps {', '.join(models)}; {_place(name)}.")
        elif all(not one.metrics for row in rows for one in row.effects if one.name == name):
            lines.append(f"- `{name}` changes none of these models; {_place(name)}.")
        else:
            lines.append(f"- `{name}` helps none of these models; {_place(name)}.")
    return "\n".join(lines)


def recipe() -> set[str]:
    """Methods that ``--quantize int8`` tries besides rounding, in whichever combination."""
    return {*work.BEFORE, *(name for way in work.AFTER for name in way)}


def _place(name: str) -> str:
    return "in the default recipe" if name in recipe() else "not in the default recipe"


def methods_table(rows: Sequence[MethodsRow]) -> Table:
    """Lay out effects for a terminal."""
    table = Table(title="What methods of quantization change, in points of the metric and noise")
    for head in HEADS:
        table.add_column(head)
    styles = {"better": "green", "worse": "red"}
    for row, cells in zip(_pairs(rows), method_cells(rows), strict=True):
        told = {verdict(_effect(*row, view)) for view in VIEWS}
        table.add_row(*cells, style=styles.get(told.pop(), "") if len(told) == 1 else "")
    return table


def _pairs(rows: Sequence[MethodsRow]) -> list[tuple[MethodsRow, str]]:
    return [(row, name) for row in rows for name in dict.fromkeys(e.name for e in row.effects)]
