"""What is timed: variants as an engine loads them, checked, with all figures but latency."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from burnish.analysis.cost import node_flops
from burnish.bench.builders import Builder, Built, Sizes
from burnish.bench.client import Engine, EngineFailed
from burnish.bench.document import Fidelity, Variant
from burnish.bench.fidelity import Answers, fidelity
from burnish.bench.methods import item_distances
from burnish.bench.task import Scores
from burnish.bench.variants import Form
from burnish.census import count_operators
from burnish.errors import BurnishError
from burnish.ir import DType, Graph, OperatorNode, VariableNode
from burnish.optimization import infer
from burnish.oracle import Numerics, compare
from burnish.quantization.distance import DIVERGENCE, NOISE, farthest
from burnish.verification import Reference

LOSSY_LIMIT = 10.0
"""Times by which a lossy variant may exceed what quantization is held to by default."""
LIMIT = (
    f"{LOSSY_LIMIT * DIVERGENCE:g} nats of divergence for distributions, "
    f"{-10 * math.log10(LOSSY_LIMIT * NOISE):.0f} dB of signal to noise elsewhere"
)
"""The same in words."""
FLOATS = frozenset({DType.DOUBLE, DType.FLOAT, DType.FLOAT16, DType.BFLOAT16})
BYTES = frozenset({DType.INT4, DType.UINT4, DType.INT8, DType.UINT8})
CONVERSIONS = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True)
class Seating:
    """How to start a process that runs something on the inputs that are timed."""

    loader: str
    path: Path
    threads: int
    shapes: Mapping[str, tuple[int, ...]]
    options: Mapping[str, Any] = field(default_factory=dict)
    python: Path | None = None

    def engine(self) -> Engine:
        """A process of the engine that has loaded nothing yet."""
        return Engine(self.loader) if self.python is None else Engine(self.loader, self.python)

    def load(self, engine: Engine) -> float:
        """Let a process load it; return how many seconds that took.

        Raises:
            EngineFailed: the engine refuses it.
        """
        return engine.load(self.path, self.threads, self.shapes, **self.options)

    def start(self, feeds: Mapping[str, Any]) -> Engine:
        """Start it, loaded and fed.

        Raises:
            EngineFailed: the engine refuses the model or the inputs.
        """
        engine = self.engine()
        try:
            self.load(engine)
            engine.feed(feeds)
        except BaseException:
            engine.end()
            raise
        return engine


@dataclass(frozen=True)
class Checked:
    """What a process answered that agrees with the original, and what it took."""

    fidelity: list[Fidelity]
    resident: int
    """Bytes of the process after its runs."""
    loading: float
    """Seconds of loading it again, when the engine itself was loaded already."""
    distances: Mapping[str, Scores] = field(default_factory=dict)
    """To the original input by input, where it may be another function."""


class NotEquivalent(Exception):
    """Outputs differ from the original's by more than another rounding."""

    def __init__(self, message: str, distance: Sequence[Fidelity] = ()) -> None:
        super().__init__(message)
        self.fidelity = [each for each in distance if math.isfinite(each.error)]
        """Of the outputs that can be compared at all."""


class Keeper:
    """A process that is kept while the same engine loads one thing after another."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._of: tuple[str, Path | None] | None = None

    def __enter__(self) -> Self:
        """Return itself; a process is started when one is asked for."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.end()

    def end(self) -> None:
        """End the process; the next that asks starts another."""
        if self._engine is not None:
            self._engine.end()
        self._engine = None

    def load(self, seating: Seating) -> tuple[Engine, float]:
        """The process with what ``seating`` names loaded, and the seconds that that took.

        Raises:
            EngineFailed: the engine refuses it; its process has ended then.
        """
        of = seating.loader, seating.python
        if self._engine is None or self._of != of:
            self.end()
            self._engine, self._of = seating.engine(), of
        return self._engine, seating.load(self._engine)


def check(seating: Seating, reference: Reference, numerics: Numerics, keeper: Keeper) -> Checked:
    """Compare what a process answers with the original on all inputs.

    Raises:
        EngineFailed: it fails.
        NotEquivalent: it is wrong.
    """
    try:
        engine, _ = keeper.load(seating)
        answers = []
        runs = zip(reference.feeds, reference.expected, strict=True)
        for number, (feeds, expected) in enumerate(runs):
            engine.feed(feeds)
            answers.append(engine.outputs())
            comparison = compare(expected, answers[-1], numerics)
            if not comparison:
                comparison = compare(expected, reference.settled(number, answers[-1]), numerics)
            if not comparison:
                distance = fidelity(reference.expected[: len(answers)], answers)
                raise NotEquivalent(f"not equivalent, so not timed: {comparison}", distance)
        if numerics is Numerics.LOSSY:
            require_near(reference.expected, answers)
        resident = engine.resident()
        _, again = keeper.load(seating)
    except EngineFailed:
        # Nobody knows in what state it is.
        keeper.end()
        raise
    distances = item_distances(reference.expected, answers) if numerics is Numerics.LOSSY else {}
    return Checked(fidelity(reference.expected, answers), resident, again, distances)


def require_near(expected: Answers, answers: Answers) -> None:
    """Refuse what is further from the original than a lossy pass may go and still be timed.

    Raises:
        NotEquivalent: it is: what is so wrong may be fast for that.
    """
    found = farthest(expected, answers)
    if found is not None and not found.share <= LOSSY_LIMIT:
        raise NotEquivalent(
            f"too far from the original to be timed: {found.output} has {found}, where {LIMIT} "
            "are allowed", fidelity(expected, answers),
        )  # fmt: skip


@dataclass
class Subject:
    """A variant, as far as it could be made."""

    form: Form
    figures: dict[str, Any] = field(default_factory=dict)
    """Fields of the variant in the document."""
    built: Built | None = None
    resident: int = 0
    failure: str | None = None
    distances: Mapping[str, Scores] = field(default_factory=dict)
    """To the original input by input, where it may be another function."""

    def as_variant(self, **timing: Any) -> Variant:
        """Describe it in the document."""
        start = {"operators": 0, "parameters": 0, "constant_bytes": 0}
        return Variant(
            id=self.form.id, passes=self.form.passes,
            **{**start, "failure": self.failure, **self.figures, **timing},
        )  # fmt: skip


@dataclass
class Workshop:
    """Makes and checks variants."""

    builder: Builder
    reference: Reference
    threads: int
    shapes: Mapping[str, tuple[int, ...]]
    keeper: Keeper
    sizes: Sizes = field(default_factory=Sizes)

    def make(self, form: Form, graph: Graph | None, numerics: Numerics) -> Subject:
        """Build a variant and compare it with the original; a failure is part of the result."""
        subject = Subject(form, failure=form.failure)
        if graph is None:
            return subject
        subject.figures = describe(graph)
        try:
            subject.built = built = self.builder.build(graph, form.id)
            raw, compressed = self.sizes.of(built.files)
            subject.figures |= {
                "compile_seconds": built.seconds, "artifact_bytes": raw,
                "compressed_bytes": compressed, "arena_bytes": built.arena,
            }  # fmt: skip
            checked = check(self.seating(built), self.reference, numerics, self.keeper)
        except (BurnishError, EngineFailed, NotEquivalent) as failure:
            subject.failure = str(failure)
            if isinstance(failure, NotEquivalent):
                subject.figures["fidelity"] = failure.fidelity
            return subject
        subject.figures["fidelity"] = checked.fidelity
        if built.seconds is None:
            subject.figures["compile_seconds"] = checked.loading
        subject.resident, subject.distances = checked.resident, checked.distances
        return subject

    def seating(self, built: Built) -> Seating:
        """How to start a process for it."""
        return Seating(self.builder.loader, built.path, self.threads, self.shapes)


def describe(graph: Graph) -> dict[str, Any]:
    """Figures that follow from a graph alone."""
    constants = {v: v.constant for v in graph.constants() if v.constant is not None}
    return {
        "operators": count_operators(graph),
        "parameters": sum(each.size for v, each in constants.items() if _is_learnt(v)),
        "constant_bytes": sum(each.nbytes for each in constants.values()),
        "flops": flops(graph),
    }


def _is_learnt(value: VariableNode) -> bool:
    """Whether a constant holds parameters of a model, as floats or as integers that stand for them.

    Scales and zero points say how numbers are stored, and other integers are indices and sizes.
    """
    uses = [(use.user, use.index) for use in value.uses if isinstance(use.user, OperatorNode)]
    if uses and all(user.is_op(*CONVERSIONS) and index in (1, 2) for user, index in uses):
        return False
    dequantized = any(user.is_op("DequantizeLinear") for user, _ in uses)
    return value.dtype in FLOATS | BYTES or dequantized


def flops(graph: Graph) -> float | None:
    """Operations of all operators whose shapes are known; None if there is none."""
    known = [node_flops(node) for node in infer(graph).walk()]
    counted = [each for each in known if each is not None]
    return float(sum(counted)) if counted else None
