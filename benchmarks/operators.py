"""Single operators against ONNX Runtime, each checked against the oracle before it is timed."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from rich.box import SIMPLE_HEAD
from rich.table import Table

import burnish
from benchmarks.comparison import Disagreement, worst_error
from benchmarks.operator_cases import OperatorCase
from benchmarks.plan import Plan
from burnish.bench.client import Engine, EngineFailed
from burnish.bench.environment import machine_to_ourselves
from burnish.bench.stats import Estimate
from burnish.bench.timing import alternate, fastest_ratio, ratio, seconds


@dataclass(frozen=True, slots=True)
class OperatorFigures:
    """What both engines take."""

    burnish: Estimate
    """Seconds per run."""
    ort: Estimate
    """Seconds per run."""
    ratio: Estimate
    """Our time over that of ONNX Runtime."""
    fastest_ratio: float
    """The same of the fastest runs."""


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """What was measured of one operator."""

    name: str
    threads: int
    error: float | None = None
    """Largest difference from the oracle, relative to the largest output."""
    figures: OperatorFigures | None = None
    failure: str | None = None
    """Why there are no figures."""

    @property
    def ratio(self) -> float:
        """Our time over that of ONNX Runtime; infinite where there are no figures."""
        return float("inf") if self.figures is None else self.figures.ratio.median

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def __str__(self) -> str:
        """Return one line for people."""
        what = f"{self.name}, {self.threads} threads: "
        if self.figures is None:
            return what + str(self.failure)
        return what + f"{self.ratio:.2f} of ONNX Runtime's time"


def measure_operators(
    cases: Sequence[OperatorCase], threads: Sequence[int], plan: Plan
) -> Iterator[OperatorRow]:
    """Compile, check and time every case at each number of threads.

    Yields:
        One row per case and number of threads, with a failure instead of figures where an engine
        fails or is wrong.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="burnish-operators-")))
        engines = [stack.enter_context(Engine(name)) for name in ("burnish", "ort", "oracle")]
        for number, case in enumerate(cases):
            model = case.model()
            path = folder / f"{number}.onnx"
            onnx.save(model, path)
            for count in threads:
                artifact = folder / f"{number}-{count}"
                try:
                    made = burnish.compile(
                        model, threads=count, tune=plan.tune or "off", verify="off"
                    )
                    made.save(artifact)
                    yield _measure(case, count, plan, path, artifact, engines)
                except (burnish.BurnishError, EngineFailed, Disagreement) as failure:
                    yield OperatorRow(case.name, count, failure=str(failure))


def _measure(
    case: OperatorCase,
    threads: int,
    plan: Plan,
    model: Path,
    artifact: Path,
    engines: Sequence[Engine],
) -> OperatorRow:
    ours, ort, oracle = engines
    for engine, path in ((ours, artifact), (ort, model), (oracle, model)):
        engine.load(path, threads)
        engine.feed(case.feeds)
    error = worst_error(ours.outputs(), oracle.outputs())
    with machine_to_ourselves():
        blocks = alternate({"burnish": ours, "ort": ort}, plan, "ort")
    us, them = blocks["burnish"], blocks["ort"]
    figures = OperatorFigures(seconds(us), seconds(them), ratio(us, them), fastest_ratio(us, them))
    return OperatorRow(case.name, threads, error, figures)


def as_table(rows: Sequence[OperatorRow]) -> Table:
    """Lay rows out for a terminal of 100 columns, the slowest ratio first."""
    title = "Single operators: median ratio of burnish to ONNX Runtime"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("operator", no_wrap=True)
    for heading in ("thr", "ORT us", "burnish us", "ratio", "fastest", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda row: -row.ratio):
        table.add_row(row.name, str(row.threads), *_cells(row))
    return table


def _cells(row: OperatorRow) -> tuple[str, ...]:
    if row.figures is None or row.error is None:
        return ("", "", "[red]fails[/]", "", "")
    colour = "green" if row.ratio <= 1.0 else "yellow" if row.ratio <= 1.1 else "red"
    return (
        f"{row.figures.ort.median * 1e6:.0f}",
        f"{row.figures.burnish.median * 1e6:.0f}",
        f"[{colour}]{row.ratio:.2f}[/]",
        f"{row.figures.fastest_ratio:.2f}",
        f"{row.error:.0e}",
    )
