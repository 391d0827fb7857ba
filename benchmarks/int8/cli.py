"""Commands about int8: accuracy on tasks, latency, models that others quantized, all models."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.cache import Zoo, ZooError
from benchmarks.compiling import CommandFailed
from benchmarks.gathering import Result, collect, errors
from benchmarks.int8.accuracy import AccuracyPlan, measure_accuracy
from benchmarks.int8.latency import LatencyPlan, chosen_cases, measure_latency
from benchmarks.int8.methods import MethodsPlan, measure_methods
from benchmarks.int8.methods_table import conclusion, methods_table
from benchmarks.int8.others import KINDS, OthersPlan, measure_others
from benchmarks.int8.others import MODELS as OTHERS
from benchmarks.int8.table import (
    accuracy_table,
    latency_table,
    others_table,
    zoo_conclusion,
    zoo_remarks,
    zoo_table,
)
from benchmarks.int8.zoo import ZooPlan, measure_zoo
from benchmarks.options import Folder, Names, Pythons, chosen
from benchmarks.output import show, write_json
from benchmarks.partial import Partial
from benchmarks.plan import Plan
from benchmarks.tasks.table import JUDGED, Judged, maker_versions
from burnish.backends.cache import cache_folder
from burnish.bench.environment import record_environment
from burnish.bench.seats import NotInstalled, PeerEngine, interpreters, seat

app = typer.Typer(help="int8 against float and against other quantizers.", no_args_is_help=True)
NNCF = PeerEngine("nncf", "NNCF", "nncf")

Only = Annotated[
    str | None, typer.Option("--models", help="Only these models, names with commas between.")
]
Samples = Annotated[int, typer.Option(min=1, help="Calibration samples at most.")]
Threads = Annotated[int, typer.Option(min=1, help="Of every engine.")]
Kept = Annotated[
    Path | None,
    typer.Option("--partial", help="Keep rows here, so that a run which was stopped goes on."),
]
Output = Annotated[Path | None, typer.Option("--json", help="Also write all figures here.")]


def _nncf(pythons: list[Path] | None) -> tuple[Path | None, dict[str, str]]:
    """An interpreter that has NNCF, and its version; says what would help if there is none."""
    try:
        found = seat(NNCF, interpreters(pythons or ()))
    except NotInstalled as missing:
        errors.print(str(missing), markup=False, highlight=False)
        return None, {}
    return found.python, {"nncf": found.version}


@app.command()
def accuracy(
    models: Only = None,
    samples: Samples = 128,
    threads: Threads = 2,
    pythons: Pythons = None,
    partial: Kept = None,
    output: Output = None,
    folder: Folder = None,
) -> None:
    """Score tasks in float and int8: ours, ONNX Runtime's and NNCF's, from the same samples."""
    judged = _judged(models)
    python, versions = _nncf(pythons)
    environment = record_environment({**maker_versions(), **versions})
    kept = Partial(partial or cache_folder("int8-accuracy"))
    measured = measure_accuracy(judged, AccuracyPlan(samples, threads, python), Zoo(folder), kept)
    rows = _gathered(measured, "Quantizing", len(judged))
    show(accuracy_table(rows))
    typer.echo(environment)
    plan = {"samples": samples, "threads": threads}
    _write(output, environment, plan, rows)
    if any(row.failure for row in rows):
        raise typer.Exit(1)


@app.command()
def latency(
    models: Only = None,
    samples: Samples = 16,
    threads: Threads = 2,
    blocks: Annotated[int, typer.Option(min=1, help="Alternating blocks of each engine.")] = 12,
    seconds: Annotated[float, typer.Option(min=0, help="Length of a block.")] = 0.2,
    pythons: Pythons = None,
    partial: Kept = None,
    output: Output = None,
    folder: Folder = None,
) -> None:
    """Time int8 against our float, ONNX Runtime in float and int8, and OpenVINO in int8."""
    python, versions = _nncf(pythons)
    environment = record_environment(versions)
    zoo = Zoo(folder)
    cases = chosen_cases(None if models is None else models.split(","))
    timing = Plan(blocks=blocks, seconds=seconds, precision="int8")
    kept = Partial(partial or cache_folder("int8-latency"))
    measured = measure_latency(cases, LatencyPlan(samples, threads, timing, python), zoo, kept)
    rows = _gathered(measured, "Timing", len(cases))
    show(latency_table(rows))
    typer.echo(environment)
    _write(output, environment, {"samples": samples, "threads": threads}, rows)
    if any(row.failure for row in rows):
        raise typer.Exit(1)


@app.command()
def others(
    models: Only = None,
    kinds: Annotated[str, typer.Option(help="Formats and quantizers, commas between.")] = ",".join(
        KINDS
    ),
    samples: Samples = 32,
    compared: Annotated[int, typer.Option(min=1, help="Other samples, to compare on.")] = 16,
    threads: Threads = 2,
    tune: Annotated[
        str | None, typer.Option(help="Passed to burnish compile: off, or seconds.")
    ] = None,
    blocks: Annotated[
        int, typer.Option(min=0, help="Alternating blocks of each engine; 0 only compares.")
    ] = 12,
    seconds: Annotated[float, typer.Option(min=0, help="Length of a block.")] = 0.2,
    pythons: Pythons = None,
    partial: Kept = None,
    output: Output = None,
    folder: Folder = None,
) -> None:
    """Compile what ONNX Runtime and NNCF quantized; compare with ONNX Runtime, and time both."""
    names = OTHERS if models is None else models.split(",")
    asked = kinds.split(",")
    for what, given, known in (("model", names, OTHERS), ("kind", asked, KINDS)):
        if unknown := [name for name in given if name not in known]:
            raise typer.BadParameter(f"no {what} {unknown[0]!r}; there are: {', '.join(known)}")
    python, versions = _nncf(pythons) if "nncf" in asked else (None, {})
    environment = record_environment({**maker_versions(), **versions})
    timing = Plan(blocks=blocks, seconds=seconds, tune=tune)
    kept = Partial(partial or cache_folder("int8-others"))
    plan = OthersPlan(samples, compared, threads, timing, python)
    measured = measure_others(names, asked, plan, Zoo(folder), kept)
    rows = _gathered(measured, "Compiling", len(names) * len(asked))
    show(others_table(rows))
    typer.echo(environment)
    _write(output, environment, {"samples": samples, "threads": threads, "tune": tune}, rows)
    if any(row.failure or not row.is_right for row in rows):
        raise typer.Exit(1)


@app.command()
def methods(
    models: Only = None,
    samples: Samples = 128,
    compared: Annotated[
        int, typer.Option(min=1, help="Further calibration feeds, to measure noise on.")
    ] = 64,
    threads: Threads = 2,
    partial: Kept = None,
    output: Output = None,
    folder: Folder = None,
) -> None:
    """Score tasks with all methods of quantization, without each, and with each alone."""
    judged = _judged(models)
    environment = record_environment(maker_versions())
    kept = Partial(partial or cache_folder("int8-methods"))
    measured = measure_methods(judged, MethodsPlan(samples, compared, threads), Zoo(folder), kept)
    rows = _gathered(measured, "Quantizing", len(judged))
    show(methods_table(rows))
    typer.echo(conclusion(rows))
    typer.echo(environment)
    _write(output, environment, {"samples": samples, "threads": threads}, rows)
    if any(row.failure for row in rows):
        raise typer.Exit(1)


@app.command()
def zoo(
    models: Names = "all",
    samples: Samples = 16,
    compared: Annotated[int, typer.Option(min=1, help="Other samples, to compare on.")] = 8,
    threads: Threads = 2,
    tune: Annotated[str, typer.Option(help="Passed to burnish compile: off, or seconds.")] = "off",
    deciding: Annotated[
        float, typer.Option("--time", help="Seconds that choosing layers may take.")
    ] = 60.0,
    blocks: Annotated[int, typer.Option(min=1, help="Alternating blocks of each artifact.")] = 12,
    seconds: Annotated[float, typer.Option(min=0, help="Length of a block.")] = 0.2,
    partial: Kept = None,
    output: Output = None,
    folder: Folder = None,
) -> None:
    """Compile all of the zoo in float and in int8: is int8 ever slower, wrong, or refused?"""
    found = chosen(models)
    environment = record_environment()
    kept = Partial(partial or cache_folder("int8-zoo"))
    timing = Plan(blocks=blocks, seconds=seconds, tune=tune)
    plan = ZooPlan(samples, compared, threads, deciding, timing)
    rows = _gathered(measure_zoo(found, plan, Zoo(folder), kept), "Compiling", len(found))
    show(zoo_table(rows))
    typer.echo("\n".join(zoo_remarks(rows)))
    typer.echo(zoo_conclusion(rows))
    typer.echo(environment)
    _write(output, environment, {"samples": samples, "threads": threads, "tune": tune}, rows)
    if not all(row.holds for row in rows):
        raise typer.Exit(1)


def _gathered(measured: Iterable[Result], doing: str, total: int) -> list[Result]:
    """All rows, with a bar and a line for each; what cannot be measured ends the command."""
    try:
        return collect(measured, doing, total, str)
    except (ZooError, CommandFailed, ModuleNotFoundError) as error:
        errors.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from None


def _judged(models: str | None) -> dict[str, Judged]:
    """The models that are named, all if none is."""
    names = list(JUDGED) if models is None else models.split(",")
    if unknown := [name for name in names if name not in JUDGED]:
        raise typer.BadParameter(f"no task for {unknown[0]!r}; there are: {', '.join(JUDGED)}")
    return {name: JUDGED[name] for name in names}


def _write(output: Path | None, environment: Any, plan: dict[str, Any], rows: list[Any]) -> None:
    if output is not None:
        content = {"plan": plan, "rows": [row.as_json() for row in rows]}
        write_json(output, {"environment": environment.as_json(), **content})
