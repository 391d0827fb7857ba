"""``burnish bench``: what each pass is worth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from burnish.cli import options
from burnish.cli.session import Session
from burnish.errors import GateFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from burnish.bench.document import Document
    from burnish.gates import Budgets, Gate


def bench(
    ctx: typer.Context,
    model: options.Model,
    engine: Annotated[
        Literal["tvm", "ort"],
        typer.Option(
            "--engine",
            help="What runs the variants: code compiled for this machine, or ONNX Runtime with "
            "all of its own optimizations.",
        ),
    ] = "tvm",
    seconds: Annotated[
        float,
        typer.Option(
            "--time", metavar="SECONDS",
            help="Time to spend on timing; it ends when every comparison is decided. However "
            "little it is, the result is timed against the original and ONNX Runtime. Making "
            "variants of methods with --quantize may take as long again.",
        ),
    ] = 300.0,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT.json", help="File to write the document to."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="OUT.html", help="Page to write that shows all of it; it "
                     "opens without a network."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", help="Of every engine; all cores, if "
                                 "not given.")
    ] = None,
    tune: Annotated[
        str, typer.Option("--tune", metavar="off|SECONDS", help="Time to spend on timing "
                          "candidates of kernels, for each variant; off, if not given.")
    ] = "off",
    peers: Annotated[
        bool,
        typer.Option(
            "--peers", help="Compare with onnxslim, onnxsim and OpenVINO where they are installed."
        ),
    ] = False,
    ort_ablation: Annotated[
        bool,
        typer.Option(
            "--ort-ablation",
            help="Compare with ONNX Runtime without each of its own optimizers in turn.",
        ),
    ] = False,
    quantize: Annotated[
        str | None,
        typer.Option(
            "--quantize", metavar="int8",
            help="Bench the methods of quantization instead: what each is worth alone on top of "
            "rounding, added in turn, and left out.",
        ),
    ] = None,
    calibration: options.Calibration = None,
    calibration_samples: options.CalibrationSamples = None,
    eval_: options.Eval = None,
    input_shape: options.InputShape = None,
    preset: options.Preset = None,
    passes: options.Passes = None,
    skip: options.Skip = None,
    set_: options.Set = None,
    opset: options.Opset = None,
    budget_size: options.BudgetSize = None,
    budget_arena: options.BudgetArena = None,
    min_speedup: options.MinSpeedup = None,
    max_drop: options.MaxDrop = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:  # fmt: skip
    """Measure what each pass is worth: alone, added in turn, and left out."""
    session: Session = ctx.obj
    session.quiet, session.json = quiet, json
    from burnish.bench.budgets import require_measurable
    from burnish.bench.study import Request
    from burnish.bench.study import bench as measure
    from burnish.cli.bench_tables import show
    from burnish.gates import require
    from burnish.output import check_target, staged
    from burnish.quantization.request import Quantization
    from burnish.selection import Selection

    budgets = options.budgets(budget_size, budget_arena, max_drop, min_speedup)
    require_measurable(budgets, compiles=engine == "tvm", scores=eval_ is not None)
    for path in (out, report):
        if path is not None:
            check_target(path)
    selection = Selection(
        preset, options.some_names("--passes", passes), options.names(skip) or (),
        options.settings(set_), None, opset,
    )  # fmt: skip
    request = Request(
        model, engine, selection, threads, options.shapes(input_shape), seconds, tune,
        peers, eval_, ort_ablation, ["burnish", *sys.argv[1:]],
        Quantization.of(quantize, calibration, calibration_samples),
    )  # fmt: skip
    with session.progress() as progress:
        document = measure(request, progress)
    document, gates, failure = _held(document, budgets)
    text = document.model_dump_json(indent=2) + "\n"
    if out is not None:
        with staged(out) as draft:
            draft.write_text(text, encoding="utf-8")
    if report is not None:
        from burnish.bench.report import write_report

        write_report(document, report)
    if session.json:
        sys.stdout.write(text)
    elif session.shows_tables:
        show(session, document)
    if session.shows_tables:
        for gate in gates:
            typer.echo(str(gate))
    if failure is not None:
        raise failure
    require(gates, "as measured above")


def _held(
    document: Document, budgets: Budgets
) -> tuple[Document, Sequence[Gate], GateFailed | None]:
    """The document with its budgets; where they cannot be judged, why."""
    from burnish.bench.budgets import judged
    from burnish.bench.document import Budget

    try:
        gates = judged(document, budgets)
    except GateFailed as failure:
        return document, (), failure
    told = [Budget.model_validate(gate.as_json()) for gate in gates]
    return document.model_copy(update={"budgets": told}), gates, None
