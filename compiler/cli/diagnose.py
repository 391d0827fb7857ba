"""``burnish diagnose``: which rewrite makes a result wrong, and the least model that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from burnish.cli import options
from burnish.cli.session import Session
from burnish.cli.wrapping import places, wrapped
from burnish.wording import counted

if TYPE_CHECKING:
    import numpy as np

    from burnish.diagnosis.outcome import Diagnosis, Reproducer
    from burnish.ir import Graph

WRONG = 3
INDENT = " " * 12


def diagnose(
    ctx: typer.Context,
    model: options.Model,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER",
            help="Folder to write what is found to; by default MODEL-diagnosis.",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine", metavar="ort|tvm",
            help="Look at what rewriting leaves (ort), or at compiled code (tvm); by default at "
            "the second if the first is right.",
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--inputs", metavar="FILE.npz",
            help="Inputs that show it, arrays by name; repeatable. By default random ones.",
        ),
    ] = None,
    eval_: options.Eval = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop", metavar="POINTS",
            help="How much of the task's metric may be lost, in hundredths; by default nothing.",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance", metavar="E",
            help="How far an output may be off, relative to its largest value; by default what "
            "the passes promise.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--time", metavar="SECONDS", help="Stop searching after that.")
    ] = 300.0,
    input_shape: options.InputShape = None,
    preset: options.Preset = None,
    passes: options.Passes = None,
    skip: options.Skip = None,
    set_: options.Set = None,
    keep_adapter: options.KeepAdapter = False,
    opset: options.Opset = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:  # fmt: skip
    """Find the rewrite that makes a result wrong, and the smallest model that shows it."""
    session: Session = ctx.obj
    session.quiet, session.json = quiet, json
    from burnish import api
    from burnish.diagnosis.outcome import check_folder
    from burnish.source import load

    folder = out or Path(f"{model.stem}-diagnosis")
    check_folder(folder)
    graph = load(model)
    with session.progress() as progress:
        found = api.diagnose(
            graph,
            preset=preset,
            input_shapes=options.shapes(input_shape),
            passes=options.some_names("--passes", passes),
            skip=options.skipped(skip, keep_adapter=keep_adapter),
            set=options.settings(set_),
            opset=opset,
            samples=_samples(graph, inputs),
            eval=eval_,
            max_drop=max_drop,
            engine=engine,
            tolerance=tolerance,
            time=seconds,
            progress=progress,
        )
        if found:
            found.save(folder)
    if session.json:
        session.data({
            "model": str(model), "output": str(folder) if found else None, **found.as_json(),
            "command": found.command(folder) if found else None,
        })  # fmt: skip
    elif session.shows_tables:
        _show(found, folder, verbose)
    if found:
        raise typer.Exit(WRONG)


def _samples(graph: Graph, items: Sequence[str] | None) -> list[dict[str, np.ndarray]] | None:
    """The arrays of the files, in the types of the model where numpy has none for them."""
    if not items:
        return None
    from burnish.cli.run import read_inputs

    kinds = {value.name: value.dtype.numpy for value in graph.inputs if value.dtype}
    samples = []
    for item in items:
        arrays: dict[str, Any] = read_inputs([item])
        for name, array in arrays.items():
            kind = kinds.get(name)
            if kind is not None and array.dtype.kind == "V" and array.itemsize == kind.itemsize:
                arrays[name] = array.view(kind)
        samples.append(arrays)
    return samples


def _show(found: Diagnosis, folder: Path, verbose: bool) -> None:
    if not found:
        typer.echo("nothing is wrong: the result agrees with the original")
        for attempt in found.attempts:
            typer.echo(wrapped(str(attempt), "right       ", INDENT))
    for label, text in _facts(found, verbose).items():
        typer.echo(wrapped(text, f"{label:<12}", INDENT))
    for note in found.notes:
        typer.echo(wrapped(note, "note        ", INDENT))
    if found:
        typer.echo(f"wrote {folder} in {found.seconds:.1f} s")
    command = found.command(folder)
    if command is not None:
        typer.echo(f"\nto see it again:\n  {command}")


def _facts(found: Diagnosis, verbose: bool) -> dict[str, str]:
    """What is known, by label."""
    facts = {
        "wrong": found.symptom,
        "pass": found.guilty or "",
        "rule": (found.rule or "") + _which(found),
        "at": places([(name,) for name in found.sources], verbose),
        "smallest": "",
        "instead": found.workaround,
    }
    if found.reproducer is not None:
        count = counted(len(found.reproducer.nodes), "operator")
        facts["smallest"] = f"{count}: {', '.join(_types(found.reproducer))}"
    return {label: text for label, text in facts.items() if text}


def _which(found: Diagnosis) -> str:
    if found.number is None:
        return ""
    return f", application {found.number}" + ("" if found.count is None else f" of {found.count}")


def _types(reproducer: Reproducer) -> list[str]:
    from burnish.report import operator_types

    types = operator_types(reproducer.part.graph)
    return [kind if count == 1 else f"{count} x {kind}" for kind, count in types.items()]
