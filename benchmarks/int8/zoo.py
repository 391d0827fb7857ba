"""Whether int8 is ever slower than float: every model of the zoo compiled both ways, and timed.

What does not pay is left in float, and then both artifacts hold the same code: such a model is as
fast by construction. All others are timed in blocks that alternate in one run, and once more, for
longer, where int8 seems slower.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from filecmp import cmp
from itertools import islice
from pathlib import Path
from typing import Any, Self

from benchmarks.cache import Zoo
from benchmarks.checking import check_engine, expected_outputs
from benchmarks.comparison import Disagreement
from benchmarks.compiling import CommandFailed, Compiled, compile_artifact, shape_options
from benchmarks.inputs import Case
from benchmarks.int8 import quantizers
from benchmarks.int8.samples import of_model, write
from benchmarks.latency import US, Figures, Versus, figures_of
from benchmarks.partial import Partial
from benchmarks.peer_engines import PLAIN
from benchmarks.plan import Plan
from benchmarks.zoo import Model
from burnish.bench.client import Engine, EngineFailed
from burnish.bench.environment import machine_to_ourselves
from burnish.bench.stats import Estimate
from burnish.bench.task import Feeds
from burnish.bench.timing import alternate
from burnish.quantization.distance import farthest

NOISE = 0.97
"""Ratio of the time in float to that in int8 below which int8 counts as slower."""
FAR = 4.0
"""Times the bound on the data that a model is calibrated on, beyond which int8 counts as wrong on
other data."""
MORE = 5
"""Times as many blocks where int8 seems slower."""
WEIGHTS = "weights.bin"


@dataclass(frozen=True, slots=True)
class ZooPlan:
    """How to compare."""

    samples: int
    """Calibration feeds."""
    compared: int
    """Other feeds, which outputs are compared on."""
    threads: int
    deciding: float
    """Seconds that choosing layers may take."""
    timing: Plan
    """Also how to tune."""


@dataclass(frozen=True, slots=True)
class ZooRow:
    """What came of one model."""

    model: str
    case: str
    threads: int
    layers: int = 0
    """Quantized ones."""
    of: int = 0
    reason: str = ""
    """Why nothing is quantized, if nothing is: what the command says."""
    plain_seconds: float | None = None
    """Of compiling without quantization."""
    seconds: float | None = None
    """Of compiling with it."""
    is_same: bool = False
    """Whether both artifacts hold the same code and weights."""
    distance: str = ""
    """Of int8 from float, on data that it was not calibrated on."""
    share: float | None = None
    """The same of what is allowed on calibration data; None if there is nothing to compare."""
    burnish: Estimate | None = None
    """Seconds per run in int8."""
    versus: Versus | None = None
    """The artifact in float."""
    failure: str | None = None

    @property
    def is_right(self) -> bool:
        """Whether int8 answers about what float does."""
        return self.failure is None and (self.share is None or self.share <= FAR)

    @property
    def is_slower(self) -> bool:
        """Whether int8 takes longer than float, beyond noise."""
        return self.versus is not None and self.versus.ratio.median < NOISE

    @property
    def is_told(self) -> bool:
        """Whether a model that is left in float says why."""
        return bool(self.layers) or bool(self.reason)

    @property
    def holds(self) -> bool:
        """Whether all is as it shall be."""
        return self.is_right and self.is_told and not self.is_slower

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` was called on."""
        ours, versus = content["burnish"], content["versus"]
        return cls(**{
            **content, "burnish": ours and Estimate(**ours),
            "versus": versus and Versus.from_json(versus),
        })  # fmt: skip

    def __str__(self) -> str:
        """Return one line for people."""
        what = f"{self.model} {self.case}: "
        if self.failure is not None:
            return what + self.failure
        found = [f"int8: {self.layers} of {self.of} layers"]
        if self.is_same:
            found.append("the same code as in float")
        if self.versus is not None:
            found.append(f"float takes {self.versus.ratio.median:.2f}")
        return f"{what}{', '.join(filter(None, [*found, self.distance, self.reason]))}"


def measure_zoo(
    models: Sequence[Model], plan: ZooPlan, zoo: Zoo, partial: Partial
) -> Iterator[ZooRow]:
    """Compile, compare and time each at its first case; what is in `partial` is not done again."""

    def row(model: Model) -> ZooRow:
        case = model.cases[0]
        with tempfile.TemporaryDirectory(prefix="burnish-int8-") as scratch:
            try:
                return _row(model, case, plan, zoo.path(model), Path(scratch))
            except (CommandFailed, EngineFailed, Disagreement) as failure:
                return ZooRow(model.name, case.label, plan.threads, failure=str(failure))

    return partial.each("int8-zoo", {model.name: model for model in models}, ZooRow, row)


def _row(model: Model, case: Case, plan: ZooPlan, onnx: Path, folder: Path) -> ZooRow:
    feeds = of_model(model, case, plan.samples + plan.compared)
    samples, plain = folder / "samples", folder / PLAIN.name
    write(samples, islice(feeds, plan.samples))
    tune = plan.timing.tune
    compiled = compile_artifact(onnx, plain, case.shapes, threads=plan.threads, tune=tune)
    arguments = ["--threads", str(plan.threads), "--time", f"{plan.deciding:g}"]
    arguments += [] if tune is None else ["--tune", tune]
    said = quantizers.ours(
        onnx, samples, folder / US, [*arguments, *shape_options(case.shapes)]
    )  # fmt: skip
    layers = said["quantization"]["layers"]
    count = sum(not one["reason"] for one in layers)
    row = ZooRow(
        model.name, case.label, plan.threads, count, len(layers),
        "" if count else _reason(said), round(compiled.seconds, 1), round(said["seconds"], 1),
        is_same=same_code(compiled, Compiled(folder / US, 0.0)),
    )  # fmt: skip
    return _compared(row, model, case, plan, onnx, folder, list(feeds))


def _reason(said: Mapping[str, Any]) -> str:
    """Why nothing is quantized: what the command says of all, and of its layers."""
    told = [note for note in said["notices"] if "quantized" in note or "float" in note]
    for one in said["quantization"]["layers"]:
        if not any(one["reason"] in note for note in told):
            told.append(f"{one['op_type']}: {one['reason']}")
    return "; ".join(told)


def same_code(one: Compiled, other: Compiled) -> bool:
    """Whether two artifacts hold the same bytes of code and weights."""
    pairs = ((one.library, other.library), (one.path / WEIGHTS, other.path / WEIGHTS))
    return all(
        first.exists() == second.exists()
        and (not first.exists() or cmp(first, second, shallow=False))
        for first, second in pairs
    )


def _compared(
    row: ZooRow, model: Model, case: Case, plan: ZooPlan, onnx: Path, folder: Path,
    feeds: Sequence[Feeds],
) -> ZooRow:  # fmt: skip
    """The row with how far int8 is from float, and the times of both unless they are the same.

    Raises:
        EngineFailed: one of them cannot run.
        Disagreement: the one in float is wrong.
    """
    answers = list(expected_outputs(model, case, onnx))
    with ExitStack() as stack:
        engines = {}
        for name in (US, PLAIN.name):
            engines[name] = stack.enter_context(Engine(US))
            engines[name].load(folder / name, plan.threads)
        check_engine(engines[PLAIN.name], answers)
        found = farthest(
            *([_answer(engines[name], one) for one in feeds] for name in (PLAIN.name, US))
        )
        if found is not None:
            row = replace(row, distance=str(found), share=min(found.share, 1e6))
        if row.is_same:
            return row
        first = answers[-1][0]
        for engine in engines.values():
            engine.feed(first)
        figures = _timed(engines, plan.timing)
    return replace(row, burnish=figures.burnish, versus=figures.peers[PLAIN.name])


def _answer(engine: Engine, feeds: Feeds) -> Mapping[str, Any]:
    engine.feed(feeds)
    return engine.outputs()


def _timed(engines: Mapping[str, Engine], timing: Plan) -> Figures:
    """Figures of both, from more blocks if int8 seems slower."""
    with machine_to_ourselves():
        figures = figures_of(alternate(engines, timing, US))
        if figures.peers[PLAIN.name].ratio.median < NOISE:
            longer = replace(timing, blocks=MORE * timing.blocks, narrow=timing.narrow / 2)
            figures = figures_of(alternate(engines, longer, US))
    return figures
