"""``burnish adapters``: put adapters that come in files of their own into a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from burnish.cli import options
from burnish.cli.session import Session
from burnish.cli.wrapping import wrapped
from burnish.errors import UnsupportedModel, UsageError
from burnish.wording import counted, shortened

if TYPE_CHECKING:
    from burnish.adapters.merge import Change, Plan
    from burnish.ir import Graph

MODULE = 44
"""Characters of a module's path that the table has room for."""
NOTHING_FITS = "is it the model as it was exported, and not an optimized one?"

adapters = typer.Typer(
    help="Put adapters that come in files of their own into a model.", no_args_is_help=True
)


@adapters.callback()
def _group() -> None:
    """Keep the name of the one command."""


@adapters.command("merge")
def merge_adapters(
    ctx: typer.Context,
    model: options.Model,
    weights: Annotated[
        list[Path],
        typer.Argument(metavar="WEIGHTS", help="LoRA weights as PEFT saves them (.safetensors), "
                       "adapter_config.json beside them; several are merged in this order."),
    ],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="OUT.onnx", help="File to write.")],
    scale: Annotated[
        list[float] | None,
        typer.Option("--scale", metavar="S", help="How much of an adapter to add, 1 by default; "
                     "repeat for several files."),
    ] = None,
    allow_unmatched: Annotated[
        bool,
        typer.Option("--allow-unmatched", help="Go on without adapters of unknown modules."),
    ] = False,
    input_shape: options.InputShape = None,
    verify: Annotated[
        Literal["end", "off"],
        typer.Option("--verify", help="Compare outputs with those of base and adapters apart."),
    ] = "end",
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:  # fmt: skip
    """Merge LoRA weights into the model that they were trained on, matched by parameter names."""
    session: Session = ctx.obj
    session.quiet, session.json = quiet, json
    from burnish import source
    from burnish.adapters.merge import merge, plan
    from burnish.adapters.sites import read_scopes
    from burnish.adapters.weights import read_adapters
    from burnish.output import check_target

    check_target(out)
    scales = _scales(scale, len(weights))
    found = [
        adapter
        for path, one in zip(weights, scales, strict=True)
        for adapter in read_adapters(path, one)
    ]
    graph = source.load(model)
    planned = plan(graph, found, read_scopes(model))
    if planned.unmatched and not allow_unmatched:
        raise UnsupportedModel(_complaint(planned))
    reference = _formula(graph, planned, options.shapes(input_shape)) if verify == "end" else None
    changes = merge(graph, planned)
    error = None if reference is None else reference(graph)
    source.save(graph, out)
    if session.json:
        session.data(
            {
                "model": str(model), "output": str(out),
                "merged": [asdict(change) for change in changes],
                "replaced": [value.name for value in planned.values],
                "unmatched": planned.unmatched, "verify": verify, "error": error,
            }
        )  # fmt: skip
    elif session.shows_tables:
        _show(session, changes, planned)
        checked = "not verified (--verify off)" if error is None else (
            f"verified against base and adapters apart: largest relative error {error:.1e}"
        )  # fmt: skip
        typer.echo(f"{checked}\nwrote {out}")


def _scales(given: list[float] | None, files: int) -> list[float]:
    if given is None:
        return [1.0] * files
    if len(given) not in (1, files):
        raise UsageError(f"--scale is given {len(given)} times for {files} files of weights")
    if any(not abs(one) < float("inf") for one in given):
        raise UsageError("--scale takes numbers")
    return given * files if len(given) == 1 else given


def _complaint(planned: Plan) -> str:
    from burnish.adapters.merge import HINTS

    shown = [f"{path} ({hint})" for path, hint in list(planned.unmatched.items())[:HINTS]]
    more = len(planned.unmatched) - len(shown)
    return (
        f"the model has no weights for {counted(len(planned.unmatched), 'adapted module')}: "
        + "; ".join(shown)
        + (f" and {more} more" if more else "")
        + "; "
        + ("--allow-unmatched goes on without them" if planned.merges else NOTHING_FITS)
    )


def _formula(
    graph: Graph, planned: Plan, shapes: dict[str, tuple[int, ...]]
) -> Callable[[Graph], float]:
    """A function that compares a merged graph with the formula; it has to be made before."""
    from burnish.adapters.formula import unmerged
    from burnish.numerics import Numerics
    from burnish.verification import Reference

    reference = Reference(unmerged(graph, planned), None, shapes)
    return lambda merged: reference.check(merged, Numerics.REASSOCIATES)


def _show(session: Session, changes: list[Change], planned: Plan) -> None:
    from burnish.cli.tables import new_table

    figures = ("rank", "scale", "change")
    table = new_table("module", "shape", *figures, right=figures)
    for change in changes:
        shape = "x".join(map(str, change.shape))
        name = shortened(change.module, MODULE)
        table.add_row(name, shape, str(change.rank or ""), f"{change.scale:.3g}",
                      f"{change.change:.0%}")  # fmt: skip
    session.out.print(table)
    for value in planned.values:
        typer.echo(f"replaced {value.name}")
    for path, hint in planned.unmatched.items():
        typer.echo(wrapped(f"{path} ({hint})", "left out: ", "  "))
    found_by = ", ".join(sorted({change.how for change in changes}))
    found = f", found by {found_by}" if found_by else ""
    typer.echo(f"merged {counted(len(changes), 'adapter')}{found}")
