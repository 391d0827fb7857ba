"""Latency of compiled models against other engines, checked for equality before it is timed."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cache import Zoo
from benchmarks.checking import check_engine, expected_outputs, seated
from benchmarks.comparison import Disagreement
from benchmarks.compiling import CommandFailed, Compiled, compile_artifact
from benchmarks.inputs import Array, Case
from benchmarks.partial import Partial
from benchmarks.plan import Plan
from benchmarks.zoo import Model
from burnish.bench.client import Engine, EngineFailed
from burnish.bench.environment import machine_to_ourselves
from burnish.bench.seats import Seat
from burnish.bench.stats import Estimate
from burnish.bench.timing import Blocks, alternate, fastest_ratio, ratio, seconds

US = "burnish"


@dataclass(frozen=True, slots=True)
class Versus:
    """What was measured of another engine."""

    seconds: Estimate
    """Per run."""
    ratio: Estimate
    """Its time over burnish's, from the medians of neighbouring blocks: above 1 it is slower."""
    fastest_ratio: float
    """The same of the fastest runs: what is left when other work on the machine is not counted."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Versus":
        """Return what plain values stand for."""
        return cls(
            Estimate(**content["seconds"]), Estimate(**content["ratio"]), content["fastest_ratio"]
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one model at one set of shapes."""

    burnish: Estimate
    """Seconds per run."""
    peers: Mapping[str, Versus]
    """By the names of engines that were right."""


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
    untimed: Mapping[str, str] = field(default_factory=dict)
    """Engines without figures, and why."""
    lowered: Mapping[str, str] = field(default_factory=dict)
    """Engines that were timed with less than all their optimizations, with which, and why."""

    def versus(self, engine: str) -> Versus | None:
        """What was measured of an engine, if anything was."""
        return None if self.figures is None else self.figures.peers.get(engine)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Row":
        """Return what `as_json` was called on."""
        figures = content["figures"]
        return cls(**{**content, "figures": figures and _figures(figures)})

    def __str__(self) -> str:
        """Return one line for people."""
        what = f"{self.model} {self.case}, {self.threads} threads: "
        if self.figures is None:
            return what + str(self.failure)
        parts = [f"{n} takes {v.ratio.median:.2f}" for n, v in self.figures.peers.items()]
        parts += [f"{name} has {which}" for name, which in self.lowered.items()]
        parts += [f"no {name}: {why}" for name, why in self.untimed.items()]
        return f"{what}{self.figures.burnish.median * 1e3:.3g} ms; {', '.join(parts)}"


def _figures(content: Mapping[str, Any]) -> Figures:
    peers = {name: Versus.from_json(one) for name, one in content["peers"].items()}
    return Figures(Estimate(**content["burnish"]), peers)


def measure(
    models: Iterable[Model],
    threads: Sequence[int],
    plan: Plan,
    zoo: Zoo,
    seats: Sequence[Seat],
    artifacts: Path | None = None,
    partial: Partial | None = None,
) -> Iterator[Row]:
    """Compile, check and time models, each case at each number of threads.

    Args:
        models: from the zoo, already built.
        threads: numbers of threads, the same for all engines.
        plan: how long to measure.
        zoo: where the ONNX files are.
        seats: the engines to compare with.
        artifacts: folder of artifacts to use if they are there, and to keep; None compiles all
            anew and keeps none.
        partial: where rows are kept, and taken from; None measures all anew.

    Yields:
        One row per model, case and number of threads, with a failure instead of figures where
        burnish fails or is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="burnish-latency-") as scratch:
        folder = artifacts or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        items = {
            f"{model.name}-{case.label}-{count}": (model, case, count)
            for model in models
            for case in model.cases
            for count in threads
        }

        def row(item: tuple[Model, Case, int]) -> Row:
            model, case, count = item
            return measure_case(model, case, count, plan, zoo.path(model), seats, folder)

        yield from (partial or Partial(Path(scratch, "rows"))).each("latency", items, Row, row)


def measure_case(
    model: Model,
    case: Case,
    threads: int,
    plan: Plan,
    onnx: Path,
    seats: Sequence[Seat],
    folder: Path,
) -> Row:
    """Compile, check and time one model at one set of shapes."""
    precision = f"-{plan.precision}" if plan.precision else ""
    artifact = folder / f"{model.name}-{case.label}-{threads}{precision}.artifact"
    taken = None
    try:
        if artifact.exists():
            compiled = Compiled(artifact, 0.0)
        else:
            compiled = compile_artifact(
                onnx,
                artifact,
                case.shapes,
                threads=threads,
                tune=plan.tune,
                precision=plan.precision,
            )
            taken = compiled.seconds
        with machine_to_ourselves():
            checked = check_and_time(model, case, threads, plan, onnx, artifact, seats)
    except (CommandFailed, EngineFailed, Disagreement) as failure:
        return Row(model.name, case.label, threads, failure=str(failure))
    return checked.row(model, case, threads, taken, compiled.native_share)


@dataclass(frozen=True, slots=True)
class Checked:
    """An artifact that agrees with the oracle, and its times."""

    error: float
    figures: Figures
    untimed: Mapping[str, str]
    lowered: Mapping[str, str]

    def row(
        self, model: Model, case: Case, threads: int, taken: float | None, native_share: float
    ) -> Row:
        """Return the line of the latency table; `taken` are the seconds of its compile."""
        return Row(
            model.name,
            case.label,
            threads,
            taken,
            native_share,
            self.error,
            self.figures,
            untimed=self.untimed,
            lowered=self.lowered,
        )


def check_and_time(
    model: Model,
    case: Case,
    threads: int,
    plan: Plan,
    onnx: Path,
    artifact: Path,
    seats: Sequence[Seat],
    feeds: Sequence[Mapping[str, Array]] | None = None,
) -> Checked:
    """Compare an artifact with the oracle, then time it against other engines.

    That is on ``feeds``, the first of which is timed, or else on drawn ones. A peer that fails or
    is wrong is timed with the most optimizations that leave it right; it is left out, with the
    reason, if there are none.

    Raises:
        EngineFailed: if burnish or the oracle cannot load or run the model.
        Disagreement: if burnish is wrong; nothing is timed then.
    """
    answers = list(expected_outputs(model, case, onnx, feeds))
    with ExitStack() as stack:
        ours = stack.enter_context(Engine(US))
        ours.load(artifact, threads)
        error = check_engine(ours, answers, plan.compare)
        peers: dict[str, Engine] = {}
        untimed: dict[str, str] = {}
        lowered: dict[str, str] = {}
        for one in seats:
            name = one.peer.name
            try:
                right = seated(one, onnx, threads, case, answers)
            except (EngineFailed, Disagreement) as failure:
                untimed[name] = str(failure)
                continue
            peers[name] = stack.enter_context(right.engine)
            if right.lowered:
                lowered[name] = right.lowered
        blocks = alternate({US: ours, **peers}, plan, US)
        return Checked(error, figures_of(blocks), untimed, lowered)


def figures_of(blocks: Mapping[str, Blocks]) -> Figures:
    """Turn the times of all runs into medians and ratios."""
    ours = blocks[US]
    peers = {
        name: Versus(seconds(theirs), ratio(theirs, ours), fastest_ratio(theirs, ours))
        for name, theirs in blocks.items()
        if name != US
    }
    return Figures(seconds(ours), peers)
