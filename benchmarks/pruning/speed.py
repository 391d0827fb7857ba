"""Whether pruned models are as fast as their operations promise, in float and in int8.

Half of the operations is asked to go. Each model is compiled four times by one command each, as it
is, pruned, quantized, and both, and all four are timed in turns.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx

import burnish
from benchmarks.cache import Zoo
from benchmarks.compiling import CommandFailed, make, shape_options
from benchmarks.inputs import Shape
from benchmarks.int8.samples import of_model, write
from benchmarks.int8.zoo import WEIGHTS
from benchmarks.partial import Partial
from benchmarks.plan import Plan
from benchmarks.pruning.accuracy import FASHION, LIMIT
from benchmarks.pruning.timing import timed
from benchmarks.tasks.fashion import CNN
from benchmarks.zoo import find
from burnish.bench.client import EngineFailed
from burnish.bench.document import Metric
from burnish.bench.paired import describe_metrics
from burnish.bench.scoring import scores_of
from burnish.bench.stats import Estimate
from burnish.bench.task import Feeds, Task
from burnish.bench.timing import ratio, seconds
from burnish.errors import BurnishError

PLAIN, PRUNED, INT8, BOTH = "float", "pruned", "int8", "pruned int8"
ASKED = "0.5"
WAYS = {
    PLAIN: (), PRUNED: ("--prune", ASKED), INT8: ("--quantize", "int8"),
    BOTH: ("--prune", ASKED, "--quantize", "int8"),
}  # fmt: skip
"""What is asked of the command, in the order in which it is."""
SIZE = 64
"""Pixels of the larger pictures, most of whose time goes into arithmetic."""
PADDING = ((0, 0), (0, 0), (4, 4), (4, 4))


@dataclass(frozen=True, slots=True)
class Case:
    """A model at one input shape."""

    model: str
    shapes: Mapping[str, Shape]
    locate: Callable[[Zoo, Path], Path]
    """Its file; may be written into the folder that is given."""
    samples: Callable[[], Iterator[Feeds]]
    """Calibration feeds."""
    task: Task | None = None

    @property
    def label(self) -> str:
        """The shapes, for people."""
        return ", ".join("x".join(map(str, shape)) for shape in self.shapes.values())


def _larger(zoo: Zoo, folder: Path) -> Path:
    """The Fashion CNN for larger pictures: it ends in a mean over all pixels."""
    model = onnx.load(CNN)
    for size in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        size.dim_value = SIZE
    path = folder / "larger.onnx"
    onnx.save(model, path)
    return path


def _larger_pictures() -> Iterator[Feeds]:
    """Pictures with each pixel doubled both ways, and a black frame."""
    for feeds in FASHION.calibration():
        for images in np.split(feeds["images"], FASHION.batch):
            yield {"images": np.pad(images.repeat(2, 2).repeat(2, 3), PADDING)}


def _resnet() -> Case:
    model = find("resnet-50-dynamo")
    return Case(
        model.name, model.cases[0].shapes, lambda zoo, _: zoo.path(model),
        lambda: of_model(model, model.cases[0], 512),
    )  # fmt: skip


CASES = {
    "fashion-cnn-28": Case(
        "fashion-cnn", {"images": (1, 1, 28, 28)}, lambda *_: CNN, FASHION.calibration, FASHION
    ),
    "fashion-cnn-64": Case(
        "fashion-cnn", {"images": (1, 1, SIZE, SIZE)}, _larger, _larger_pictures
    ),
    "resnet-50": _resnet(),
}
"""By a name of each."""


@dataclass(frozen=True, slots=True)
class Made:
    """What one of the commands took, and what it made takes."""

    seconds: float
    """Of the whole command."""
    peak: int
    """Resident bytes of its largest process, at most."""
    weights: int
    """Bytes of the artifact's weights."""
    run: Estimate
    """Seconds."""
    integers: int = 0
    """Quantized layers; none where they do not pay, and all stays in float."""
    metrics: list[Metric] = field(default_factory=list)
    """Of the task, with differences to the original's but for that itself."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what plain values stand for."""
        metrics = [Metric.model_validate(one) for one in content["metrics"]]
        return cls(**{**content, "run": Estimate(**content["run"]), "metrics": metrics})


@dataclass(frozen=True, slots=True)
class SpeedRow:
    """What came of one model."""

    model: str
    case: str
    threads: int
    flops: float = 1.0
    """Share of the operations that is left."""
    weights: int = 0
    """Bytes of the original's."""
    loss: str = ""
    """Of the pruned one in float, on calibration data."""
    made: Mapping[str, Made] = field(default_factory=dict)
    speedup: Estimate | None = None
    """The time in float over that of the pruned one."""
    int8_speedup: Estimate | None = None
    """The same of both in int8."""
    failure: str | None = None

    @property
    def promise(self) -> float:
        """The speedup if time went with operations."""
        return 1 / self.flops

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        made = {
            name: {**asdict(one), "metrics": [metric.model_dump() for metric in one.metrics]}
            for name, one in self.made.items()
        }
        return {**asdict(self), "made": made}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` was called on."""
        speedups = {
            name: content[name] and Estimate(**content[name])
            for name in ("speedup", "int8_speedup")
        }
        made = {name: Made.from_json(one) for name, one in content["made"].items()}
        return cls(**{**content, **speedups, "made": made})

    def __str__(self) -> str:
        """Return one line for people."""
        what = f"{self.model} {self.case}: "
        if self.speedup is None or self.int8_speedup is None:
            return what + str(self.failure)
        return (
            f"{what}promised {self.promise:.2f}, in float {self.speedup.median:.2f}, in int8 "
            f"{self.int8_speedup.median:.2f}; {self.loss}"
        )


@dataclass(frozen=True, slots=True)
class SpeedPlan:
    """How to compare."""

    samples: int
    """Calibration feeds at most."""
    threads: int
    deciding: float
    """Seconds that pruning and quantizing may take to decide, each."""
    timing: Plan
    """Also how to tune."""


def measure_speed(
    cases: Mapping[str, Case], plan: SpeedPlan, zoo: Zoo, partial: Partial
) -> Iterator[SpeedRow]:
    """Compile each four times, and time; what is kept in `partial` is not done again."""

    def row(case: Case) -> SpeedRow:
        with tempfile.TemporaryDirectory(prefix="burnish-prune-") as scratch:
            try:
                return _row(case, plan, zoo, Path(scratch))
            except (CommandFailed, EngineFailed, BurnishError) as failure:
                return SpeedRow(case.model, case.label, plan.threads, failure=str(failure))

    return partial.each("prune-speed", cases, SpeedRow, row)


def _row(case: Case, plan: SpeedPlan, zoo: Zoo, folder: Path) -> SpeedRow:
    model, samples = case.locate(zoo, folder), folder / "samples"
    write(samples, islice(case.samples(), plan.samples))
    artifacts = {name: folder / name.replace(" ", "-") for name in WAYS}
    said = {
        name: make(model, path, _options(case, plan, samples, WAYS[name]), limit=LIMIT)
        for name, path in artifacts.items()
    }
    blocks = timed(artifacts, plan.threads, plan.timing)
    metrics = _metrics(case, plan, model, artifacts)
    made = {
        name: Made(
            round(said[name]["seconds"], 1), said[name]["peak"], (path / WEIGHTS).stat().st_size,
            seconds(blocks[name]), _integers(said[name]), metrics.get(name, []),
        )
        for name, path in artifacts.items()
    }  # fmt: skip
    pruning = said[PRUNED]["pruning"]
    flops, weights = pruning["flops"], pruning["weight_bytes"]
    return SpeedRow(
        case.model, case.label, plan.threads, flops["after"] / flops["before"], weights["before"],
        pruning["loss"], made, ratio(blocks[PLAIN], blocks[PRUNED]),
        ratio(blocks[INT8], blocks[BOTH]),
    )  # fmt: skip


def _integers(said: Mapping[str, Any]) -> int:
    """Layers that a command quantized."""
    return sum(not one["reason"] for one in said.get("quantization", {}).get("layers", ()))


def _options(case: Case, plan: SpeedPlan, samples: Path, asked: tuple[str, ...]) -> list[str]:
    options = ["--threads", str(plan.threads), *asked]
    options += ["--tune", plan.timing.tune] if plan.timing.tune else []
    deciding = ["--calibration", str(samples), "--time", f"{plan.deciding:g}"]
    options += deciding if asked else []
    tasks = case.task.input_shapes if case.task is not None else ()
    return [*options, *(part for each in (case.shapes, *tasks) for part in shape_options(each))]


def _metrics(
    case: Case, plan: SpeedPlan, model: Path, artifacts: Mapping[str, Path]
) -> dict[str, list[Metric]]:
    """What the case's task says of each artifact, if there is one."""
    if case.task is None:
        return {}
    inputs = burnish.load(model).inputs
    scores = {
        name: scores_of(case.task, "burnish", path, plan.threads, inputs)
        for name, path in artifacts.items()
    }
    return {
        name: describe_metrics(one, None if name == PLAIN else scores[PLAIN])
        for name, one in scores.items()
    }
