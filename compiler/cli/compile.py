"""``burnish compile``: ONNX to an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from burnish.cli import options
from burnish.cli.session import Session
from burnish.shape_sets import as_options

if TYPE_CHECKING:
    from burnish.backends.manifest import EntrySpec
    from burnish.building.execute import Built
    from burnish.compilation import Compilation


def compile_model(
    ctx: typer.Context,
    model: options.Model,
    out: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="OUT", help="Folder to write, or a .burnish file."),
    ],
    target: Annotated[
        str, typer.Option("--target", metavar="T", help="See `burnish targets`.")
    ] = "cpu",
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", help="Threads that the artifact uses.")
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            "--tune", metavar="off|SECONDS",
            help="Time to spend on timing candidates of kernels, 30 by default; Ctrl-C ends it. "
            "What was found is kept for the next time. Off gives the same bytes every time.",
        ),
    ] = None,
    winograd: Annotated[
        bool,
        typer.Option(
            "--winograd/--no-winograd",
            help="Whether 3x3 convolutions may share products between outputs: several times "
            "faster, rounded differently. Given up by itself where a model needs exacter sums.",
        ),
    ] = True,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision", metavar="f32|bf16",
            help="What products and convolutions multiply; bf16 rounds where that is faster.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", metavar="f32|bf16",
            help="What weights are stored as where reading them is what takes time; bf16 rounds.",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance", metavar="E",
            help="How far rounding may move an output, relative to its largest value; 0.01 by "
            "default.",
        ),
    ] = None,
    quantize: options.Quantize = None,
    prune: options.Prune = None,
    calibration: options.Calibration = None,
    calibration_samples: options.CalibrationSamples = None,
    seconds: options.DecidingTime = None,
    keep_float: options.KeepFloat = None,
    keep_width: options.KeepWidth = None,
    page: options.LossyReport = None,
    input_shape: options.InputShapes = None,
    preset: options.Preset = None,
    passes: options.Passes = None,
    skip: options.Skip = None,
    set_: options.Set = None,
    keep_adapter: options.KeepAdapter = False,
    opset: options.Opset = None,
    verify: options.VerifyOption = "end",
    optional: options.Optional_ = None,
    budget_size: options.BudgetSize = None,
    budget_arena: options.BudgetArena = None,
    min_speedup: options.MinSpeedup = None,
    max_drop: options.MaxDrop = None,
    eval_: options.Eval = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:  # fmt: skip
    """Compile a model to one native library with its weights."""
    session: Session = ctx.obj
    session.quiet, session.json = quiet, json
    from burnish.backends.archive import check_replaceable
    from burnish.building.execute import execute
    from burnish.building.job import Job
    from burnish.building.requests import requests
    from burnish.building.workshop import MadeArtifact
    from burnish.cli.lossy import check_page, write_page
    from burnish.compilation import TUNE
    from burnish.narrowing import Precision
    from burnish.selection import Selection
    from burnish.source import describe_source
    from burnish.target import resolve

    check_replaceable(out)
    check_page(page, is_lossy=(quantize, prune) != (None, None))
    asked = requests(
        quantize, prune, calibration, calibration_samples, seconds, keep_float or (),
        keep_width or (),
    )  # fmt: skip
    selection = Selection(
        preset, options.some_names("--passes", passes),
        options.skipped(skip, keep_adapter=keep_adapter), options.settings(set_),
        None, opset, compiling=True,
    )  # fmt: skip
    job = Job(
        model, out, selection, tuple(options.shape_sets(input_shape)), resolve(target, threads),
        Precision.of(precision, weights, tolerance), verify, TUNE if tune is None else tune,
        winograd, None, (), options.budgets(budget_size, budget_arena, max_drop, min_speedup),
        options.ratios(optional), eval_, describe_source(model),
        *asked,
    )  # fmt: skip
    with session.gates_as_data(model), session.progress() as progress:
        built = execute(job, progress)
    write_page(page, built)
    assert isinstance(built.made, MadeArtifact)
    made = built.made.compilation
    session.warn_of_rollbacks(made.report)
    for notice in built.notices:
        session.note(notice)
    _tell(session, model, out, built, verbose=verbose)
    if made.tuning and made.tuning.tuned < made.tuning.kernels:
        more = "run again" if made.tuning.stopped else "raise --tune"
        session.note(f"{made.tuning}; {more} for the rest")
    if tune not in (None, "off") and not resolve(target).is_host:
        session.note("nothing was tuned: kernels are timed only on the machine that they are for")


def _tell(session: Session, model: Path, out: Path, built: Built, *, verbose: bool) -> None:
    """Print what was compiled."""
    from burnish.building.workshop import MadeArtifact
    from burnish.cli.lossy import lossy_json, show_lossy

    assert isinstance(built.made, MadeArtifact)
    made = built.made.compilation
    if session.json:
        told = {"bytes": built.size, "seconds": round(built.seconds, 3)}
        session.data({**_describe(model, out, made), **built.judgement(),
                      "notices": list(built.notices), **told,
                      **lossy_json(built.made)})  # fmt: skip
    elif session.shows_tables:
        _show(session, out, made)
        show_lossy(session, built.made, verbose=verbose)
        for line in built.judgements():
            typer.echo(line)
        typer.echo(_written(out, built))


def _describe(model: Path, out: Path, made: Compilation) -> dict[str, object]:
    from burnish.report import describe_graph, describe_run

    manifest = made.artifact.manifest
    return {
        "model": str(model),
        "output": str(out),
        "target": manifest.target.name,
        "threads": manifest.threads,
        "entries": [_shapes(entry) for entry in manifest.entries],
        "graph": describe_graph(made.graph),
        "native": dict(manifest.native),
        "files": {name: file.bytes for name, file in manifest.files.items()},
        **describe_run(made.report),
        **({} if made.precision is None else {"precision": dict(made.precision)}),
    }


def _shapes(entry: EntrySpec) -> dict[str, list[int]]:
    return {port.name: list(port.shape) for port in entry.inputs}


def _show(session: Session, out: Path, made: Compilation) -> None:
    from burnish.cli.tables import (
        agreement_line,
        native_lines,
        pass_table,
        precision_lines,
    )

    manifest = made.artifact.manifest
    session.out.print(pass_table(made.report))
    checked = "passes" if made.precision is None else "passes without rounding"
    typer.echo(f"{checked} {agreement_line(made.report)}")
    for line in [*native_lines(manifest.native), *precision_lines(made.precision)]:
        typer.echo(line)
    if len(manifest.entries) > 1:
        shapes = "; ".join(as_options(_shapes(entry)) for entry in manifest.entries)
        typer.echo(f"{len(manifest.entries)} entries: {shapes}")


def _written(out: Path, built: Built) -> str:
    """What was written, of one file what lies in it."""
    from burnish.wording import data_size

    sizes = ", ".join(f"{name} {data_size(size)}" for name, size in built.files.items())
    return f"wrote {out} in {built.seconds:.1f} s: {data_size(built.size)} ({sizes})"
