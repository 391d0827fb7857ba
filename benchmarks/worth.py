"""What each pass is worth to the main models: benches, condensed, as a table and a page."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from rich.table import Table

from benchmarks.cache import Zoo
from benchmarks.partial import Partial
from benchmarks.zoo import MAIN_JOB, Model
from burnish.bench.document import Document, Interval, Step
from burnish.bench.study import EngineName, Request, bench
from burnish.errors import BurnishError

RECORD = Path(__file__).resolve().parent / "results" / "worth.json"
"""What `python -m benchmarks worth --json` wrote."""
MODELS = tuple(model.name for model in MAIN_JOB if model.name != "minilm-dynamo")
"""The main models, of which one was exported in two ways."""
DECIDED = ("faster", "slower", "needed")
ENGINES: tuple[EngineName, ...] = ("tvm", "ort")
TITLES: Mapping[EngineName, str] = {"tvm": "Compiled", "ort": "In ONNX Runtime"}
"""How headings name them."""


class Worth(BaseModel):
    """What a bench of one model found, without its graphs and kernels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    case: str
    engine: EngineName
    threads: int
    seconds: float = 0.0
    """Wall clock of the bench."""
    latency: Interval | None = None
    """Of the whole pipeline, in seconds."""
    baseline: Interval | None = None
    """Time of ONNX Runtime on the original over that of the whole pipeline."""
    steps: tuple[Step, ...] = ()
    failure: str | None = None

    @classmethod
    def of(cls, model: Model, document: Document) -> Self:
        """Condense a document."""
        return cls(
            model=model.name, case=model.cases[0].label, engine=document.engine,
            threads=document.threads, seconds=document.seconds, latency=document.result.latency,
            baseline=document.baseline.ratio, steps=tuple(document.steps),
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return self.model_dump()

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` was called on.

        Raises:
            KeyError: the fields are those of another version.
        """
        try:
            return cls.model_validate(content)
        except ValueError as error:
            raise KeyError(str(error)) from error

    def step(self, view: str, name: str) -> Step | None:
        """What a pass was found to be worth in a view."""
        found = (one for one in self.steps if (one.view, one.name) == (view, name))
        return next(found, None)

    def __str__(self) -> str:
        """Return one line for people."""
        if self.failure:
            return f"{self.model}: {self.failure}"
        decided = sum(one.verdict in DECIDED for one in self.steps)
        return f"{self.model} {self.case}: {decided} of {len(self.steps)} decided"


@dataclass(frozen=True, slots=True)
class Effort:
    """How to bench."""

    engine: EngineName
    threads: int
    seconds: float
    """For timing, of each model."""


def measure_worth(
    models: Sequence[Model], effort: Effort, zoo: Zoo, kept: Partial | None = None
) -> Iterator[Worth]:
    """Bench each model at its first shapes; a model that fails is a result that says so."""

    def measured(model: Model) -> Worth:
        shapes = {name: shape for name, shape in model.cases[0].shapes.items() if shape}
        request = Request(
            zoo.path(model), effort.engine, threads=effort.threads, shapes=shapes,
            seconds=effort.seconds,
        )  # fmt: skip
        try:
            return Worth.of(model, bench(request))
        except BurnishError as error:
            return Worth(
                model=model.name, case=model.cases[0].label, engine=effort.engine,
                threads=effort.threads, failure=str(error),
            )  # fmt: skip

    if kept is None:
        return map(measured, models)
    part = f"worth-{effort.engine}"
    return kept.each(part, {model.name: model for model in models}, Worth, measured)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded run."""

    environment: dict[str, Any]
    seconds: float
    """For timing, of each model and engine."""
    rows: tuple[Worth, ...]

    def by_engine(self) -> dict[EngineName, list[Worth]]:
        """Rows of each engine that was benched with."""
        found = {name: [row for row in self.rows if row.engine == name] for name in ENGINES}
        return {name: rows for name, rows in found.items() if rows}


def load_record(path: Path = RECORD) -> Recorded:
    """Read what was recorded."""
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = tuple(map(Worth.from_json, content["rows"]))
    return Recorded(content["environment"], content["plan"]["seconds"], rows)


def decided_passes(rows: Iterable[Worth], view: str) -> list[str]:
    """Passes that are worth something to some model, in the order in which they run."""
    order: dict[str, bool] = {}
    for row in rows:
        for step in row.steps:
            if step.view == view:
                order[step.name] = order.get(step.name, False) or step.verdict in DECIDED
    return [name for name, is_decided in order.items() if is_decided]


def worth_table(rows: Sequence[Worth], view: str = "without") -> str:
    """A row per pass and a column per model, in Markdown; what no model gains by is left out."""
    lines = [f"| pass | {' | '.join(row.model for row in rows)} |", "|---|" + "---:|" * len(rows)]
    for name in decided_passes(rows, view):
        cells = (_cell(row.step(view, name)) for row in rows)
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    totals = (f"{row.baseline.value:.2f}" if row.baseline else "-" for row in rows)
    lines.append(f"| all of them, against ONNX Runtime | {' | '.join(totals)} |")
    return "\n".join(lines)


def _cell(step: Step | None, *, ends: bool = False) -> str:
    if step is None or step.verdict == "same":
        return ""
    if step.verdict in ("needed", "failed") or step.speedup is None:
        return step.verdict
    value = f"{step.speedup.value:.3f}" if ends else f"{step.speedup.value:.2f}"
    if ends:
        value += f" ({step.speedup.low:.3f} to {step.speedup.high:.3f})"
    return f"**{value}**" if step.verdict in DECIDED else f"{value}?"


def worth_tables(record: Recorded) -> str:
    """What each pass saves where it is left out, by engine, and under which circumstances."""
    parts = []
    for engine, rows in record.by_engine().items():
        parts += [f"**{TITLES[engine]}**", worth_table(rows)]
    return "\n\n".join([*parts, circumstances(record)])


def worth_page(record: Recorded) -> str:
    """Every pass of every model, in all three views, with intervals."""
    parts = []
    for engine, rows in record.by_engine().items():
        parts.append(f"## {TITLES[engine]}")
        for row in rows:
            parts.append(f"### {row.model} {row.case}\n\n{row.failure or _model_table(row)}")
    return "\n\n".join(parts)


def _model_table(row: Worth) -> str:
    views = ("alone", "cumulative", "without")
    lines = [f"| pass | {' | '.join(views)} | operators |", "|---|---:|---:|---:|---:|"]
    for name in dict.fromkeys(step.name for step in row.steps):
        steps = [row.step(view, name) for view in views]
        if all(step is None or step.verdict == "same" for step in steps):
            continue
        removed = next((f"{-s.operators:+d}" for s in steps if s is not None and s.operators), "")
        lines.append(f"| `{name}` | {' | '.join(_cell(s, ends=True) for s in steps)} | {removed} |")
    return "\n".join(lines)


def circumstances(record: Recorded) -> str:
    """In a line: machine, versions, date, effort."""
    found, first = record.environment, record.rows[0]
    names = ("burnish", "onnxruntime", "apache-tvm")
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in names)
    return (
        f"{found['cpu']}, {first.threads} threads, {record.seconds:g} s of timing for each model "
        f"and engine, {found['date'][:10]}, {versions}."
    )


def as_table(rows: Sequence[Worth]) -> Table:
    """Decided effects of leaving a pass out, for a terminal."""
    table = Table(title="Time without a pass over time with it; what is not decided is left out")
    for head in ("pass", "model", "95% interval", "verdict"):
        table.add_column(head)
    for name in decided_passes(rows, "without"):
        for row in rows:
            step = row.step("without", name)
            if step is not None and step.verdict in DECIDED:
                by = step.speedup
                ends = f"{by.value:.3f} ({by.low:.3f} to {by.high:.3f})" if by else ""
                table.add_row(name, row.model, ends, step.verdict)
    return table
