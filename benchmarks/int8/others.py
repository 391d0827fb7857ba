"""Models that others quantized: compiled as they are, compared with ONNX Runtime, then timed.

A number that is computed in floats and then rounded to eight bits falls to either side of a tie by
how its sum was rounded, and how far one such step moves the output is a property of the model. So
ONNX Runtime is compared with itself as well: with no optimizations, with what the model quantizes
moved by a hair (`burnish.oracle.ties`), and in another version, if one is at hand. Where it is less
than `LEAST` decibels from itself no engine can be asked for more, and an artifact is right that is
as near.

On x86 without VNNI its products of unsigned by signed bytes saturate: there it is given the same
weights as unsigned ones.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np

import burnish
from benchmarks.cache import Zoo
from benchmarks.compiling import CommandFailed, compile_artifact
from benchmarks.inputs import draw_feeds
from benchmarks.int8 import quantizers
from benchmarks.int8.accuracy import TRANSFORMERS
from benchmarks.int8.quantizers import QuantizerFailed
from benchmarks.int8.samples import FIRST_SEED, write
from benchmarks.latency import US, Versus, figures_of
from benchmarks.partial import Partial
from benchmarks.plan import Plan
from benchmarks.tasks.table import JUDGED
from benchmarks.zoo import find
from burnish.bench.client import Engine, EngineFailed
from burnish.bench.environment import machine_to_ourselves
from burnish.bench.stats import Estimate
from burnish.bench.task import Feeds
from burnish.bench.timing import alternate
from burnish.oracle.exact_products import exact_products
from burnish.oracle.ties import moved
from burnish.quantization.distance import Distance, farthest

MODELS = (
    "fashion-cnn", "fashion-vit", "magika", "ppocr-v4-rec", "mobilenet-v2-torchscript",
    "deit-tiny-dynamo", "minilm-torchscript", "resnet-50-dynamo", "ppocr-v4-det",
)  # fmt: skip
KINDS = ("qdq", "qoperator", "dynamic", "nncf")
"""ONNX Runtime's quantizer in its three formats, and NNCF's."""
FORMS = ("ort", "oracle")
"""ONNX Runtime as anybody runs it, and without optimizations."""
LEAST = 30.0
"""Decibels of signal over noise that are asked for."""
AGREEMENT = 0.99
"""Share of equal classes that is asked for."""
UP = 0
"""The way of the four in which everything is moved up."""
MOVED = "moved"
"""ONNX Runtime as anybody runs it, on the model whose ties are moved."""
ANOTHER = "another"
"""Another version of ONNX Runtime."""
ITSELF = ("oracle", MOVED, ANOTHER)
"""What ONNX Runtime as anybody runs it is compared with, itself."""
CHANCE = 1.0
"""Decibels less than to itself that are put down to chance: a quarter more noise."""


@dataclass(frozen=True, slots=True)
class OthersPlan:
    """How to compare."""

    samples: int
    """Calibration feeds."""
    compared: int
    """Other feeds, which outputs are compared on."""
    threads: int
    timing: Plan
    """Also how to tune; nothing is timed in no blocks."""
    python: Path | None
    """An interpreter that has NNCF, if one was found."""
    another: Path | None = None
    """One that has another version of ONNX Runtime."""


@dataclass(frozen=True, slots=True)
class Near:
    """How near two engines are, in the output that is farthest off."""

    sqnr: float
    """Signal over noise in decibels; `EQUAL` where all bits are the same, and of integers."""
    agreement: float | None
    """Share of equal classes, or of equal integers where no output is float; None elsewhere."""

    @property
    def holds(self) -> bool:
        """Whether this is what is asked for."""
        return self.sqnr >= LEAST and (self.agreement is None or self.agreement >= AGREEMENT)


COARSE = 0.25
"""What the sum of probabilities of eight bits may be off by: 64 steps of a 256th."""
EQUAL = 999.0
"""Stands for infinitely many decibels, which JSON has no number for."""


@dataclass(frozen=True, slots=True)
class OthersRow:
    """What came of one model by one quantizer."""

    model: str
    kind: str
    compile_seconds: float | None = None
    native_share: float | None = None
    near: Mapping[str, Near] = field(default_factory=dict)
    """Our artifact to each form of ONNX Runtime."""
    itself: Mapping[str, Near] = field(default_factory=dict)
    """ONNX Runtime without optimizations, with ties moved, and in another version that runs the
    model, to itself as anybody runs it."""
    burnish: Estimate | None = None
    """Seconds per run."""
    versus: Versus | None = None
    """ONNX Runtime on the same quantized model, with all optimizations."""
    failure: str | None = None

    @property
    def is_right(self) -> bool:
        """Whether the artifact answers as ONNX Runtime does, as far as that is defined."""
        if not self.itself or not self.near:
            return False
        if any(one.holds for one in self.near.values()):
            return True
        defined = min(one.sqnr for one in self.itself.values())
        agreed = [one.agreement for one in self.itself.values() if one.agreement is not None]
        least = min([AGREEMENT, *agreed])
        return any(
            one.sqnr >= defined - CHANCE and (one.agreement is None or one.agreement >= least)
            for one in self.near.values()
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` was called on."""
        near, itself = (
            {name: Near(**one) for name, one in content[key].items()} for key in ("near", "itself")
        )
        time, versus = content["burnish"], content["versus"]
        return cls(**{
            **content, "near": near, "itself": itself,
            "burnish": time and Estimate(**time), "versus": versus and Versus.from_json(versus),
        })  # fmt: skip

    def __str__(self) -> str:
        """Return one line for people."""
        what = f"{self.model} {self.kind}: "
        if self.failure is not None:
            return what + self.failure
        found = [f"{one.sqnr:.1f} dB to {name}" for name, one in self.near.items()]
        found += [f"{one.sqnr:.1f} dB of {name} to ort" for name, one in self.itself.items()]
        if self.versus is not None:
            found.append(f"ort takes {self.versus.ratio.median:.2f}")
        return f"{what}{100 * (self.native_share or 0):.0f} % native, {', '.join(found)}"


def measure_others(
    models: Sequence[str], kinds: Sequence[str], plan: OthersPlan, zoo: Zoo, partial: Partial
) -> Iterator[OthersRow]:
    """Quantize, compile, compare and time; what is kept in `partial` is not done again."""
    items = {f"{model}-{kind}": (model, kind) for model in models for kind in kinds}

    def row(item: tuple[str, str]) -> OthersRow:
        with tempfile.TemporaryDirectory(prefix="burnish-int8-") as scratch:
            try:
                return _row(*item, plan, zoo, Path(scratch))
            except (CommandFailed, EngineFailed, QuantizerFailed) as failure:
                return OthersRow(*item, failure=str(failure))

    return partial.each("int8-others", items, OthersRow, row)


HELD = 4
"""One of so many feeds of a task's calibration split is compared on, at most."""


@dataclass(frozen=True, slots=True)
class Material:
    """A model, and what to feed it with."""

    path: Path
    calibration: Sequence[Feeds]
    compared: Sequence[Feeds]
    """All of the same shapes."""


def material(name: str, samples: int, compared: int, zoo: Zoo) -> Material:
    """A model with feeds of its task if it has one, else drawn ones; none is in both lists.

    Raises:
        KeyError: there is no such model.
        ZooError: it cannot be built.
    """
    judged = JUDGED.get(name)
    if judged is not None:
        shapes = dict(judged.task.input_shapes[0])
        every = list(judged.task.calibration())
        fitting = [number for number, feeds in enumerate(every) if _shapes(feeds) == shapes]
        held = set(fitting[-min(compared, max(1, len(fitting) // HELD)) :])
        first = [feeds for number, feeds in enumerate(every) if number not in held]
        return Material(judged.locate(zoo), first[:samples], [every[i] for i in sorted(held)])
    model = find(name)
    case = model.cases[0]
    drawn = (draw_feeds(model.inputs, case, FIRST_SEED + n) for n in range(samples + compared))
    if not zoo.is_built(model):
        zoo.build(model)
    return Material(zoo.path(model), list(islice(drawn, samples)), list(drawn))


def _shapes(feeds: Feeds) -> dict[str, tuple[int, ...]]:
    return {name: tuple(array.shape) for name, array in feeds.items()}


def quantize(
    kind: str, name: str, path: Path, samples: Path, output: Path, python: Path | None
) -> None:
    """Have another quantizer write a model of integers.

    Raises:
        QuantizerFailed: it cannot.
    """
    makers: dict[str, Callable[[], None]] = {
        "qdq": lambda: quantizers.onnx_runtime(path, samples, output),
        "qoperator": lambda: quantizers.onnx_runtime(path, samples, output, operators=True),
        "dynamic": lambda: quantizers.onnx_runtime_dynamic(path, output),
    }
    if kind in makers:
        makers[kind]()
        return
    if python is None:
        raise QuantizerFailed("no interpreter here has NNCF")
    quantizers.nncf(python, path, samples, output, transformer=name in TRANSFORMERS)


def _row(name: str, kind: str, plan: OthersPlan, zoo: Zoo, folder: Path) -> OthersRow:
    found = material(name, plan.samples, plan.compared, zoo)
    quantized, artifact = folder / "quantized.onnx", folder / "artifact"
    write(folder / "samples", iter(found.calibration))
    quantize(kind, name, found.path, folder / "samples", quantized, plan.python)
    shapes = _shapes(found.compared[0])
    started = time.perf_counter()
    compiled = compile_artifact(
        quantized, artifact, shapes, threads=plan.threads, tune=plan.timing.tune
    )
    taken = round(time.perf_counter() - started, 1)
    row = OthersRow(name, kind, taken, compiled.native_share)
    graph = exact_products(burnish.load(quantized), fused=True)
    burnish.save(graph, folder / "exact.onnx")
    burnish.save(moved(graph, UP), folder / "moved.onnx")
    with ExitStack() as stack:
        engines = _engines(stack, plan, folder, shapes)
        answers = {
            key: [_answer(engine, feeds) for feeds in found.compared]
            for key, engine in engines.items()
        }
        row = replace(
            row,
            near={key: near(answers[key], answers[US]) for key in FORMS},
            itself={key: near(answers["ort"], answers[key]) for key in ITSELF if key in answers},
        )
        if not row.is_right or not plan.timing.blocks:
            return row
        timed = {key: engines[key] for key in (US, "ort")}
        with machine_to_ourselves():
            figures = figures_of(alternate(timed, plan.timing, US))
        return replace(row, burnish=figures.burnish, versus=figures.peers["ort"])


def _engines(
    stack: ExitStack, plan: OthersPlan, folder: Path, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Engine]:
    """Our artifact and ONNX Runtime in all forms, with their models loaded.

    Raises:
        EngineFailed: one of them cannot load its model, unless it is of another version.
    """
    exact, python = folder / "exact.onnx", Path(sys.executable)
    places = {
        US: (US, folder / "artifact", python),
        **{form: (form, exact, python) for form in FORMS},
        MOVED: ("ort", folder / "moved.onnx", python),
    }
    if plan.another is not None:
        places[ANOTHER] = ("ort", exact, plan.another)
    engines: dict[str, Engine] = {}
    for key, (name, path, interpreter) in places.items():
        engine = stack.enter_context(Engine(name, interpreter))
        try:
            engine.load(path, plan.threads, shapes)
        except EngineFailed:
            if key != ANOTHER:
                raise
            continue
        engines[key] = engine
    return engines


def _answer(engine: Engine, feeds: Feeds) -> Mapping[str, Any]:
    engine.feed(feeds)
    return engine.outputs()


def near(expected: Sequence[Mapping[str, Any]], actual: Sequence[Mapping[str, Any]]) -> Near:
    """How near two engines' answers to the same feeds are, in the output farthest off."""
    distance: Distance | None = farthest(expected, actual)
    if distance is None:
        return Near(EQUAL, None)
    if distance.differing is not None:
        return Near(EQUAL, 1 - distance.differing)
    agreement = distance.agreement
    if agreement is None:
        agreement = _coarse_agreement(expected, actual, distance.output)
    return Near(round(min(distance.sqnr, EQUAL), 1), agreement)


def _coarse_agreement(
    expected: Sequence[Mapping[str, Any]], actual: Sequence[Mapping[str, Any]], output: str
) -> float | None:
    """Share of equal classes of probabilities that are quantized themselves, else None.

    Rounded to eight bits they add up to one only roughly, as many small ones are lost.
    """
    same: list[Any] = []
    for want, have in zip((a[output] for a in expected), (a[output] for a in actual), strict=True):
        if want.ndim < 2 or want.shape[-1] < 2 or want.shape != have.shape:
            return None
        sums = want.sum(axis=-1, dtype=np.float64)
        if not np.all((want.min(axis=-1) >= 0) & (np.abs(sums - 1) <= COARSE)):
            return None
        same.append((want.argmax(axis=-1) == have.argmax(axis=-1)).ravel())
    joined = np.concatenate(same)
    return float(joined.mean()) if joined.size else None
