"""Tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from burnish.report import Section, sections
from burnish.wording import agreement, counted, data_size

if TYPE_CHECKING:
    from rich.table import Table

    from burnish.pipeline import PipelineReport


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


def pass_table(report: PipelineReport) -> Table | str:
    """One row per pass that did something or was undone, however often it ran."""
    rows = [s for s in sections(report) if s.edits or s.undone or s.notes]
    if not rows:
        return "no pass found anything to do"
    compared = any(section.error is not None for section in rows)
    columns = ["pass", "operators", "ms", *(["error"] if compared else []), "what it did"]
    table = new_table(*columns, right=("operators", "ms", "error"))
    for section in rows:
        balance = f"{-section.removed:+d}" if section.removed else ""
        row = [section.name, balance, f"{section.seconds * 1e3:.0f}"]
        if compared:
            row.append("" if section.error is None else f"{section.error:.1e}")
        table.add_row(*row, summary(section))
    return table


def summary(section: Section) -> str:
    """What a pass did, one line for each rule."""
    if section.undone:
        return f"undone: {section.undone}"
    counts = Counter(firing.rule for firing in section.fired)
    rules = [f"{times} x {rule}" for rule, times in counts.items()]
    return "\n".join([*rules, *section.notes]) or counted(section.edits, "edit")


def type_table(before: Mapping[str, int], after: Mapping[str, int]) -> Table:
    """Operators by type, of those types whose number is another one now."""
    table = new_table("operator", "before", "after", right=("before", "after"))
    changed = [kind for kind in {**before, **after} if before.get(kind) != after.get(kind)]
    for kind in sorted(changed, key=lambda kind: (-before.get(kind, 0), kind)):
        table.add_row(kind, *(str(count.get(kind, "")) for count in (before, after)))
    table.add_row("all", str(sum(before.values())), str(sum(after.values())), end_section=True)
    return table


def size_line(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
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


def precision_lines(precision: Mapping[str, Any] | None) -> list[str]:
    """What was rounded, and how far that moves each output."""
    if precision is None:
        return []
    kinds = f"weights in {precision['weights']}"
    if precision["products"] != "f32":
        kinds = f"products and their weights in {precision['products']}"
    count, all_of_them = precision["rounded"], precision["eligible"]
    if not all_of_them:
        return [f"{kinds}: nothing gains by rounding, so nothing is rounded"]
    lines = [f"{kinds}: {count} of {all_of_them} operators that gain by rounding"]
    for name, error in precision["errors"].items():
        lines.append(f"  {name}: largest relative error {error:.1e}")
    return lines


def agreement_line(report: PipelineReport) -> str:
    """How the result was verified, in one line."""
    if report.verify == "off":
        return "not verified (--verify off)"
    if report.error is None:
        return "nothing changed, nothing to verify"
    return f"verified on {report.feeds} sets of inputs: {agreement(report.error)}"
