"""Commands about pruning: accuracy on tasks, speed."""

from collections.abc import Mapping
from typing import Annotated, TypeVar

import typer

from benchmarks.cache import Zoo
from benchmarks.commands import finish, gathered, kept_rows
from benchmarks.options import Folder, Kept, Output, Samples, Threads
from benchmarks.output import show
from benchmarks.plan import Plan
from benchmarks.pruning import accuracy as accuracies
from benchmarks.pruning import speed as speeds
from benchmarks.pruning.table import accuracy_table, speed_table, together_table
from benchmarks.tasks.table import maker_versions
from burnish.bench.environment import record_environment
from burnish.quantization.request import SECONDS

app = typer.Typer(help="Pruned models against their originals.", no_args_is_help=True)
Item = TypeVar("Item")

Cases = Annotated[
    str | None,
    typer.Option("--cases", help="Only those whose names contain one of these, with commas."),
]
Tune = Annotated[str, typer.Option(help="Of what is timed, passed to burnish compile.")]
Deciding = Annotated[
    float, typer.Option("--time", help="Seconds to decide, to prune and to quantize each.")
]
Blocks = Annotated[int, typer.Option(min=1, help="Alternating blocks of each artifact.")]
Seconds = Annotated[float, typer.Option(min=0, help="Length of a block.")]


@app.command()
def accuracy(
    cases: Cases = None,
    samples: Samples = 512,
    threads: Threads = 2,
    tune: Tune = "10",
    blocks: Blocks = 12,
    seconds: Seconds = 0.2,
    partial: Kept = None,
    output: Output = None,
    folder: Folder = None,
) -> None:
    """Score pruned models on tasks: with allocated and equal widths, fitted or not."""
    found = _chosen(cases, accuracies.CASES)
    environment = record_environment(maker_versions())
    plan = accuracies.AccuracyPlan(samples, threads, Plan(blocks, seconds, tune=tune))
    kept = kept_rows("prune", partial, environment, plan)
    measured = accuracies.measure_accuracy(found, plan, Zoo(folder), kept)
    rows = gathered(measured, "Pruning", len(found))
    told = {"samples": samples, "threads": threads, "tune": tune}
    finish(output, environment, told, rows, accuracy_table(rows))


@app.command()
def speed(
    cases: Cases = None,
    samples: Samples = 64,
    threads: Threads = 2,
    tune: Tune = "10",
    deciding: Deciding = SECONDS,
    blocks: Blocks = 12,
    seconds: Seconds = 0.2,
    partial: Kept = None,
    output: Output = None,
    folder: Folder = None,
) -> None:
    """Time models with half of their operations, in float and int8, and weigh what is made."""
    found = _chosen(cases, speeds.CASES)
    environment = record_environment()
    plan = speeds.SpeedPlan(samples, threads, deciding, Plan(blocks, seconds, tune=tune))
    kept = kept_rows("prune", partial, environment, plan)
    measured = speeds.measure_speed(found, plan, Zoo(folder), kept)
    rows = gathered(measured, "Compiling", len(found))
    told = {"samples": samples, "threads": threads, "tune": tune, "deciding": deciding}
    show(together_table(rows))
    finish(output, environment, told, rows, speed_table(rows))


def _chosen(text: str | None, cases: Mapping[str, Item]) -> dict[str, Item]:
    """The cases whose names contain a part of the list, all if there is none."""
    parts = [""] if text is None else text.split(",")
    for part in parts:
        if not any(part in name for name in cases):
            raise typer.BadParameter(f"no case {part!r}; there are: {', '.join(cases)}")
    return {name: case for name, case in cases.items() if any(part in name for part in parts)}
