"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from burnish.cli.adapters import adapters
from burnish.cli.bench import bench
from burnish.cli.build import build
from burnish.cli.compile import compile_model
from burnish.cli.diagnose import diagnose
from burnish.cli.explain import explain
from burnish.cli.inspect import inspect
from burnish.cli.listings import list_passes, list_targets
from burnish.cli.optimize import optimize
from burnish.cli.run import run

app = typer.Typer(
    name="burnish",
    help="Rewrite ONNX models, compile them to native code, and see what was done.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from burnish import __version__

        typer.echo(f"burnish {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Carry the options that come before a command."""


app.command("optimize")(optimize)
app.command("compile")(compile_model)
app.command("build")(build)
app.command("run")(run)
app.command("bench")(bench)
app.command("inspect")(inspect)
app.command("explain")(explain)
app.command("diagnose")(diagnose)
app.command("passes")(list_passes)
app.command("targets")(list_targets)
app.add_typer(adapters, name="adapters")
