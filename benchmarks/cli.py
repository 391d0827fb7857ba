"""Commands of the benchmark suite."""

from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.progress import track

from benchmarks.acceptance import SETS, AcceptanceSet
from benchmarks.acceptance import as_table as verdict_table
from benchmarks.cache import Zoo, ZooError
from benchmarks.compiling import CommandFailed
from benchmarks.gathering import Gatherer, collect, errors, gather_node_tests, report_failures
from benchmarks.generated import GENERATORS
from benchmarks.int8.cli import app as int8
from benchmarks.latency import measure
from benchmarks.latency_table import as_table
from benchmarks.node_tests import report
from benchmarks.options import Engines, Folder, Names, Pythons, chosen, integers, seated, versions
from benchmarks.output import show, write_json
from benchmarks.partial import Partial, kept_in_cache
from benchmarks.peers import as_table as peer_table
from benchmarks.plan import Plan
from benchmarks.pool import as_table as pool_table
from benchmarks.pool import measure_pool
from benchmarks.pruning.cli import app as prune
from benchmarks.scale import measure_scale, scale_table
from benchmarks.verdicts import Part
from benchmarks.zoo import Group
from burnish.bench.environment import machine_to_ourselves, record_environment

app = typer.Typer(
    help="Model zoo, latency against ONNX Runtime, acceptance tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(int8, name="int8")
app.add_typer(prune, name="prune")
Result = TypeVar("Result")


@app.command()
def zoo(
    models: Names = "all",
    folder: Folder = None,
    rebuild: Annotated[bool, typer.Option(help="Build also what is there already.")] = False,
) -> None:
    """Build the models that are missing and check the others against their checksums."""
    cache = Zoo(folder)
    failures = []
    for model in track(chosen(models), "Building the zoo", console=errors):
        try:
            if rebuild or not cache.is_built(model):
                cache.build(model)
            cache.verify(model)
        except ZooError as error:
            failures.append(str(error))
    for line in failures:
        errors.print(f"not built: {line}", markup=False, highlight=False)
    typer.echo(cache.folder)
    if failures:
        raise typer.Exit(1)


@app.command()
def latency(
    models: Names = Group.MAIN_JOB.value,
    threads: Annotated[str, typer.Option(help="Numbers of threads, with commas between.")] = "1,2",
    tune: Annotated[
        str | None, typer.Option(help="Passed to burnish compile: off, or seconds.")
    ] = None,
    artifacts: Annotated[
        Path | None, typer.Option(help="Use artifacts found here, keep those compiled.")
    ] = None,
    engines: Engines = "ort,openvino,torch",
    pythons: Pythons = None,
    precision: Annotated[
        str | None, typer.Option(help="Passed to burnish compile; OpenVINO gets the same.")
    ] = None,
    blocks: Annotated[
        int, typer.Option(min=1, help="Alternating blocks per engine, at most.")
    ] = Plan().blocks,
    seconds: Annotated[float, typer.Option(min=0.0, help="Length of a block.")] = Plan().seconds,
    partial: Annotated[
        Path | None,
        typer.Option(help="Keep rows in this folder, so that a run which was stopped goes on."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--json", help="Also write all figures to this file.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Time compiled models against other engines; a wrong result is reported, never timed."""
    seats = seated(engines, pythons or [], precision)
    environment = record_environment(versions(seats))
    plan = Plan(blocks=blocks, seconds=seconds, tune=tune, precision=precision)
    every, numbers = chosen(models), integers(threads)
    kept = None if partial is None else Partial(partial)
    measured = measure(every, numbers, plan, Zoo(folder), seats, artifacts, kept)
    total = sum(len(model.cases) for model in every) * len(numbers)
    try:
        rows = collect(measured, "Measuring", total, str)
    except ZooError as error:
        errors.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from None
    show(as_table(rows))
    typer.echo(environment)
    report_failures(rows)
    if output is not None:
        rows_json = [row.as_json() for row in rows]
        figures = {"environment": environment.as_json(), "plan": asdict(plan), "rows": rows_json}
        write_json(output, figures)
    if len(rows) < total or any(row.failure for row in rows):
        raise typer.Exit(1)


@app.command()
def operators(
    only: Annotated[
        str, typer.Option(help="Only operators whose names contain one of these, with commas.")
    ] = "",
    threads: Annotated[str, typer.Option(help="Numbers of threads, with commas between.")] = "1,2",
    tune: Annotated[str, typer.Option(help="Passed to burnish compile: off, or seconds.")] = "off",
    blocks: Annotated[int, typer.Option(min=1, help="Alternating blocks per engine.")] = 6,
    seconds: Annotated[float, typer.Option(min=0.0, help="Length of a block.")] = 0.02,
    output: Annotated[
        Path | None, typer.Option("--json", help="Also write all figures to this file.")
    ] = None,
) -> None:
    """Time single operators against ONNX Runtime; a wrong result is reported, never timed."""
    from benchmarks.operator_cases import operator_cases
    from benchmarks.operators import as_table as operator_table
    from benchmarks.operators import measure_operators

    environment = record_environment()
    parts, numbers = only.split(","), integers(threads)
    cases = [case for case in operator_cases() if any(part in case.name for part in parts)]
    plan = Plan(blocks=blocks, seconds=seconds, tune=tune)
    total = len(cases) * len(numbers)
    rows = collect(measure_operators(cases, numbers, plan), "Measuring", total, str)
    show(operator_table(rows))
    typer.echo(environment)
    for row in rows:
        if row.failure:
            errors.print(str(row), markup=False, highlight=False)
    if output is not None:
        rows_json = [row.as_json() for row in rows]
        write_json(output, {"environment": environment.as_json(), "rows": rows_json})
    if any(row.failure for row in rows):
        raise typer.Exit(1)


@app.command()
def acceptance(
    name: Annotated[str, typer.Argument(metavar="SET", help=f"One of {', '.join(SETS)}.")],
    models: Annotated[
        str | None, typer.Option(help="Only these models, names with commas between.")
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads, with commas between.")] = "1,2",
    parts: Annotated[
        str | None, typer.Option(help="Evidence to gather, with commas between; all by default.")
    ] = None,
    tune: Annotated[
        str | None, typer.Option(help="Passed to burnish compile where tuning is not off.")
    ] = None,
    engines: Engines = "ort,openvino,openvino-bf16",
    pythons: Pythons = None,
    partial: Annotated[
        Path | None,
        typer.Option(
            help="Where results about kernels are kept, so that a run which was stopped goes on; "
            "by default a folder of the cache for these sources and versions."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--json", help="Also write all evidence to this file.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Gather evidence by compiling, running and timing real models; print what holds."""
    if name not in SETS:
        raise typer.BadParameter(f"no acceptance set {name!r}; there are: {', '.join(SETS)}")
    chosen_set = SETS[name]
    wanted = selected_parts(parts, chosen_set)
    every = chosen_set.models if models is None else chosen(models)
    compared = {Part.KERNELS, Part.BF16}.intersection(wanted)
    seats = seated(engines, pythons or [], None) if compared else []
    environment, plan = (
        record_environment(versions(seats)),
        Plan(tune=tune),
    )
    kept = Partial(partial) if partial else kept_in_cache("acceptance", environment, plan)
    try:
        gatherer = Gatherer(every, integers(threads), plan, Zoo(folder), seats, kept)
        evidence = gatherer.gather(wanted)
    except (ZooError, CommandFailed) as error:
        errors.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from None
    for rows in evidence.tables:
        show(as_table(rows))
    if evidence.peers:
        show(peer_table(evidence.peers))
    show(verdict_table(chosen_set, evidence, wanted))
    typer.echo(environment)
    for rows in evidence.tables:
        report_failures(rows)
    if output is not None:
        origin = {"environment": environment.as_json(), "plan": asdict(plan)}
        write_json(output, {**origin, **asdict(evidence)})
    if not all(one.passed for one in chosen_set.verdicts(evidence, wanted)):
        raise typer.Exit(1)


@app.command()
def pool(
    threads: Annotated[int, typer.Option(min=1, help="Of the pool, the caller's included.")] = 2,
    repeat: Annotated[int, typer.Option(min=1, help="Forks of each kind.")] = 2000,
) -> None:
    """Time how long the thread pool takes to share out work and to wake."""
    environment = record_environment()
    with machine_to_ourselves():
        rows = measure_pool(threads, repeat)
    show(pool_table(rows))
    typer.echo(environment)


@app.command()
def scale(
    nodes: Annotated[str, typer.Option(help="Sizes, with commas between.")] = "20000,100000",
    kinds: Annotated[
        str, typer.Option(help=f"Of graphs, with commas between: {', '.join(GENERATORS)}.")
    ] = ",".join(GENERATORS),
) -> None:
    """Optimize generated graphs; print how time and memory grow with the number of nodes."""
    sizes, wanted = integers(nodes), kinds.split(",")
    for kind in wanted:
        if kind not in GENERATORS:
            raise typer.BadParameter(f"no graph {kind!r}; there are: {', '.join(GENERATORS)}")
    environment = record_environment()
    try:
        total = len(wanted) * len(sizes)
        rows = collect(measure_scale(wanted, sizes), "Optimizing", total, str)
    except CommandFailed as error:
        errors.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from None
    show(scale_table(rows))
    typer.echo(environment)


@app.command()
def tasks(
    only: Annotated[
        str | None, typer.Option(help="Only these models, names with commas between.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of every engine.")] = 2,
    tune: Annotated[str, typer.Option(help="As of burnish compile: off, or seconds.")] = "off",
    partial: Annotated[
        Path | None,
        typer.Option(help="Keep rows in this folder, so that a run which was stopped goes on."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--json", help="Also write all figures to this file.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Score models on tasks with labels, original, optimized and compiled; fail if they differ."""
    from benchmarks.tasks.measure import measure_tasks
    from benchmarks.tasks.record import as_table as task_table
    from benchmarks.tasks.table import JUDGED, maker_versions

    names = list(JUDGED) if only is None else only.split(",")
    for name in names:
        if name not in JUDGED:
            raise typer.BadParameter(f"no task for {name!r}; there are: {', '.join(JUDGED)}")
    environment = record_environment(maker_versions())
    judged = {name: JUDGED[name] for name in names}
    kept = None if partial is None else Partial(partial)
    measured = measure_tasks(judged, Zoo(folder), threads, tune, kept)
    try:
        rows = collect(measured, "Scoring", len(judged), str)
    except (ZooError, ModuleNotFoundError) as error:
        errors.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from None
    show(task_table(rows))
    typer.echo(environment)
    if output is not None:
        rows_json = [row.as_json() for row in rows]
        plan = {"threads": threads, "tune": tune}
        write_json(output, {"environment": environment.as_json(), "plan": plan, "rows": rows_json})
    complaints = [line for row in rows for line in row.complaints]
    for line in complaints:
        errors.print(line, markup=False, highlight=False)
    if complaints:
        raise typer.Exit(1)


@app.command()
def worth(
    models: Annotated[
        str, typer.Option(help="Names or groups from the zoo, commas between; or eight.")
    ] = "eight",
    engine: Annotated[str, typer.Option(help="As of burnish bench, or both.")] = "tvm,ort",
    threads: Annotated[int, typer.Option(min=1, help="Of every engine.")] = 2,
    seconds: Annotated[
        float, typer.Option(min=1, help="For timing, of each model and engine.")
    ] = 90.0,
    partial: Annotated[
        Path | None,
        typer.Option(help="Keep results in this folder, so that a run which was stopped goes on."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--json", help="Also write all figures to this file.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Bench what each pass is worth to the eight main models."""
    from benchmarks.worth import ENGINES, MODELS, Effort, measure_worth
    from benchmarks.worth import as_table as worth_table

    named = engine.split(",")
    if unknown := [name for name in named if name not in ENGINES]:
        raise typer.BadParameter(f"there is no engine {unknown[0]!r}; there are tvm and ort")
    found = chosen(",".join(MODELS) if models == "eight" else models)
    efforts = [Effort(name, threads, seconds) for name in ENGINES if name in named]
    environment = record_environment()
    kept = None if partial is None else Partial(partial)
    measured = chain.from_iterable(measure_worth(found, one, Zoo(folder), kept) for one in efforts)
    try:
        rows = collect(measured, "Benching", len(found) * len(efforts), str)
    except ZooError as error:
        errors.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from None
    for each in efforts:
        show(worth_table([row for row in rows if row.engine == each.engine]))
    typer.echo(environment)
    if output is not None:
        rows_json = [row.as_json() for row in rows]
        plan = {"threads": threads, "seconds": seconds}
        write_json(output, {"environment": environment.as_json(), "plan": plan, "rows": rows_json})
    if any(row.failure for row in rows):
        raise typer.Exit(1)


def selected_parts(text: str | None, chosen_set: AcceptanceSet) -> tuple[Part, ...]:
    """Return the parts of a comma-separated list, all that the set needs if there is none."""
    if text is None:
        return chosen_set.parts
    try:
        return tuple(Part(name) for name in text.split(","))
    except ValueError as error:
        needed = ", ".join(part.value for part in chosen_set.parts)
        raise typer.BadParameter(f"{error}; there are: {needed}") from None


@app.command("node-tests")
def node_tests(
    jobs: Annotated[int, typer.Option(min=1, help="Processes at a time.")] = 2,
    only: Annotated[str, typer.Option(help="Only cases whose names contain this.")] = "",
    fresh: Annotated[bool, typer.Option(help="Start over instead of going on.")] = False,
    output: Annotated[
        Path | None, typer.Option("--json", help="Also write all figures to this file.")
    ] = None,
) -> None:
    """Put ONNX's own cases through burnish; print what is right, native and refused, and why.

    Takes a quarter of an hour. A run that was stopped goes on where it was if nothing has changed.
    """
    environment = record_environment()
    results = gather_node_tests(environment, jobs=jobs, only=only, fresh=fresh)
    found = report.counts(results)
    show(report.count_table(found))
    for line in report.refusal_lines(report.refusals(results)):
        typer.echo(line)
    typer.echo(environment)
    if output is not None:
        write_json(output, report.as_json(results, environment))
    if not only and not report.holds(found):
        raise typer.Exit(1)
