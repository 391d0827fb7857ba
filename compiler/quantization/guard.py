"""What holds a quantized model to its bound: a task's metric, or the distance to the original."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Protocol

from burnish.bench.paired import paired_difference
from burnish.bench.scoring import scores_of
from burnish.bench.task import Scores, Task
from burnish.calibration.store import Calibration
from burnish.gates import drop_in_points
from burnish.ir import Graph
from burnish.oracle import Oracle
from burnish.quantization.distance import Answers, Distance, farthest
from burnish.source import save
from burnish.verification import Feeds

GUARDED, PROBED = 64, 16
"""Samples that a result is compared on, and that layers are compared on one at a time."""


@dataclass(frozen=True)
class Loss:
    """What a quantized model loses."""

    share: float
    """Of what is allowed: above 1 it is too much."""
    text: str
    """In words, with the unit."""

    @property
    def holds(self) -> bool:
        """Whether it keeps to the bound."""
        return self.share <= 1


class Guard(Protocol):
    """Says what a quantized graph loses."""

    def loss(self, graph: Graph) -> Loss:
        """Run ``graph`` and compare it with the original."""

    @property
    def bound(self) -> str:
        """What is allowed, in words."""


class DistanceGuard:
    """Compares with what the original answers on calibration data."""

    bound = "0.02 nats of divergence for distributions, 20 dB of signal to noise elsewhere"

    def __init__(self, graph: Graph, calibration: Calibration, samples: int = GUARDED) -> None:
        """Run the original.

        Args:
            graph: the original.
            calibration: the data.
            samples: the last so many are compared on.
        """
        feeds = list(calibration.feeds(graph))
        self._feeds: Sequence[Feeds] = feeds[-samples:]
        self._expected: Answers = self._answers(graph)

    def _answers(self, graph: Graph) -> Answers:
        oracle = Oracle(graph)
        return [oracle.run(feeds) for feeds in self._feeds]

    def distance(self, graph: Graph) -> Distance | None:
        """The output that is farthest away."""
        return farthest(self._expected, self._answers(graph))

    def loss(self, graph: Graph) -> Loss:
        """The share that the farthest output takes of what it is allowed."""
        found = self.distance(graph)
        return Loss(0.0, "no float output") if found is None else Loss(found.share, str(found))


class TaskGuard:
    """Scores on a task with labels, item by item against the original."""

    def __init__(self, graph: Graph, task: Task, allowed: float, threads: int) -> None:
        """Take the task.

        Args:
            graph: the original.
            task: it scores both.
            allowed: points of its first metric that may be lost.
            threads: of ONNX Runtime, which runs both.
        """
        self._graph, self._task = graph, task
        self._allowed, self._threads = allowed, threads

    @property
    def bound(self) -> str:
        """What is allowed, in words."""
        return f"{self._allowed:g} points of {self._task.name}"

    def loss(self, graph: Graph) -> Loss:
        """Points lost, as a share of those allowed."""
        before = self._before
        drop, low, high = drop_in_points(
            paired_difference(before, self._scores(graph)),
            higher_is_better=before.higher_is_better,
        )
        share = drop / self._allowed if self._allowed else (2.0 if drop > 0 else 0.0)
        return Loss(share, f"{drop:.2f} points [{low:.2f}, {high:.2f}]")

    @cached_property
    def _before(self) -> Scores:
        return self._scores(self._graph)

    def _scores(self, graph: Graph) -> Scores:
        with tempfile.TemporaryDirectory(prefix="burnish-guard-") as folder:
            path = Path(folder, "model.onnx")
            save(graph, path)
            scores = scores_of(self._task, "ort", path, self._threads, self._graph.inputs)
        return next(iter(scores.values()))


def some(calibration: Calibration, graph: Graph, count: int) -> list[Feeds]:
    """The first ``count`` samples."""
    return list(islice(calibration.feeds(graph), count))


Attempt = Callable[[Sequence[str]], Graph]
"""Quantizes all layers but those that are named."""
