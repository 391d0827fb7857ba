"""``burnish optimize``: ONNX to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    from burnish.report import describe_graph, describe_run

    check_target(out)
    graph = api.load(model)
    with session.progress() as progress:
        result, report = api.optimize(
            graph,
            preset or "default",
            input_shapes=options.shapes(input_shape),
            passes=options.names(passes),
            skip=options.names(skip) or (),
            set=options.settings(set_),
            opset=opset,
            verify=verify,
            progress=progress,
        )
        api.save(result, out)
    before, after = describe_graph(graph), describe_graph(result)
    if session.json:
        sizes = {"before": before, "after": after}
        session.data({"model": str(model), "output": str(out), **sizes, **describe_run(report)})
    elif session.shows_tables:
        _show(session, report, before, after)
    session.warn_of_rollbacks(report)


def _show(
    session: Session, report: PipelineReport, before: dict[str, int], after: dict[str, int]
) -> None:
    from burnish.cli.tables import agreement_line, pass_table, size_line

    session.out.print(pass_table(report))
    typer.echo(size_line(before, after))
    typer.echo(agreement_line(report))
