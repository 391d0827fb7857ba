"""``burnish explain``: which rules fired, which nearly did, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from burnish.cli import options
from burnish.cli.pruning import record_json, show_record
from burnish.cli.session import Session
from burnish.cli.wrapping import places, wrapped
from burnish.wording import counted

if TYPE_CHECKING:
    from burnish.explanation import Explanation, Filter
    from burnish.report import Section

INDENT = " " * 11


def explain(
    ctx: typer.Context,
    model: options.Model,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="T",
            help="Explain compiling for T instead of optimizing, and what T has no kernels for.",
        ),
    ] = None,
    pass_: Annotated[
        str | None, typer.Option("--pass", metavar="A,B", help="Tell of these passes only.")
    ] = None,
    rule: Annotated[
        str | None, typer.Option("--rule", metavar="RULE", help="Tell of this rule only.")
    ] = None,
    node: Annotated[
        str | None,
        typer.Option(
            "--node", metavar="NODE", help="Tell what became of this node, and what nearly did."
        ),
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
    from burnish.explanation import Filter, as_json
    from burnish.source import load

    graph = load(model)
    with session.progress() as progress:
        found = api.explain(
            graph,
            target,
            preset=preset,
            input_shapes=options.shapes(input_shape),
            passes=options.some_names("--passes", passes),
            skip=options.names(skip) or (),
            set=options.settings(set_),
            opset=opset,
            progress=progress,
        )
    wanted = Filter(options.some_names("--pass", pass_), rule, node, everything=verbose or json)
    parts = wanted.apply(found)
    if json:
        session.data({"model": str(model), "target": target, **as_json(found, parts, wanted),
                      **record_json(graph)})  # fmt: skip
        return
    before, after = found.operators
    if not wanted.is_narrow:
        show_record(session, graph)
    typer.echo(f"operators {before} → {after}")
    _show_sections(parts, wanted, verbose)
    if wanted.is_narrow and not any(part.fired or part.missed for part in parts):
        typer.echo(wrapped(_nothing(rule, node), "\n", "  "))
    if node is not None:
        _show_node(node, found)
    elif target is not None:
        _show_declined(found, target, verbose)


def _show_sections(parts: list[Section], wanted: Filter, verbose: bool) -> None:
    quiet = []
    for section in parts:
        if section.fired or section.missed or section.undone:
            _show(section, wanted, verbose)
        elif not wanted.is_narrow:
            (_show(section, wanted, verbose) if section.notes or section.edits
             else quiet.append(section.name))  # fmt: skip
    if quiet:
        typer.echo("\n" + wrapped(", ".join(quiet), "nothing to do for: ", "  "))


def _show(section: Section, wanted: Filter, verbose: bool) -> None:
    from burnish.report import group_misses

    typer.echo(f"\n{section.name}{'' if wanted.is_narrow else _balance(section)}")
    if section.undone:
        typer.echo(wrapped(section.undone, "  undone   ", INDENT))
    for note in [] if wanted.is_narrow else section.notes:
        typer.echo(wrapped(note, "  note     ", INDENT))
    fired: dict[str, list[tuple[str, ...]]] = {}
    for firing in section.fired:
        fired.setdefault(firing.rule, []).append(firing.provenance)
    for rule, where in fired.items():
        times = "" if len(where) == 1 else f" {len(where)} times"
        typer.echo(wrapped(f"{rule}{times}: {places(where, verbose)}", "  fired    ", INDENT))
    for (rule, reason), nodes in group_misses(section.missed).items():
        typer.echo(wrapped(f"{rule}: {reason}", "  did not  ", INDENT))
        where_to = f"in {counted(len(nodes), 'place')}: " if len(nodes) > 1 else "at "
        typer.echo(wrapped(where_to + places(nodes, verbose), INDENT, INDENT))


def _nothing(rule: str | None, node: str | None) -> str:
    where = "" if node is None else f" at {node}"
    if rule is None:
        return f"no rule came close{where}"
    return f"{rule} neither fired nor came close{where}"


def _balance(section: Section) -> str:
    if section.removed > 0:
        return f": {counted(section.removed, 'operator')} fewer"
    if section.removed < 0:
        return f": {counted(-section.removed, 'operator')} more"
    return f": {counted(section.edits, 'edit')}" if section.edits else ""


def _show_node(node: str, found: Explanation) -> None:
    became = found.what_became_of(node)
    is_now = f"is now part of {', '.join(became)}" if became else "is gone from the result"
    typer.echo("\n" + wrapped(f"{node} {is_now}", "", "  "))
    for declined in found.declined:
        if any(node in nodes for nodes in declined.nodes):
            text = f"{declined.operator} runs in ONNX Runtime: {declined.reason}"
            typer.echo(wrapped(text, "", "  "))


def _show_declined(found: Explanation, target: str, verbose: bool) -> None:
    typer.echo("")
    if found.undecided:
        typer.echo(wrapped(found.undecided, f"not known what {target} declines: ", "  "))
        return
    count = sum(len(declined.nodes) for declined in found.declined)
    if not count:
        typer.echo(f"{target} has kernels for all operators")
        return
    typer.echo(f"{target} has no kernels for {counted(count, 'operator')}: "
               "they run in ONNX Runtime")  # fmt: skip
    for declined in found.declined:
        typer.echo(wrapped(f"{declined.operator}: {declined.reason}", "  declined ", INDENT))
        nodes = declined.nodes
        where_to = f"in {counted(len(nodes), 'place')}: " if len(nodes) > 1 else "at "
        typer.echo(wrapped(where_to + places(nodes, verbose), INDENT, INDENT))
