"""``burnish optimize``: ONNX to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from burnish.cli import options
from burnish.cli.session import Session

if TYPE_CHECKING:
    from burnish.building.execute import Built
    from burnish.pipeline import PipelineReport


def optimize(
    ctx: typer.Context,
    model: options.Model,
    out: Annotated[Path, typer.Option("-o", "--output", metavar="OUT.onnx", help="File to write.")],
    quantize: options.Quantize = None,
    prune: options.Prune = None,
    calibration: options.Calibration = None,
    calibration_samples: options.CalibrationSamples = None,
    seconds: options.DecidingTime = None,
    keep_float: options.KeepFloat = None,
    keep_width: options.KeepWidth = None,
    page: options.LossyReport = None,
    input_shape: options.InputShape = None,
    preset: options.Preset = None,
    passes: options.Passes = None,
    skip: options.Skip = None,
    set_: options.Set = None,
    keep_adapter: options.KeepAdapter = False,
    keep: options.Keep = None,
    opset: options.Opset = None,
    verify: options.VerifyOption = "end",
    optional: options.Optional_ = None,
    budget_size: options.BudgetSize = None,
    min_speedup: options.MinSpeedup = None,
    max_drop: options.MaxDrop = None,
    eval_: options.Eval = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Rewrite a model and write it as ONNX again."""
    session: Session = ctx.obj
    session.quiet, session.json = quiet, json
    from burnish.building.execute import execute
    from burnish.building.job import Job
    from burnish.building.requests import requests
    from burnish.cli.lossy import check_page, write_page
    from burnish.output import check_target
    from burnish.selection import Selection

    check_target(out)
    check_page(page, is_lossy=(quantize, prune) != (None, None))
    quantization, pruning = requests(
        quantize, prune, calibration, calibration_samples, seconds, keep_float or (),
        keep_width or (),
    )  # fmt: skip
    shapes = options.shapes(input_shape)
    selection = Selection(
        preset or "default", options.some_names("--passes", passes),
        options.skipped(skip, keep_adapter=keep_adapter), options.settings(set_), shapes, opset,
    )  # fmt: skip
    job = Job(
        model, out, selection, (shapes,), verify=verify, keep=tuple(keep or ()),
        budgets=options.budgets(budget_size, None, max_drop, min_speedup),
        optional=options.ratios(optional), task=eval_,
        quantization=quantization, pruning=pruning,
    )  # fmt: skip
    with session.gates_as_data(model), session.progress() as progress:
        built = execute(job, progress)
    write_page(page, built)
    _tell(session, model, out, built, verbose=verbose)
    session.warn_of_rollbacks(built.made.report)
    for notice in built.notices:
        session.note(notice)


def _tell(session: Session, model: Path, out: Path, built: Built, *, verbose: bool) -> None:
    """Print what was rewritten."""
    from burnish.building.workshop import MadeOnnx
    from burnish.cli.lossy import lossy_json, show_lossy, stage
    from burnish.report import describe_graph, describe_run
    from burnish.wording import data_size

    assert isinstance(built.made, MadeOnnx)
    report, size = built.made.report, built.size
    before, after = describe_graph(built.original), describe_graph(built.made.graph)
    if session.json:
        sizes = {"before": before, "after": after, "bytes": size}
        session.data({"model": str(model), "output": str(out), **sizes, **describe_run(report),
                      **built.judgement(), "notices": list(built.notices),
                      **lossy_json(built.made)})  # fmt: skip
    elif session.shows_tables:
        _show(session, report, before, after, stage(built.made))
        show_lossy(session, built.made, verbose=verbose)
        for line in built.judgements():
            typer.echo(line)
        typer.echo(f"wrote {out}: {data_size(size)}")


def _show(
    session: Session,
    report: PipelineReport,
    before: dict[str, Any],
    after: dict[str, Any],
    stage: str,
) -> None:
    from burnish.cli.tables import agreement_line, pass_table, size_line, type_table

    session.out.print(pass_table(report))
    if before["types"] != after["types"]:
        session.out.print()
        session.out.print(type_table(before["types"], after["types"]))
        typer.echo("")
    typer.echo(size_line(before, after))
    typer.echo(stage + agreement_line(report))
