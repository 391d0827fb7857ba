"""``burnish run``: run an artifact. Loads neither the compiler nor another engine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from burnish.cli import options
from burnish.cli.session import Session
from burnish.errors import InvalidInput, UsageError

if TYPE_CHECKING:
    import numpy as np

    from burnish.backends.artifact import Artifact

Arrays: TypeAlias = "dict[str, np.ndarray[Any, Any]]"


def run(
    ctx: typer.Context,
    artifact: Annotated[
        Path, typer.Argument(metavar="ARTIFACT", help="What `burnish compile` wrote.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "-i", "--input", metavar="NAME=IN.npy",
            help="An input from a .npy file, or all of them from an .npz file; repeatable. "
            "Without it, the example stored for each entry of the artifact is run.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT.npz", help="Write the outputs there."),
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Run the stored examples and check their outputs.")
    ] = False,
    repeat: Annotated[
        int, typer.Option("--repeat", metavar="N", min=1, help="Run N times and print the times.")
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", min=1, help="Use N threads instead of the "
                     "number that was compiled for."),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:  # fmt: skip
    """Run a compiled model."""
    session: Session = ctx.obj
    session.quiet, session.json = quiet, json
    from burnish.backends.artifact import load_artifact
    from burnish.output import check_target

    if out is not None:
        if out.suffix == ".npy":
            raise UsageError(f"-o takes OUT.npz, which holds every output by name, not {out}")
        check_target(out)
    if artifact.suffix == ".onnx" and artifact.is_file():
        raise UsageError(f"{artifact} is a model; compile it first, and run what that writes")
    model = load_artifact(artifact, threads)
    result: dict[str, Any] = {"artifact": str(artifact)}
    if self_test:
        result |= _test(model)
    if not self_test or inputs or out is not None or repeat > 1:
        runs = [_run(model, feeds, repeat, out) for feeds in _feeds(model, inputs, out)]
        result |= runs[0]
        if len(runs) > 1:
            result["entries"] = runs
    if session.json:
        session.data(result)
    elif not session.quiet:
        _show(result, out)


def _test(model: Artifact) -> dict[str, Any]:
    """The largest error of each output, and its error in each entry if there are several."""
    entries: list[dict[str, float]] = [{} for _ in model.manifest.entries]
    for each in model.self_test():
        entries[each.entry][each.output] = each.error
    names = dict.fromkeys(name for errors in entries for name in errors)
    worst = {name: max(errors.get(name, 0.0) for errors in entries) for name in names}
    return {"self_test": worst} | ({"self_test_entries": entries} if len(entries) > 1 else {})


def _feeds(model: Artifact, inputs: Sequence[str] | None, out: Path | None) -> list[Arrays]:
    """What to run the model on: the inputs that were given, else the example of each entry."""
    if inputs:
        return [read_inputs(inputs)]
    count = len(model.manifest.entries)
    if count > 1 and out is not None:
        raise UsageError(
            f"-o writes one run, and {model.path} has examples of {count} entries; give -i"
        )
    return [dict(model.example(entry).inputs) for entry in range(count)]


def _run(model: Artifact, feeds: Arrays, repeat: int, out: Path | None) -> dict[str, Any]:
    """Run a model on ``feeds``; what its outputs are and, if asked for, its times."""
    outputs, times = _repeat(model, feeds, repeat)
    if out is not None:
        _write(out, outputs)
    return {
        "outputs": {
            name: {"dtype": str(array.dtype), "shape": list(array.shape)}
            for name, array in outputs.items()
        },
        "milliseconds": _summary(times),
    }


def read_inputs(items: Sequence[str]) -> Arrays:
    """Arrays by name from ``NAME=IN.npy`` and ``ALL.npz``.

    Raises:
        UsageError: an item has another form, or a name comes twice.
        InvalidInput: a file is missing or holds no array.
    """
    arrays: Arrays = {}
    for item in items:
        name, equals, path = item.partition("=")
        if equals and not path.endswith(".npz"):
            found = {name: _read(Path(path))}
        elif not equals and item.endswith(".npz"):
            found = _read(Path(item))
        else:
            raise UsageError(f"-i takes NAME=IN.npy or ALL.npz, not {item!r}")
        twice = sorted(arrays.keys() & found.keys())
        if twice:
            raise UsageError(f"input {twice[0]!r} is given twice")
        arrays |= found
    return arrays


def _read(path: Path) -> Any:
    """The array of a .npy file, or a dict of those of an .npz file."""
    import numpy as np

    from burnish.npz import UNREADABLE

    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            found = dict(loaded) if path.suffix == ".npz" else loaded
        # What numpy does not know in an archive are bytes for it.
        for each in found.values() if isinstance(found, dict) else [found]:
            if not isinstance(each, np.ndarray):
                raise TypeError
        return found
    except FileNotFoundError:
        raise InvalidInput(f"{path} does not exist") from None
    except UNREADABLE as error:
        # What numpy says of a file it does not know is advice to unpickle it.
        why = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise InvalidInput(
            f"{path} holds no numpy array of numbers{why}; write it with numpy.save"
        ) from error


def _repeat(model: Artifact, feeds: Arrays, count: int) -> tuple[Arrays, list[float]]:
    """Outputs of the last of ``count`` runs, and how many seconds each took.

    One run more comes first when times are asked for, so that none of them pays for loading.
    """
    outputs = model.run(feeds)
    times = []
    for _ in range(count if count > 1 else 0):
        started = time.perf_counter()
        outputs = model.run(feeds)
        times.append(time.perf_counter() - started)
    return outputs, times


def _summary(times: Sequence[float]) -> dict[str, float] | None:
    if not times:
        return None
    ordered = sorted(times)
    return {
        "median": round(statistics.median(ordered) * 1e3, 4),
        "fastest": round(ordered[0] * 1e3, 4),
        "slowest": round(ordered[-1] * 1e3, 4),
        "runs": len(ordered),
    }


def _write(path: Path, outputs: Arrays) -> None:
    import numpy as np

    from burnish.output import staged

    with staged(path) as draft, draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **outputs)


def _show(result: dict[str, Any], out: Path | None) -> None:
    entries = result.get("self_test_entries", [])
    for number, errors in enumerate(entries or [result.get("self_test", {})]):
        entry = f"entry {number}: " if entries else ""
        for name, error in errors.items():
            typer.echo(f"self-test: {entry}{name} agrees, largest relative error {error:.1e}")
    for each in result.get("entries", [result]):
        for name, value in each.get("outputs", {}).items():
            typer.echo(f"{name}: {value['dtype']}{value['shape']}")
        times = each.get("milliseconds")
        if times:
            typer.echo(
                f"{times['median']:.3f} ms median of {times['runs']} runs "
                f"({times['fastest']:.3f} to {times['slowest']:.3f})"
            )
    if out is not None:
        typer.echo(f"wrote {out}")
