"""What is timed: variants as an engine loads them, checked, with all figures but latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.analysis.cost import node_flops
from burnish.bench.builders import Builder, Built, Sizes
from burnish.bench.client import Engine, EngineFailed
from burnish.bench.document import Fidelity, Variant
from burnish.bench.fidelity import fidelity
from burnish.bench.variants import Form
from burnish.census import count_operators
from burnish.errors import BurnishError
from burnish.ir import DType, Graph
from burnish.optimization import infer
from burnish.oracle import Numerics, compare
from burnish.verification import Reference

FLOATS = frozenset({DType.DOUBLE, DType.FLOAT, DType.FLOAT16, DType.BFLOAT16})


@dataclass(frozen=True)
class Seating:
    """How to start a process that runs something on the inputs that are timed."""

    loader: str
    path: Path
    threads: int
    shapes: Mapping[str, tuple[int, ...]]
    options: Mapping[str, Any] = field(default_factory=dict)
    python: Path | None = None

    def start(self, feeds: Mapping[str, Any]) -> Engine:
        """Start it, loaded and fed.

        Raises:
            EngineFailed: the engine refuses the model or the inputs.
        """
        engine = Engine(self.loader) if self.python is None else Engine(self.loader, self.python)
        try:
            engine.load(self.path, self.threads, self.shapes, **self.options)
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


class NotEquivalent(Exception):
    """Outputs differ from the original's by more than another rounding."""


def check(seating: Seating, reference: Reference, numerics: Numerics) -> Checked:
    """Compare what a process answers with the original on all inputs.

    Raises:
        EngineFailed: it fails.
        NotEquivalent: it is wrong.
    """
    with seating.start(reference.feeds[0]) as engine:
        answers = []
        for feeds, expected in zip(reference.feeds, reference.expected, strict=True):
            engine.feed(feeds)
            answers.append(engine.outputs())
            comparison = compare(expected, answers[-1], numerics)
            if not comparison:
                raise NotEquivalent(f"not equivalent, so not timed: {comparison}")
        resident = engine.resident()
        again = engine.load(seating.path, seating.threads, seating.shapes, **seating.options)
        return Checked(fidelity(reference.expected, answers), resident, again)


@dataclass
class Subject:
    """A variant, as far as it could be made."""

    form: Form
    figures: dict[str, Any] = field(default_factory=dict)
    """Fields of the variant in the document."""
    built: Built | None = None
    resident: int = 0
    failure: str | None = None

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
            checked = check(self.seating(built), self.reference, numerics)
        except (BurnishError, EngineFailed, NotEquivalent) as failure:
            subject.failure = str(failure)
            return subject
        subject.figures["fidelity"] = checked.fidelity
        if built.seconds is None:
            subject.figures["compile_seconds"] = checked.loading
        subject.resident = checked.resident
        return subject

    def seating(self, built: Built) -> Seating:
        """How to start a process for it."""
        return Seating(self.builder.loader, built.path, self.threads, self.shapes)


def describe(graph: Graph) -> dict[str, Any]:
    """Figures that follow from a graph alone."""
    constants = [value.constant for value in graph.constants() if value.constant is not None]
    return {
        "operators": count_operators(graph),
        "parameters": sum(each.size for each in constants if each.dtype in FLOATS),
        "constant_bytes": sum(each.nbytes for each in constants),
        "flops": flops(graph),
    }


def flops(graph: Graph) -> float | None:
    """Operations of all operators whose shapes are known; None if there is none."""
    known = [node_flops(node) for node in infer(graph).walk()]
    counted = [each for each in known if each is not None]
    return float(sum(counted)) if counted else None
