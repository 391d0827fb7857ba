"""``burnish explain``: which rules fired, which nearly did, and why not."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from burnish.cli import options
from burnish.cli.session import Session

if TYPE_CHECKING:
    from burnish.pipeline import PassReport

SHOWN = 3
"""Places named for each rule, unless -v asks for all."""


def explain(
    ctx: typer.Context,
    model: options.Model,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="T", help="Explain compiling for T instead of optimizing.")
    ] = None,
    input_shape: options.InputShape = None,
    preset: options.Preset = None,
    passes: options.Passes = None,
    skip: options.Skip = None,
    set_: options.Set = None,
    opset: options.Opset = None,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:  # fmt: skip
    """Show, rule by rule, where it fired, where it nearly did, and what stopped it."""
    session: Session = ctx.obj
    session.json = json
    from burnish import api
    from burnish.report import describe_rules

    with session.progress() as progress:
        report = api.explain(
            api.load(model),
            target,
            preset=preset,
            input_shapes=options.shapes(input_shape),
            passes=options.names(passes),
            skip=options.names(skip) or (),
            set=options.settings(set_),
            opset=opset,
            progress=progress,
        )
    if json:
        session.data({"model": str(model), "passes": describe_rules(report)})
        return
    quiet = [entry.name for entry in report if not _has_news(entry)]
    for entry in report:
        if _has_news(entry):
            _show(entry, None if verbose else SHOWN)
    if quiet:
        typer.echo(f"nothing to do for: {', '.join(quiet)}")


def _has_news(entry: PassReport) -> bool:
    return bool(entry.changed or entry.missed or entry.rolled_back or entry.notes)


def _show(entry: PassReport, limit: int | None) -> None:
    from burnish.report import group_misses

    typer.echo(f"{entry.name}: {entry.edits.total()} edits, "
               f"operators {entry.nodes_before} -> {entry.nodes_after}")  # fmt: skip
    if entry.rolled_back:
        typer.echo(f"  undone: {entry.rolled_back}")
    for note in entry.notes:
        typer.echo(f"  note: {note}")
    places: dict[str, list[str]] = {}
    for firing in entry.fired:
        places.setdefault(firing.rule, []).append(_nodes(firing.provenance))
    for rule, where in places.items():
        typer.echo(f"  fired: {rule}, {len(where)} times, at {_some(where, limit)}")
    for (rule, reason), nodes in group_misses(entry.missed).items():
        where = [_nodes(place) for place in nodes]
        typer.echo(f"  not: {rule}, {len(where)} times: {reason}\n       at {_some(where, limit)}")


def _nodes(provenance: tuple[str, ...] | list[str]) -> str:
    names = [name for name in provenance if name]
    more = f" (+{len(names) - 2})" if len(names) > 2 else ""
    return " ".join(names[:2]) + more if names else "a node that passes made"


def _some(places: list[str], limit: int | None) -> str:
    unique = list(Counter(places))
    shown = unique[:limit]
    more = len(unique) - len(shown)
    return ", ".join(shown) + (f" and {more} more (-v shows all)" if more else "")
