"""What commands that print rows have in common: gathering, keeping and showing these."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from benchmarks.cache import ZooError
from benchmarks.compiling import CommandFailed
from benchmarks.gathering import Result, collect, errors
from benchmarks.output import show, write_json
from benchmarks.partial import Partial, kept_in_cache
from burnish.bench.environment import Environment


def gathered(measured: Iterable[Result], doing: str, total: int) -> list[Result]:
    """All rows, with a bar and a line for each; what cannot be measured ends the command."""
    try:
        return collect(measured, doing, total, str)
    except (ZooError, CommandFailed, ModuleNotFoundError) as error:
        errors.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from None


def kept_rows(name: str, partial: Path | None, environment: Environment, plan: object) -> Partial:
    """Rows where the user says, else those of this code and these options."""
    if partial is not None:
        return Partial(partial)
    return kept_in_cache(name, environment, plan)


def finish(
    output: Path | None, environment: Environment, plan: dict[str, Any], rows: Sequence[Any],
    table: Table, *remarks: str, holds: bool = True,
) -> None:  # fmt: skip
    """Show what came of a command and write it; fail if a row did, or if it does not hold."""
    show(table)
    for remark in remarks:
        typer.echo(remark)
    typer.echo(environment)
    if output is not None:
        content = {"plan": plan, "rows": [row.as_json() for row in rows]}
        write_json(output, {"environment": environment.as_json(), **content})
    if not holds or any(row.failure for row in rows):
        raise typer.Exit(1)
