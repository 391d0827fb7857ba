"""Commands of the benchmark suite."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.cache import Zoo, ZooError
from benchmarks.environment import record_environment
from benchmarks.latency import Plan, Row, as_table, measure
from benchmarks.zoo import MODELS, Group, Model, find

app = typer.Typer(
    help="Model zoo, latency against ONNX Runtime, acceptance tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
errors = Console(stderr=True)

Names = Annotated[
    str,
    typer.Option("--models", help="Names or groups from the zoo, with commas between, or all."),
]
Folder = Annotated[
    Path | None,
    typer.Option("--zoo", help="Folder of built models; $BURNISH_ZOO or ~/.cache/burnish/zoo."),
]


def chosen(names: str) -> tuple[Model, ...]:
    """Return the models of a comma-separated list of names and groups."""
    groups = {group.value: tuple(m for m in MODELS if m.group is group) for group in Group}
    groups["all"] = MODELS
    try:
        found = [groups.get(name) or (find(name),) for name in names.split(",")]
    except KeyError as error:
        raise typer.BadParameter(str(error.args[0])) from None
    return tuple(model for group in found for model in group)


def integers(text: str) -> tuple[int, ...]:
    """Return the positive integers of a comma-separated list."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of integers such as 1,2") from None
    if min(numbers) < 1:
        raise typer.BadParameter("numbers of threads start at 1")
    return numbers


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
    blocks: Annotated[int, typer.Option(min=1, help="Alternating blocks per engine.")] = 10,
    seconds: Annotated[float, typer.Option(min=0.0, help="Length of a block.")] = 0.2,
    output: Annotated[
        Path | None, typer.Option("--json", help="Also write all figures to this file.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Time compiled models against ONNX Runtime; a wrong result is reported, never timed."""
    environment = record_environment()
    plan = Plan(blocks=blocks, seconds=seconds, tune=tune)
    every, numbers = chosen(models), integers(threads)
    measured = measure(every, numbers, plan, Zoo(folder), artifacts)
    total = sum(len(model.cases) for model in every) * len(numbers)
    try:
        rows = list(track(measured, "Measuring", total=total, console=errors))
    except ZooError as error:
        errors.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from None
    show(as_table(rows))
    typer.echo(environment)
    report_failures(rows)
    if output is not None:
        content = {"environment": environment.as_json(), "rows": [row.as_json() for row in rows]}
        output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if any(row.failure for row in rows):
        raise typer.Exit(1)


def show(table: Table) -> None:
    """Print a table, to a file or pipe as wide as tables here are made for."""
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def report_failures(rows: list[Row]) -> None:
    """Say why rows have no figures."""
    for row in rows:
        if row.failure:
            line = f"{row.model} {row.case}, {row.threads} threads: {row.failure}"
            errors.print(line, markup=False, highlight=False)
