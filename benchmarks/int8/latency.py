"""int8 against float and against other engines' int8, in blocks that alternate in one run."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from benchmarks.cache import Zoo
from benchmarks.checking import SEEDS
from benchmarks.comparison import Disagreement
from benchmarks.compiling import CommandFailed, shape_options
from benchmarks.inputs import Case
from benchmarks.int8 import quantizers
from benchmarks.int8.accuracy import TRANSFORMERS
from benchmarks.int8.quantizers import QuantizerFailed
from benchmarks.int8.samples import of_model, write
from benchmarks.latency import Row, check_and_time
from benchmarks.partial import Partial
from benchmarks.peer_engines import OPENVINO_INT8, ORT_INT8, PLAIN
from benchmarks.plan import Plan
from benchmarks.zoo import Model, find
from burnish.bench.client import EngineFailed
from burnish.bench.environment import machine_to_ourselves
from burnish.bench.seats import ORT, PeerEngine, Seat

MODELS = (
    ("resnet-50-dynamo", "1x3x224x224"), ("mobilenet-v2-torchscript", "1x3x224x224"),
    ("minilm-torchscript", "1x128"), ("deit-tiny-dynamo", "1x3x224x224"),
    ("ppocr-v4-det", "1x3x640x640"), ("ppocr-v4-rec", "1x3x48x320"),
)  # fmt: skip
"""Models and cases that int8 is held to."""


@dataclass(frozen=True, slots=True)
class LatencyPlan:
    """How to compare."""

    samples: int
    """Calibration feeds."""
    threads: int
    timing: Plan
    python: Path | None
    """An interpreter that has NNCF and OpenVINO, if one was found."""


def chosen_cases(names: Sequence[str] | None = None) -> dict[str, tuple[Model, Case]]:
    """The cases above, or those of the models that are named, by a name of each."""
    found = {}
    for name, label in MODELS:
        if names is None or name in names:
            model = find(name)
            case = next(one for one in model.cases if one.label == label)
            found[f"{name}-{label}"] = (model, case)
    for name in names or ():
        if all(name != one for one, _ in MODELS):
            model = find(name)
            found[f"{name}-{model.cases[0].label}"] = (model, model.cases[0])
    return found


def measure_latency(
    cases: Mapping[str, tuple[Model, Case]], plan: LatencyPlan, zoo: Zoo, partial: Partial
) -> Iterator[Row]:
    """Quantize by each quantizer, check and time; what is kept in `partial` is not done again."""

    def row(item: tuple[Model, Case]) -> Row:
        try:
            return _row(*item, plan, zoo.path(item[0]))
        except (CommandFailed, EngineFailed, Disagreement) as failure:
            return Row(item[0].name, item[1].label, plan.threads, failure=str(failure))

    return partial.each("int8-latency", cases, Row, row)


def _row(model: Model, case: Case, plan: LatencyPlan, onnx: Path) -> Row:
    with tempfile.TemporaryDirectory(prefix="burnish-int8-") as scratch:
        folder = Path(scratch)
        samples, artifact = folder / "samples", folder / "int8"
        drawn = of_model(model, case, plan.samples + len(SEEDS))
        write(samples, islice(drawn, plan.samples))
        compared = list(drawn)
        shapes = shape_options(case.shapes)
        said = quantizers.ours(
            onnx, samples, artifact, [*shapes, "--threads", str(plan.threads)]
        )  # fmt: skip
        seats, missing = _seats(model, case, plan, onnx, samples, folder)
        with machine_to_ourselves():
            checked = check_and_time(
                model, case, plan.threads, plan.timing, onnx, artifact, seats, compared
            )  # fmt: skip
        found = checked.row(
            model, case, plan.threads, float(said["seconds"]), float(said["native"]["operators"])
        )
        return replace(found, untimed={**found.untimed, **missing})


def _seats(
    model: Model, case: Case, plan: LatencyPlan, onnx: Path, samples: Path, folder: Path
) -> tuple[list[Seat], dict[str, str]]:
    """Where the peers run, and why others do not."""
    made = {ORT_INT8: folder / "ort.onnx", OPENVINO_INT8: folder / "nncf.xml"}
    seats, missing = [Seat(ORT)], dict[str, str]()
    plain = folder / "float"
    quantizers.plain(onnx, plain, case.shapes, plan.threads)
    seats.append(Seat(PLAIN, path=plain))

    def make(peer: PeerEngine) -> None:
        if peer is ORT_INT8:
            quantizers.onnx_runtime(onnx, samples, made[peer])
            seats.append(Seat(peer, path=made[peer]))
        elif plan.python is None:
            raise QuantizerFailed("no interpreter here has NNCF and OpenVINO")
        else:
            transformer = model.name in TRANSFORMERS or model.name.startswith("minilm")
            quantizers.nncf(plan.python, onnx, samples, made[peer], transformer=transformer)
            seats.append(Seat(peer, plan.python, path=made[peer]))

    for peer in made:
        try:
            make(peer)
        except QuantizerFailed as failure:
            missing[peer.name] = str(failure)
    return seats, missing
