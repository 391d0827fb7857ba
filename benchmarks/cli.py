"""Commands of the benchmark suite."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from benchmarks.cache import Zoo, ZooError
from benchmarks.zoo import MODELS, Model, find

app = typer.Typer(
    help="Model zoo, latency against ONNX Runtime, acceptance tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
errors = Console(stderr=True)

Names = Annotated[
    str, typer.Option("--models", help="Names from the zoo, with commas between; all by default.")
]
Folder = Annotated[
    Path | None,
    typer.Option("--zoo", help="Folder of built models; $BURNISH_ZOO or ~/.cache/burnish/zoo."),
]


def chosen(names: str) -> tuple[Model, ...]:
    """Return the models of a comma-separated list, or every model if it is empty."""
    if not names:
        return MODELS
    try:
        return tuple(find(name.strip()) for name in names.split(","))
    except KeyError as error:
        raise typer.BadParameter(str(error.args[0])) from None


@app.command()
def zoo(
    models: Names = "",
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


@app.callback()
def _main() -> None:
    """Keep sub-commands even while there is only one."""
