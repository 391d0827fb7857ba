"""Commands about int8: accuracy on tasks, latency, models that others quantized, all models."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cache import Zoo
from benchmarks.commands import finish, gathered, kept_rows
from benchmarks.gathering import errors
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
from benchmarks.options import (
    Folder,
    Kept,
    Names,
    Only,
    Output,
    Pythons,
    Samples,
    Threads,
    chosen,
)
from benchmarks.plan import Plan
from benchmarks.tasks.table import JUDGED, Judged, maker_versions
from burnish.bench.environment import record_environment
from burnish.bench.seats import (
    OPENVINO,
    ORT,
    NoInterpreter,
    NotInstalled,
    PeerEngine,
    interpreters,
    seat,
)

app = typer.Typer(help="int8 against float and against other quantizers.", no_args_is_help=True)
NNCF = PeerEngine("nncf", "NNCF", "nncf")


def _nncf(pythons: list[Path] | None) -> tuple[Path | None, dict[str, str]]:
    """An interpreter that has NNCF, and versions there; says what would help if there is none."""
    try:
        found = seat(NNCF, interpreters(pythons or ()))
    except (NoInterpreter, NotInstalled) as missing:
        errors.print(str(missing), markup=False, highlight=False)
        return None, {}
    versions = {"nncf": found.version}
    with suppress(NotInstalled):
        versions["openvino"] = seat(OPENVINO, [found.python]).version
    return found.python, versions


def _another(pythons: list[Path] | None) -> tuple[Path | None, dict[str, str]]:
    """An interpreter that has another version of ONNX Runtime than this one, and which."""
    own, *others = interpreters(pythons or ())
    for python in others:
        with suppress(NoInterpreter, NotInstalled):
            found = seat(ORT, [python])
            if found.version != seat(ORT, [own]).version:
                return python, {"another onnxruntime": found.version}
    return None, {}


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
    plan = AccuracyPlan(samples, threads, python)
    kept = kept_rows("int8", partial, environment, plan)
    rows = gathered(measure_accuracy(judged, plan, Zoo(folder), kept), "Quantizing", len(judged))
    told = {"samples": samples, "threads": threads}
    finish(output, environment, told, rows, accuracy_table(rows))


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
    plan = LatencyPlan(samples, threads, timing, python)
    kept = kept_rows("int8", partial, environment, plan)
    rows = gathered(measure_latency(cases, plan, zoo, kept), "Timing", len(cases))
    told = {"samples": samples, "threads": threads}
    finish(output, environment, told, rows, latency_table(rows))


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
    another, version = _another(pythons)
    environment = record_environment({**maker_versions(), **versions, **version})
    timing = Plan(blocks=blocks, seconds=seconds, tune=tune)
    plan = OthersPlan(samples, compared, threads, timing, python, another)
    kept = kept_rows("int8", partial, environment, plan)
    measured = measure_others(names, asked, plan, Zoo(folder), kept)
    rows = gathered(measured, "Compiling", len(names) * len(asked))
    told = {"samples": samples, "threads": threads, "tune": tune}
    holds = all(row.is_right for row in rows)
    finish(output, environment, told, rows, others_table(rows), holds=holds)


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
    plan = MethodsPlan(samples, compared, threads)
    kept = kept_rows("int8", partial, environment, plan)
    rows = gathered(measure_methods(judged, plan, Zoo(folder), kept), "Quantizing", len(judged))
    told = {"samples": samples, "threads": threads}
    finish(output, environment, told, rows, methods_table(rows), conclusion(rows))


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
    timing = Plan(blocks=blocks, seconds=seconds, tune=tune)
    plan = ZooPlan(samples, compared, threads, deciding, timing)
    kept = kept_rows("int8", partial, environment, plan)
    rows = gathered(measure_zoo(found, plan, Zoo(folder), kept), "Compiling", len(found))
    told = {"samples": samples, "threads": threads, "tune": tune}
    remarks = (*zoo_remarks(rows), zoo_conclusion(rows))
    holds = all(row.holds for row in rows)
    finish(output, environment, told, rows, zoo_table(rows), *remarks, holds=holds)


def _judged(models: str | None) -> dict[str, Judged]:
    """The models that are named, all if none is."""
    names = list(JUDGED) if models is None else models.split(",")
    if unknown := [name for name in names if name not in JUDGED]:
        raise typer.BadParameter(f"no task for {unknown[0]!r}; there are: {', '.join(JUDGED)}")
    return {name: JUDGED[name] for name in names}
