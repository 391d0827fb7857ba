"""Options that several commands of the benchmark suite share, and what they stand for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.gathering import errors
from benchmarks.peer_engines import PEERS
from benchmarks.zoo import MODELS, Group, Model, find
from burnish.bench.seats import (
    VARIABLE,
    NoInterpreter,
    NotInstalled,
    PeerEngine,
    Seat,
    interpreters,
    seat,
)

Names = Annotated[
    str,
    typer.Option("--models", help="Names or groups from the zoo, with commas between, or all."),
]
Folder = Annotated[
    Path | None,
    typer.Option("--zoo", help="Folder of built models; $BURNISH_ZOO or ~/.cache/burnish/zoo."),
]
Engines = Annotated[
    str, typer.Option(help=f"To compare with, with commas between: {', '.join(PEERS)}.")
]
Pythons = Annotated[
    list[Path] | None,
    typer.Option(
        "--peers-python",
        help=f"An interpreter that has engines which this one lacks; may be repeated. {VARIABLE} "
        "names more.",
    ),
]

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
        raise typer.BadParameter("these numbers start at 1")
    return numbers


def seated(names: str, pythons: Sequence[Path], precision: str | None) -> list[Seat]:
    """Find interpreters for engines by name; say of those that are missing what would help."""
    found = []
    try:
        every = interpreters(pythons)
        for name in names.split(","):
            try:
                found.append(seat(peer_engine(name, precision), every))
            except NotInstalled as missing:
                errors.print(str(missing), markup=False, highlight=False)
    except NoInterpreter as error:
        raise typer.BadParameter(str(error)) from None
    return found


def versions(seats: Sequence[Seat]) -> dict[str, str]:
    """Return the versions of engines by package."""
    return {one.peer.package: one.version for one in seats}


def peer_engine(name: str, precision: str | None) -> PeerEngine:
    """Return the engine of that name, in that precision where it has a choice."""
    if name not in PEERS:
        raise typer.BadParameter(f"no engine {name!r}; there are: {', '.join(PEERS)}")
    return PEERS.get(f"{name}-{precision}", PEERS[name])
