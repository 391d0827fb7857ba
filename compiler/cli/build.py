"""``burnish build``: what a configuration file lists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from burnish.cli import options
from burnish.cli.session import Session

if TYPE_CHECKING:
    from burnish.building.execute import Built
    from burnish.building.job import Job


def build(
    ctx: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Models to build; all of the file if none."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE",
            help="burnish.toml, or a pyproject.toml with \\[tool.burnish]; by default the nearest "
            "here or in a folder above.",
        ),
    ] = None,
    show_plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be done, and do nothing.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:  # fmt: skip
    """Build the models of a configuration file, and hold each against its budgets.

    A model that fails does not keep the others from being built; the exit code is that of the
    first that failed.
    """
    session: Session = ctx.obj
    session.quiet, session.json = quiet, json
    from burnish.building.config import find, read
    from burnish.building.plan import plan

    path = config or find(Path.cwd())
    jobs = plan(read(path), path.resolve().parent, models or ())
    code = _plan(session, path, jobs) if show_plan else _build(session, jobs)
    if code:
        raise typer.Exit(code)


def _plan(session: Session, path: Path, jobs: dict[str, Job]) -> int:
    """Show what would be done, and say what of it could not; return the exit code."""
    from burnish.building.checks import check
    from burnish.building.keys import in_keys
    from burnish.errors import BurnishError

    code = 0
    entries: list[dict[str, Any]] = []
    for name, job in jobs.items():
        entries.append({"name": name, **job.describe()})
        try:
            check(job)
        except BurnishError as error:
            problem = in_keys(str(error))
            session.complain(f"models.{name}: {problem}")
            entries[-1] |= {"failure": problem, "code": error.exit_code}
            code = code or error.exit_code
    if session.json:
        session.data({"config": str(path), "models": entries})
    elif session.shows_tables:
        _show_plan(session, path, entries)
    return code


def _build(session: Session, jobs: dict[str, Job]) -> int:
    from burnish.building.execute import execute
    from burnish.building.keys import in_keys
    from burnish.cli.lossy import lossy_json
    from burnish.errors import BurnishError, GateFailed

    code = 0
    done: list[dict[str, Any]] = []
    for name, job in jobs.items():
        if done:
            session.fate = f"models.{name} was not written, nor what follows"
        try:
            _make_room(job.output.parent)
            with session.progress() as progress:
                built = execute(job, progress)
        except BurnishError as error:
            problem = in_keys(str(error))
            session.complain(f"models.{name}: {problem}")
            done.append({"name": name, "failure": problem, "code": error.exit_code})
            if isinstance(error, GateFailed):
                done[-1]["budgets"] = [gate.as_json() for gate in error.gates]
            code = code or error.exit_code
        else:
            session.warn_of_rollbacks(built.made.report)
            for notice in built.notices:
                session.note(f"models.{name}: {notice}")
            done.append({"name": name, **built.as_json(), **lossy_json(built.made)})
            if session.shows_tables:
                _show_built(session, name, built)
    if session.json:
        session.data({"models": done})
    return code


def _make_room(folder: Path) -> None:
    """Make the folder of an output.

    Raises:
        CannotWrite: it cannot be made.
    """
    from burnish.output import CannotWrite

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot make the folder {folder}: {error.strerror}") from error


def _show_built(session: Session, name: str, built: Built) -> None:
    from burnish.cli.lossy import lossy_lines, stage
    from burnish.cli.tables import agreement_line
    from burnish.wording import data_size

    size = data_size(built.size)
    typer.echo(f"{name}: wrote {built.job.output} in {built.seconds:.1f} s, {size}")
    compared = stage(built.made) if built.job.target is None else ""
    typer.echo(f"  {compared}{agreement_line(built.made.report)}")
    for line in (*lossy_lines(built.made), *built.judgements()):
        session.tell(f"  {line}")


def _show_plan(session: Session, path: Path, entries: list[dict[str, Any]]) -> None:
    typer.echo(f"{path}:")
    for entry in entries:
        typer.echo(f"\n{entry['name']}")
        if not session.verbose:
            entry = {**entry, "passes": f"{len(entry['passes'])}, which -v lists"}
        shown = {
            key: value for key, value in entry.items()
            if key not in ("name", "failure", "code") and value not in (None, [], {}, "")
        }  # fmt: skip
        width = max(map(len, shown))
        for key, value in shown.items():
            typer.echo(_line(key, value, width))


def _line(key: str, value: Any, width: int) -> str:
    from burnish.cli.wrapping import wrapped

    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return wrapped(text, f"  {key:<{width}} ", " " * (width + 3))
