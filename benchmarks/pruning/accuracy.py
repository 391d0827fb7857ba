"""What pruning costs on tasks with labels, which pruning itself does not see.

Each model is pruned by the command, as anybody would. Beside that: the widths that it chose of all
that it had allocated, those of equal shares, and what it chose without any fitting of what is left.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import burnish
from benchmarks.cache import Zoo
from benchmarks.compiling import CommandFailed, compile_artifact, make, shape_options
from benchmarks.inputs import Shape
from benchmarks.int8.agreement import WithAgreement
from benchmarks.int8.samples import of_task, read, write
from benchmarks.partial import Partial
from benchmarks.plan import Plan
from benchmarks.pruning.timing import timed
from benchmarks.tasks.fashion import FashionTask
from benchmarks.tasks.table import JUDGED, Judged
from burnish.bench.client import EngineFailed
from burnish.bench.document import Metric
from burnish.bench.paired import describe_metrics
from burnish.bench.scoring import scores_of
from burnish.bench.stats import Estimate
from burnish.bench.task import Scores
from burnish.bench.timing import ratio
from burnish.calibration.store import Calibration
from burnish.errors import BurnishError
from burnish.pipeline import silent
from burnish.pruning.prune import planned
from burnish.pruning.request import Pruning
from burnish.quantization.deadline import Deadline
from burnish.source import save
from burnish.target import resolve

ORIGINAL = "original"
ALLOCATED, UNIFORM, UNFITTED = "allocated", "uniform", "without compensation"
"""The best widths that were allocated, equal shares of all, and the ones that were chosen with the
weights as they were."""
FASHION = FashionTask(batch=32)
"""In batches that the 512 calibration pictures fill."""
LIMIT = 1800.0
"""Seconds after which pruning counts as hanging."""


@dataclass(frozen=True, slots=True)
class Case:
    """A model with a task, and how much of it is to go."""

    judged: Judged
    asked: str
    """As ``--prune`` has it."""
    timed: Mapping[str, Shape]
    """Shapes that latency is about."""

    @property
    def is_timed(self) -> bool:
        """Whether the amount is about latency."""
        return self.asked.startswith("latency")


def _cases() -> Iterator[Case]:
    picture = {"images": (1, 1, 28, 28)}
    for name, amounts in (
        ("fashion-cnn", ("0.3", "0.5", "0.7", "latency:0.6")),
        ("fashion-vit", ("0.3", "0.5", "latency:0.7")),
    ):
        judged = replace(JUDGED[name], task=FASHION)
        for amount in amounts:
            yield Case(judged, amount, picture)
    for name, amount in (("ppocr-v4-rec", "latency:0.85"), ("minilm-torchscript", "latency:0.8")):
        yield Case(JUDGED[name], amount, JUDGED[name].task.input_shapes[0])


CASES = {f"{one.judged.name}-{one.asked.replace(':', '-')}": one for one in _cases()}
"""What pruning is held to, by a name of each."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to prune, and what came of it."""

    metrics: Sequence[Metric]
    """With their differences to the original's."""
    divergence: float | None
    """Mean of the calibration data, in nats; None where the output is no distribution."""
    noise: float
    """Power of the error over that of the signal."""
    flops: float
    """Share that is left."""
    size: float
    """Share of the bytes of weights that is left."""
    speedup: Estimate | None = None
    """The time of the original over that of this, both compiled and tuned; None if not timed."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what plain values stand for."""
        metrics = [Metric.model_validate(one) for one in content["metrics"]]
        speedup = content["speedup"] and Estimate(**content["speedup"])
        return cls(**{**content, "metrics": metrics, "speedup": speedup})


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """What a task says of a model before and after."""

    model: str
    asked: str
    samples: int = 0
    """Calibration feeds."""
    original: Sequence[Metric] = field(default_factory=list)
    variants: Mapping[str, Variant] = field(default_factory=dict)
    chosen: str = ""
    """Which of them the command wrote."""
    seconds: float = 0.0
    """Of the whole command."""
    peak: int = 0
    """Resident bytes of its largest process, at most."""
    failure: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        variants = {
            name: {**asdict(one), "metrics": [metric.model_dump() for metric in one.metrics]}
            for name, one in self.variants.items()
        }
        original = [metric.model_dump() for metric in self.original]
        return {**asdict(self), "original": original, "variants": variants}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` was called on."""
        original = [Metric.model_validate(one) for one in content["original"]]
        variants = {name: Variant.from_json(one) for name, one in content["variants"].items()}
        return cls(**{**content, "original": original, "variants": variants})

    def __str__(self) -> str:
        """Return one line for people."""
        found = [
            f"{name} {100 * one.metrics[0].difference.value:+.2f}"
            for name, one in self.variants.items()
            if one.metrics[0].difference is not None
        ]
        return f"{self.model} {self.asked}: {self.failure or ', '.join(found)}"


@dataclass(frozen=True, slots=True)
class AccuracyPlan:
    """How to compare."""

    samples: int
    """Calibration feeds at most."""
    threads: int
    timing: Plan
    """Also how to tune what is timed."""


def measure_accuracy(
    cases: Mapping[str, Case], plan: AccuracyPlan, zoo: Zoo, partial: Partial
) -> Iterator[AccuracyRow]:
    """Prune, score and time each; what is kept in `partial` is not measured again."""

    def row(case: Case) -> AccuracyRow:
        with tempfile.TemporaryDirectory(prefix="burnish-prune-") as scratch:
            try:
                return _row(case, plan, case.judged.locate(zoo), Path(scratch))
            except (CommandFailed, EngineFailed, BurnishError) as failure:
                return AccuracyRow(case.judged.name, case.asked, failure=str(failure))

    return partial.each("prune-accuracy", cases, AccuracyRow, row)


@dataclass(frozen=True, slots=True)
class _Made:
    """A pruned model, and what is known of it before it is scored."""

    path: Path
    """An ONNX file or an artifact."""
    distance: tuple[float | None, float]
    """Divergence and noise."""
    trial: Mapping[str, Any]
    """What the command said of the widths."""


def _row(case: Case, plan: AccuracyPlan, model: Path, folder: Path) -> AccuracyRow:
    samples, written = folder / "samples", folder / ("pruned" if case.is_timed else "pruned.onnx")
    count = write(samples, of_task(case.judged.task, plan.samples))
    said = make(model, written, _options(case, plan, samples), limit=LIMIT)
    trials = _trials(said["pruning"]["tried"])
    chosen = next(name for name, one in trials.items() if one["chosen"])
    distance = said["pruning"]["divergence"], said["pruning"]["noise"]
    made = {chosen: _Made(written, distance, trials[chosen])}
    made |= _others(case, trials, chosen, model, samples)
    paths = {ORIGINAL: model, **{name: made[name].path for name in trials}}
    speedups = _speedups(case, plan, paths, folder) if case.is_timed else {}
    task, inputs = WithAgreement(case.judged.task), burnish.load(model).inputs

    def scored(path: Path) -> Mapping[str, Scores]:
        engine = "ort" if path.suffix == ".onnx" else "burnish"
        return scores_of(task, engine, path, plan.threads, inputs)

    before = scored(model)
    variants = {
        name: Variant(
            describe_metrics(scored(made[name].path), before), *made[name].distance,
            made[name].trial["flops"], made[name].trial["size"], speedups.get(name),
        )
        for name in (ALLOCATED, UNIFORM, UNFITTED)
        if name in made
    }  # fmt: skip
    return AccuracyRow(
        case.judged.name, case.asked, count, describe_metrics(before), variants, chosen,
        round(said["seconds"], 1), said["peak"],
    )  # fmt: skip


def _options(case: Case, plan: AccuracyPlan, samples: Path) -> list[str]:
    options = ["--prune", case.asked, "--calibration", str(samples)]
    if not case.is_timed:
        return options
    options += ["--threads", str(plan.threads), "--tune", plan.timing.tune or "off"]
    others = [shapes for shapes in case.judged.task.input_shapes if shapes != case.timed]
    return [*options, *(part for each in (case.timed, *others) for part in shape_options(each))]


def _trials(tried: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The best of each kind."""
    found: dict[str, Mapping[str, Any]] = {}
    for trial in sorted(tried, key=lambda one: (not one["chosen"], one["share"])):
        found.setdefault(UNIFORM if trial["text"] == UNIFORM else ALLOCATED, trial)
    return found


def _others(
    case: Case, trials: Mapping[str, Mapping[str, Any]], chosen: str, model: Path, samples: Path
) -> dict[str, _Made]:
    """What the command did not write: the other widths, and its own without fitting."""
    asked = Pruning.of(case.asked)
    assert asked is not None
    calibration = Calibration(list(read(samples)))
    graph, _ = burnish.optimize(model)
    target = resolve("cpu") if case.is_timed else None
    time = Deadline(LIMIT, silent)
    found, data, _ = planned(graph, calibration, asked=asked, target=target, time=time)
    guard = data.guard(found.graph)
    ways = {name: ("all", trial) for name, trial in trials.items() if name != chosen}
    made = {}
    for name, (fit, trial) in {**ways, UNFITTED: ("none", trials[chosen])}.items():
        pruned, _ = found.pruned(trial["widths"], data.fitted, fit=fit)
        distance = guard.distance(pruned)
        assert distance is not None
        path = samples.with_name(f"{name.partition(' ')[0]}.onnx")
        save(pruned, path)
        made[name] = _Made(path, (distance.divergence, distance.noise), trial)
    return made


def _speedups(
    case: Case, plan: AccuracyPlan, paths: Mapping[str, Path], folder: Path
) -> dict[str, Estimate]:
    """The time of the original over that of each of the others, compiled and tuned alike."""
    artifacts = {}
    for name, path in paths.items():
        artifacts[name] = path
        if path.suffix == ".onnx":
            artifacts[name] = compile_artifact(
                path, folder / f"{name}.artifact", case.timed, threads=plan.threads,
                tune=plan.timing.tune,
            ).path  # fmt: skip
    blocks = timed(artifacts, plan.threads, plan.timing)
    return {name: ratio(blocks[ORIGINAL], one) for name, one in blocks.items() if name != ORIGINAL}
