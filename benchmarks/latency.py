"""Latency of compiled models against ONNX Runtime, checked for equality before it is timed."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.cache import Zoo
from benchmarks.client import Engine, EngineFailed
from benchmarks.comparison import Disagreement, worst_error
from benchmarks.compiling import CommandFailed, Compiled, compile_artifact
from benchmarks.environment import machine_to_ourselves
from benchmarks.inputs import Array, Case, draw_feeds
from benchmarks.stats import Estimate, estimate_median
from benchmarks.zoo import Model

SEEDS = (0, 1)
"""Inputs that outputs are compared on; the first is also the one that is timed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often to measure."""

    blocks: int = 10
    """Blocks per engine; they alternate, so that drifts of the machine hit both alike."""
    seconds: float = 0.2
    """About how long one block of the slower engine runs."""
    warm: int = 3
    """Runs at the start of a block that do not count."""
    tune: str | None = None
    """Passed to `burnish compile`; its default if None."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one model at one set of shapes."""

    burnish: Estimate
    """Seconds per run."""
    ort: Estimate
    """Seconds per run."""
    ratio: Estimate
    """burnish over ONNX Runtime, from the medians of neighbouring blocks."""
    fastest_ratio: float
    """The same of the fastest runs: what is left when other work on the machine is not counted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the latency table."""

    model: str
    case: str
    threads: int
    compile_seconds: float | None = None
    native_share: float | None = None
    error: float | None = None
    """Largest difference from the oracle, relative to the largest output."""
    figures: Figures | None = None
    failure: str | None = None
    """Why there are no figures."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def __str__(self) -> str:
        """Return one line for people."""
        what = f"{self.model} {self.case}, {self.threads} threads: "
        if self.figures is None:
            return what + str(self.failure)
        return what + f"{self.figures.ratio.median:.2f} of ONNX Runtime's time"


def measure(
    models: Iterable[Model],
    threads: Sequence[int],
    plan: Plan,
    zoo: Zoo,
    artifacts: Path | None = None,
) -> Iterator[Row]:
    """Compile, check and time models, each case at each number of threads.

    Args:
        models: from the zoo, already built.
        threads: numbers of threads, the same for both engines.
        plan: how long to measure.
        zoo: where the ONNX files are.
        artifacts: folder of artifacts to use if they are there, and to keep; None compiles all
            anew and keeps none.

    Yields:
        One row per model, case and number of threads, with a failure instead of figures where an
        engine fails or is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="burnish-latency-") as scratch:
        folder = artifacts or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for model in models:
            for case in model.cases:
                for count in threads:
                    yield measure_case(model, case, count, plan, zoo.path(model), folder)


def measure_case(
    model: Model, case: Case, threads: int, plan: Plan, onnx: Path, folder: Path
) -> Row:
    """Compile, check and time one model at one set of shapes."""
    artifact = folder / f"{model.name}-{case.label}-{threads}.artifact"
    try:
        if artifact.exists():
            compiled, seconds = Compiled(artifact, 0.0), None
        else:
            compiled = compile_artifact(
                onnx, artifact, case.shapes, threads=threads, tune=plan.tune
            )
            seconds = compiled.seconds
        with machine_to_ourselves():
            error, figures = check_and_time(model, case, threads, plan, onnx, artifact)
    except (CommandFailed, EngineFailed, Disagreement) as failure:
        return Row(model.name, case.label, threads, failure=str(failure))
    share = compiled.native_share
    return Row(model.name, case.label, threads, seconds, share, error, figures)


def check_and_time(
    model: Model, case: Case, threads: int, plan: Plan, onnx: Path, artifact: Path
) -> tuple[float, Figures]:
    """Compare an artifact with the oracle, then time it against ONNX Runtime.

    Returns:
        The largest relative error of the artifact, and the times.

    Raises:
        EngineFailed: if an engine cannot load or run the model.
        Disagreement: if an engine is wrong; nothing is timed then.
    """
    with ExitStack() as stack:
        burnish, ort = (stack.enter_context(Engine(name)) for name in ("burnish", "ort"))
        burnish.load(artifact, threads)
        ort.load(onnx, threads)
        error = check_engines(model, case, onnx, burnish, ort)
        return error, time_engines(burnish, ort, plan)


def check_engines(model: Model, case: Case, onnx: Path, burnish: Engine, ort: Engine) -> float:
    """Compare both engines with the oracle; both are left with the feeds of the first seed.

    Returns:
        The largest relative error of burnish.

    Raises:
        Disagreement: if either is wrong.
    """
    worst = 0.0
    for expected in expected_outputs(model, case, onnx, (burnish, ort)):
        worst = max(worst, worst_error(burnish.outputs(), expected))
        try:
            worst_error(ort.outputs(), expected)
        except Disagreement as wrong:
            raise Disagreement(f"ONNX Runtime itself, optimized: {wrong}") from None
    return worst


def expected_outputs(
    model: Model, case: Case, onnx: Path, engines: Sequence[Engine]
) -> Iterator[dict[str, Array]]:
    """Feed ``engines`` with each seed in turn, the first one last; yield what the oracle says."""
    with Engine("oracle") as oracle:
        oracle.load(onnx, threads=1)
        for seed in reversed(SEEDS):
            feeds = draw_feeds(model.inputs, case, seed)
            for engine in (oracle, *engines):
                engine.feed(feeds)
            yield oracle.outputs()


def time_engines(burnish: Engine, ort: Engine, plan: Plan) -> Figures:
    """Time two loaded and fed engines in alternating blocks."""
    slowest = max(min(engine.time(plan.warm, warm=plan.warm)) for engine in (burnish, ort))
    count = max(3, round(plan.seconds / slowest))
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    turns = [(burnish, ours), (ort, theirs)]
    for _ in range(plan.blocks):
        for engine, blocks in turns:
            blocks.append(engine.time(count, warm=plan.warm))
        turns.reverse()  # so that neither always follows the other
    ratios = [median(one) / median(other) for one, other in zip(ours, theirs, strict=True)]
    all_ours = [second for block in ours for second in block]
    all_theirs = [second for block in theirs for second in block]
    return Figures(
        burnish=estimate_median(all_ours),
        ort=estimate_median(all_theirs),
        ratio=estimate_median(ratios),
        fastest_ratio=min(all_ours) / min(all_theirs),
    )


def as_table(rows: Iterable[Row]) -> Table:
    """Lay rows out for a terminal of 100 columns."""
    title = "Latency: median ratio of burnish to ONNX Runtime, with its 95% interval"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("case", no_wrap=True)
    for heading in ("thr", "ORT ms", "burnish ms", "ratio", "interval", "native", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row.model, row.case, str(row.threads), *_cells(row))
    return table


def _cells(row: Row) -> tuple[str, ...]:
    if row.figures is None or row.error is None or row.native_share is None:
        return ("", "", "[red]fails[/]", "", "", "")
    ratio = row.figures.ratio
    colour = "green" if ratio.median <= 1.0 else "yellow" if ratio.median <= 1.5 else "red"
    return (
        f"{row.figures.ort.median * 1e3:.2f}",
        f"{row.figures.burnish.median * 1e3:.2f}",
        f"[{colour}]{ratio.median:.2f}[/]",
        f"{ratio.low:.2f}-{ratio.high:.2f}",
        f"{row.native_share:.0%}",
        f"{row.error:.0e}",
    )
