"""Tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from burnish.report import fired_counts

if TYPE_CHECKING:
    from rich.table import Table

    from burnish.pipeline import PassReport, PipelineReport


SHARES = {"operators": "operators", "flops": "FLOPs"}


def new_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table without frames; columns in ``right`` hold numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, column in enumerate(columns):
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(column, justify=justify, no_wrap=number == 0)
    return table


def pass_table(report: PipelineReport) -> Table:
    """One row per pass that did something or was undone."""
    compared = any(entry.error is not None for entry in report)
    columns = ["pass", "operators", "ms", *(["error"] if compared else []), "what it did"]
    table = new_table(*columns, right=("operators", "ms", "error"))
    for entry in report:
        if not entry.changed and not entry.rolled_back and not entry.notes:
            continue
        row = [entry.name, f"{entry.nodes_before} → {entry.nodes_after}", _milliseconds(entry)]
        if compared:
            row.append("" if entry.error is None else f"{entry.error:.1e}")
        table.add_row(*row, summary(entry))
    return table


def _milliseconds(entry: PassReport) -> str:
    return f"{entry.seconds * 1e3:.0f}"


def summary(entry: PassReport) -> str:
    """What a pass did, one line for each rule."""
    if entry.rolled_back:
        return f"undone: {entry.rolled_back}"
    counts = fired_counts(entry)
    rules = [f"{times} x {rule}" for rule, times in counts.items()]
    return "\n".join([*rules, *entry.notes])


def size_line(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """Operators and constant bytes before and after, in one line."""
    return (
        f"operators {before['operators']} → {after['operators']}, "
        f"weights {data_size(before['constant_bytes'])} → {data_size(after['constant_bytes'])}"
    )


def native_lines(native: Mapping[str, Any]) -> list[str]:
    """How much of a model runs in kernels of its own, and why the rest does not."""
    lines = []
    if "operators" in native:
        shares = [f"{native[key]:.1%} of {label}" for key, label in SHARES.items() if key in native]
        lines.append(f"native: {', '.join(shares)}")
    for operator, reason in native.get("refusals", {}).items():
        lines.append(f"  {operator} runs in ONNX Runtime: {reason}")
    return lines


def data_size(count: int) -> str:
    """Bytes for people: ``4.7 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def agreement_line(report: PipelineReport) -> str:
    """How the result was verified, in one line."""
    if report.verify == "off":
        return "not verified (--verify off)"
    if report.error is None:
        return "nothing changed, nothing to verify"
    found = "bit-identical" if report.error == 0 else f"largest relative error {report.error:.1e}"
    return f"verified on {report.feeds} sets of inputs: {found}"


def of_thousand(count: float) -> str:
    """A number for people, before its unit: ``1.25 G``."""
    for prefix in ("", "k", "M", "G"):
        if count < 1000:
            return f"{count:.3g} {prefix}"
        count /= 1000
    return f"{count:.3g} T"
