"""Running results against the original: what budgets about speed and accuracy need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from burnish.bench.client import Engine, EngineFailed
from burnish.bench.document import Metric
from burnish.bench.environment import machine_to_ourselves
from burnish.bench.paired import describe_metrics
from burnish.bench.scoring import scores_of
from burnish.bench.stats import Estimate
from burnish.bench.task import Task
from burnish.bench.timing import Plan, alternate, fastest_ratio, ratio
from burnish.errors import GateFailed
from burnish.ir import Graph
from burnish.verification import Disagreement, Feeds, Reference

SECONDS = Plan(blocks=20, seconds=0.1)
"""How long two results are timed against each other."""


@dataclass(frozen=True)
class Contender:
    """A model as an engine takes it."""

    engine: str
    """``burnish`` for an artifact, ``ort`` for ONNX in ONNX Runtime at its best."""
    path: Path
    is_quantized: bool = False
    """Whether it is to answer as the quantized graph does, and not as the original."""

    def __str__(self) -> str:
        return f"{self.path.name} in {'ONNX Runtime' if self.engine == 'ort' else 'burnish'}"


@dataclass(frozen=True)
class Ring:
    """Where the results of one job run against each other: on the original's inputs."""

    graph: Graph
    """What results in float are to answer as: the original, or what pruning left of it."""
    source: Path
    """The file of the original."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of the inputs that it leaves open."""
    threads: int
    tolerance: float
    """How far an output may be off, relative to its largest value."""
    samples: Sequence[Feeds] | None = None
    """Inputs to compare on and to time, the first of all or of each shape; None for random ones."""
    quantized: Graph | None = None
    """What quantized results were made from. How far it is from the original is judged before, as
    it is of what is pruned."""
    is_narrowed: bool = False
    """Whether quantized results, too, are rounded as far as the tolerance allows."""

    @cached_property
    def reference(self) -> Reference:
        """What results in float are to answer."""
        return Reference(self.graph, self.samples, self.shapes or None)

    @cached_property
    def rounded(self) -> Reference:
        """What the quantized graph answers to the same inputs."""
        assert self.quantized is not None  # there are no quantized results without
        return Reference(self.quantized, self.reference.feeds)

    @property
    def baseline(self) -> Contender:
        """The baseline: ONNX Runtime at its best."""
        return Contender("ort", self.source)

    def speedup(self, contender: Contender) -> Estimate:
        """The baseline's time over that of ``contender``."""
        return self.ratio(self.baseline, contender)

    def ratio(self, one: Contender, other: Contender) -> Estimate:
        """The time of ``one`` over that of ``other``, in blocks that alternate.

        Raises:
            GateFailed: an engine fails, or answers something else than it has to; what is wrong
                is not timed.
        """
        ((found, _),) = self._ratios(one, other, self.reference.feeds[:1])
        return found

    def least_ratio(self, one: Contender, other: Contender) -> Estimate:
        """The same at those input shapes, of all that there are samples of, where it is least.

        The interval takes in what the fastest runs say: where other work disturbs the machine, the
        longer of two programs is disturbed more often.

        Raises:
            GateFailed: as of `ratio`.
        """
        first: dict[Any, Feeds] = {}
        for feeds in self.reference.feeds:
            first.setdefault(tuple(array.shape for array in feeds.values()), feeds)
        found = [
            replace(each, low=min(each.low, fastest), high=max(each.high, fastest))
            for each, fastest in self._ratios(one, other, list(first.values()))
        ]
        return min(found, key=lambda ratio: ratio.low)

    def _ratios(
        self, one: Contender, other: Contender, inputs: Sequence[Feeds]
    ) -> Sequence[tuple[Estimate, float]]:
        """A ratio for each of ``inputs``, of medians and of the fastest runs."""
        found = []
        with ExitStack() as stack:
            stack.enter_context(machine_to_ourselves())
            engines = {}
            for name, each in (("one", one), ("other", other)):
                engines[name] = stack.enter_context(Engine(each.engine))
                self._ready(engines[name], each)
            for feeds in inputs:
                for engine in engines.values():
                    engine.feed(feeds)
                blocks = alternate(engines, SECONDS, "other")
                pair = blocks["one"], blocks["other"]
                found.append((ratio(*pair), fastest_ratio(*pair)))
        return found

    def _ready(self, engine: Engine, contender: Contender) -> None:
        """Load and check."""

        def answer(feeds: Feeds) -> Mapping[str, Any]:
            engine.feed(feeds)
            return engine.outputs()

        try:
            engine.load(contender.path, self.threads)
            wrong = self._wrong(answer, is_quantized=contender.is_quantized)
        except EngineFailed as failure:
            raise GateFailed(f"{contender} cannot be timed: {failure}") from failure
        if wrong:
            raise GateFailed(f"{contender} is not timed: {wrong}")

    def _wrong(self, answer: Callable[[Feeds], Mapping[str, Any]], *, is_quantized: bool) -> str:
        """What is wrong with answers, empty if nothing is."""
        if is_quantized and not self.is_narrowed:
            try:
                self.rounded.check_compiled(answer)
            except Disagreement as disagreement:
                return str(disagreement)
            return ""
        reference = self.rounded if is_quantized else self.reference
        for name, error in reference.errors_of(answer).items():
            if not error <= self.tolerance:
                return (
                    f"it is wrong: output {name!r} is off by {error:.1e} of its largest value, "
                    f"where {self.tolerance:.1e} is allowed"
                )
        return ""

    def metrics(self, task: Task, contender: Contender) -> list[Metric]:
        """What the task says of a result, and how it differs from the original on the same items.

        Raises:
            TaskFailed: the task cannot score one of them, or feeds what the model does not take.
            UnsupportedModel: one of them does not run on what the task feeds it.
        """
        before, after = (
            scores_of(task, one.engine, one.path, self.threads, self.graph.inputs)
            for one in (self.baseline, contender)
        )
        return describe_metrics(after, before)
