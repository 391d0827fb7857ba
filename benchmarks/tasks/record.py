"""Recorded metrics of tasks, as a table for people and for README.md."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.tasks.measure import ORIGINAL, TaskRow
from burnish.bench.document import Interval, Metric

RECORD = Path(__file__).resolve().parent.parent / "results" / "tasks.json"
"""What `python -m benchmarks tasks --json` wrote."""
HEADS = (
    "model", "task", "items", "metric", "ONNX Runtime (95% interval)", "`default` - original",
    "compiled - original",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded run."""

    environment: dict[str, Any]
    rows: tuple[TaskRow, ...]


def load_record(path: Path = RECORD) -> Recorded:
    """Read what was recorded."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return Recorded(content["environment"], tuple(map(TaskRow.from_json, content["rows"])))


def tasks_table(record: Recorded) -> str:
    """A row for each metric, in Markdown."""
    lines = [f"| {' | '.join(HEADS)} |", "|---|---|---:|---|---|---|---|"]
    lines += [f"| {' | '.join(cells)} |" for cells in _cells(record.rows)]
    return "\n".join(lines)


def circumstances(record: Recorded) -> str:
    """In a line: machine, versions and date."""
    found = record.environment
    names = ("burnish", "onnxruntime", "onnx", "numpy")
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in names)
    return f"{found['cpu']}, {found['date'][:10]}, Python {found['python']}, {versions}."


def as_table(rows: Sequence[TaskRow]) -> Table:
    """A row for each metric, for a terminal."""
    table = Table(title="Metrics of tasks, and how rewritten models differ, pair by pair")
    for head in HEADS:
        table.add_column(head.replace("`", ""))
    for cells in _cells(rows):
        table.add_row(*cells)
    return table


def _cells(rows: Sequence[TaskRow]) -> list[list[str]]:
    found = []
    for row in rows:
        others = [metrics for name, metrics in row.metrics.items() if name != ORIGINAL]
        for index, metric in enumerate(row.metrics.get(ORIGINAL, ())):
            cells = [row.model, row.task, str(metric.items), metric.name.replace("-", " ")]
            found.append([*cells, _value(metric), *(_difference(one[index]) for one in others)])
    return found


def _value(metric: Metric) -> str:
    value = metric.value
    return f"{value.value:.2%} ({value.low:.2%} to {value.high:.2%})"


def _difference(metric: Metric) -> str:
    by = metric.difference or Interval(value=0, low=0, high=0)
    if by.low == by.high == 0:
        return "0"
    return f"{100 * by.value:+.2f} ({100 * by.low:+.2f} to {100 * by.high:+.2f})"
