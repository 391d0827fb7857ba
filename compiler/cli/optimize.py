"""``burnish optimize``: ONNX to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from burnish.cli import options
from burnish.cli.session import Session

if TYPE_CHECKING:
    from burnish.pipeline import PipelineReport


def optimize(
    ctx: typer.Context,
    model: options.Model,
    out: Annotated[Path, typer.Option("-o", "--output", metavar="OUT.onnx", help="File to write.")],
    input_shape: options.InputShape = None,
    preset: options.Preset = None,
    passes: options.Passes = None,
    skip: options.Skip = None,
    set_: options.Set = None,
    keep_adapter: options.KeepAdapter = False,
    keep: options.Keep = None,
    opset: options.Opset = None,
    verify: options.VerifyOption = "end",
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Rewrite a model and write it as ONNX again."""
    session: Session = ctx.obj
    session.quiet, session.json = quiet, json
    from burnish import api
    from burnish.output import check_target
    from burnish.report import describe_graph, describe_run, note_of_defaults
    from burnish.wording import data_size

    check_target(out)
    graph = api.load(model)
    with session.progress() as progress:
        result, report = api.optimize(
            graph,
            preset or "default",
            input_shapes=options.shapes(input_shape),
            passes=options.some_names("--passes", passes),
            skip=options.skipped(skip, keep_adapter=keep_adapter),
            set=options.settings(set_),
            opset=opset,
            verify=verify,
            keep=keep or (),
            progress=progress,
        )
        api.save(result, out)
    before, after = describe_graph(graph), describe_graph(result)
    if session.json:
        sizes = {"before": before, "after": after, "bytes": file_bytes(out)}
        session.data({"model": str(model), "output": str(out), **sizes, **describe_run(report)})
    elif session.shows_tables:
        _show(session, report, before, after)
        typer.echo(f"wrote {out}: {data_size(file_bytes(out))}")
    session.warn_of_rollbacks(report)
    if notice := note_of_defaults(graph):
        session.note(notice)


def file_bytes(path: Path) -> int:
    """The size of a model with the weights beside it."""
    files = (path, path.with_name(path.name + ".data"))
    return sum(file.stat().st_size for file in files if file.exists())


def _show(
    session: Session, report: PipelineReport, before: dict[str, Any], after: dict[str, Any]
) -> None:
    from burnish.cli.tables import agreement_line, pass_table, size_line, type_table

    session.out.print(pass_table(report))
    if before["types"] != after["types"]:
        session.out.print()
        session.out.print(type_table(before["types"], after["types"]))
        typer.echo("")
    typer.echo(size_line(before, after))
    typer.echo(agreement_line(report))
