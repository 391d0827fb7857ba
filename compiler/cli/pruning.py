"""What was pruned, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from burnish.wording import counted, duration, few, of_thousand, percent, shortened, visible

if TYPE_CHECKING:
    from rich.table import Table

    from burnish.cli.session import Session
    from burnish.ir import Graph
    from burnish.pruning.result import Pruned, Thinned

_NAME = 32
"""Characters of a structure's name that a table has room for."""


def show_pruning(session: Session, found: Pruned | None, *, verbose: bool) -> None:
    """Print which structures are thinner, what that loses, and why the others are left alone.

    With ``verbose`` all structures are in the table.
    """
    if found is None:
        return
    shown = found.structures if verbose else [one for one in found.structures if one.is_thinner]
    if shown:
        session.out.print(structure_table(shown))
    for line in (*pruning_lines(found.summary()), *_figures(found)):
        session.tell(line)


def pruning_lines(summary: Mapping[str, Any] | None) -> list[str]:
    """How much of a model is pruned and what that loses: of the manifest's entry, if any."""
    if summary is None:
        return []
    count = f"pruned: {summary['structures']} of {counted(summary['of'], 'structure')}"
    if not summary["structures"]:
        return [count]
    left = (
        f"{percent(summary['flops'])} of operations and {percent(summary['weights'])} of weights "
        "are left"
    )
    return [f"{count}; {left}; loss: {summary['loss']}; asked: {summary['asked']}"]


def _figures(found: Pruned) -> list[str]:
    """What was counted and measured, and why structures are left alone."""
    alone = [one.reason for one in found.structures if one.reason and not one.is_thinner]
    lines = [f"left alone: {counted(len(alone), 'structure')}: {few(alone)}"] if alone else []
    if not found.count:
        return []  # a notice says why
    flops = found.flops
    lines.append(f"{of_thousand(flops.before)}FLOPs → {of_thousand(flops.after)}FLOPs")
    if found.quality is not None and found.distance is not None:
        lines.append(
            f"QoM {found.quality:.3f}: half of the same top-1 in "
            f"{100 * (found.distance.agreement or 0):.1f} %, half of "
            f"{percent(1 - found.weights.share)} of weights gone"
        )
    took = f"deciding what to prune took {duration(found.seconds)}"
    return [*lines, *filter(None, [found.told_speedup]), took]


def show_record(session: Session, graph: Graph) -> None:
    """Print what was removed of a model before it was written, if it says so."""
    from burnish.pruning.record import read

    for record in read(graph):
        for line in pruning_lines(record.summary):
            session.tell(line)
        session.out.print(structure_table(record.thinned))


def record_json(graph: Graph) -> dict[str, Any]:
    """What JSON says of that: nothing if the model says nothing."""
    from burnish.pruning.record import read

    records = read(graph)
    return {"pruned": [one.as_json() for one in records]} if records else {}


def structure_table(structures: Sequence[Thinned]) -> Table:
    """A row for each structure: how much of it is left, what that costs and saves, and why.

    Columns that say nothing are left out.
    """
    from burnish.cli.tables import new_table

    columns: dict[str, list[str]] = {
        "structure": [shortened(visible(one.name), _NAME) for one in structures],
        "kind": [visible(one.kind) for one in structures],
        "kept": [f"{one.kept}/{one.units}" for one in structures],
        "score": ["" if one.score is None else f"{one.score:.2g}" for one in structures],
        "error": ["" if one.error is None else percent(one.error) for one in structures],
        "cost": ["" if one.cost is None else percent(one.cost) for one in structures],
        "by": [one.criterion for one in structures],
        "why": [one.reason for one in structures],
    }
    filled = {name: cells for name, cells in columns.items() if any(cells)}
    table = new_table(*filled, right=("kept", "score", "error", "cost"))
    for row in zip(*filled.values(), strict=True):
        table.add_row(*map(Text, row))
    return table
