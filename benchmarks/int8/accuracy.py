"""What int8 costs on tasks with labels: ours, ONNX Runtime's and NNCF's, on the same items."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import burnish
from benchmarks.cache import Zoo
from benchmarks.compiling import CommandFailed, shape_options
from benchmarks.int8 import quantizers
from benchmarks.int8.agreement import WithAgreement
from benchmarks.int8.quantizers import QuantizerFailed
from benchmarks.int8.samples import of_task, write
from benchmarks.partial import Partial
from benchmarks.tasks.table import Judged
from burnish.bench.document import Metric
from burnish.bench.paired import describe_metrics
from burnish.bench.scoring import scores_of
from burnish.bench.task import Scores
from burnish.errors import BurnishError

FLOAT, OURS, OURS_ONNX, ORT, NNCF = "float", "burnish", "burnish-onnx", "onnxruntime", "nncf"
"""The model as it is, our artifact, our QDQ model in ONNX Runtime, and the peers' there."""
TRANSFORMERS = ("fashion-vit", "minilm-torchscript", "deit-tiny-dynamo")
"""What NNCF is told to be transformers, as it advises."""


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """What a task says of its model in float and in int8."""

    model: str
    task: str
    samples: int = 0
    metrics: Mapping[str, Sequence[Metric]] = field(default_factory=dict)
    """By variant, in the order above; those of int8 with their difference to the float model."""
    against: Mapping[str, Sequence[Metric]] = field(default_factory=dict)
    """By peer: metrics of our artifact, with their difference to the peer's model."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Variants that could not be had, and why."""
    seconds: float = 0.0
    failure: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""

        def plain(found: Mapping[str, Sequence[Metric]]) -> dict[str, Any]:
            return {name: [one.model_dump() for one in row] for name, row in found.items()}

        return {
            "model": self.model, "task": self.task, "samples": self.samples,
            "metrics": plain(self.metrics), "against": plain(self.against),
            "failures": dict(self.failures), "seconds": self.seconds, "failure": self.failure,
        }  # fmt: skip

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` was called on."""

        def models(found: Mapping[str, Any]) -> dict[str, list[Metric]]:
            return {n: [Metric.model_validate(one) for one in row] for n, row in found.items()}

        return cls(**{
            **content, "metrics": models(content["metrics"]), "against": models(content["against"]),
        })  # fmt: skip

    def __str__(self) -> str:
        """Return one line for people."""
        found = [
            f"{variant} {100 * metrics[0].difference.value:+.2f}"
            for variant, metrics in self.metrics.items()
            if metrics[0].difference is not None
        ]
        found += [f"no {name}: {why}" for name, why in self.failures.items()]
        return f"{self.model}: {self.failure or ', '.join(found)}"


@dataclass(frozen=True, slots=True)
class AccuracyPlan:
    """How to compare."""

    samples: int
    """Calibration feeds at most."""
    threads: int
    python: Path | None
    """An interpreter that has NNCF, if one was found."""


def measure_accuracy(
    judged: Mapping[str, Judged], plan: AccuracyPlan, zoo: Zoo, partial: Partial
) -> Iterator[AccuracyRow]:
    """Quantize and score every model; what is kept in `partial` is not measured again."""
    return partial.each("int8-accuracy", judged, AccuracyRow, lambda one: _row(one, plan, zoo))


def _row(judged: Judged, plan: AccuracyPlan, zoo: Zoo) -> AccuracyRow:
    started = time.perf_counter()
    task, model = WithAgreement(judged.task), judged.locate(zoo)
    inputs = burnish.load(model).inputs
    scores: dict[str, Mapping[str, Scores]] = {}
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="burnish-int8-") as scratch:
        folder = Path(scratch)
        samples = folder / "samples"
        count = write(samples, of_task(task, plan.samples))
        try:
            scores[FLOAT] = scores_of(task, "ort", model, plan.threads, inputs)
        except BurnishError as error:
            return AccuracyRow(judged.name, task.name, count, failure=str(error))
        for name, (engine, path, make) in _variants(judged, model, samples, folder, plan).items():
            try:
                make(path)
                scores[name] = scores_of(task, engine, path, plan.threads, inputs)
            except (CommandFailed, QuantizerFailed, BurnishError) as error:
                failures[name] = str(error)
    metrics = {
        name: describe_metrics(one, None if name == FLOAT else scores[FLOAT])
        for name, one in scores.items()
    }
    against = {
        name: describe_metrics(scores[OURS], scores[name])
        for name in (ORT, NNCF)
        if name in scores and OURS in scores
    }
    taken = round(time.perf_counter() - started, 1)
    return AccuracyRow(judged.name, task.name, count, metrics, against, failures, taken)


Variant = tuple[str, Path, Callable[[Path], object]]
"""The engine that runs it, where it is written, and what writes it."""


def _variants(
    judged: Judged, model: Path, samples: Path, folder: Path, plan: AccuracyPlan
) -> dict[str, Variant]:
    shapes = [part for each in judged.task.input_shapes for part in shape_options(each)]
    arguments = ["--threads", str(plan.threads), "--tune", "off", *shapes]
    found: dict[str, Variant] = {
        OURS: ("burnish", folder / "ours",
               lambda path: quantizers.ours(model, samples, path, arguments)),
        OURS_ONNX: ("ort", folder / "ours.onnx",
                    lambda path: quantizers.ours(model, samples, path)),
        ORT: ("ort", folder / "ort.onnx",
              lambda path: quantizers.onnx_runtime(model, samples, path)),
    }  # fmt: skip
    python = plan.python
    if python is not None:
        is_transformer = judged.name in TRANSFORMERS
        found[NNCF] = (
            "ort", folder / "nncf.onnx",
            lambda path: quantizers.nncf(python, model, samples, path, transformer=is_transformer),
        )  # fmt: skip
    return found
