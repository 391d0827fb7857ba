"""What holds a quantized model to its bound: a task's metric, or the distance to the original."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from burnish.bench.paired import paired_difference
from burnish.bench.scoring import scores_of
from burnish.bench.task import Scores, Task
from burnish.calibration.store import Calibration
from burnish.gates import drop_in_points
from burnish.ir import Graph
from burnish.oracle import Oracle
from burnish.oracle.exact_products import exact_products
from burnish.quantization.distance import BOUND, BOUND_OF_INTEGERS, Distance, farthest, is_float
from burnish.source import save
from burnish.verification import Feeds

GUARDED, PROBED = 64, 16
"""Samples that a result is compared on, and that layers are compared on one at a time."""
FIRST, CLEAR = 4, (0.02, 10.0)
"""Samples that layers are compared on first, and shares of what is allowed below and above which
these suffice."""
HELD_BYTES = 256 << 20
"""What samples and answers to compare with may take."""

_MOST = 1e6
"""Share of what is allowed that an error without bounds counts as: JSON knows no infinity."""


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

    @property
    def is_asked(self) -> bool:
        """Whether the user asked for this bound, so that it is an error not to keep to it."""


class DistanceGuard:
    """Compares with what the original answers on calibration data."""

    is_asked = False
    _first = 0
    """Samples that suffice where what they say is clear; 0 for all."""

    def __init__(
        self, graph: Graph, calibration: Calibration, samples: int = GUARDED,
        held: int = HELD_BYTES,
    ) -> None:  # fmt: skip
        """Run the original.

        Args:
            graph: the original.
            calibration: the data.
            samples: the last so many are compared on, or fewer:
            held: bytes that they and their answers may take together, beyond the first.
        """
        latest: deque[Feeds] = deque(maxlen=samples)
        for each in calibration.feeds(graph):
            latest.append(each)
            while len(latest) > 1 and sum(map(_bytes, latest)) > held:
                latest.popleft()
        oracle, taken = Oracle(graph, optimized=True), 0
        self._feeds: list[Feeds] = []
        self._expected: list[Mapping[str, Any]] = []
        while latest and taken <= held:
            feeds = latest.pop()
            self._feeds.append(feeds)
            self._expected.append(oracle.run(feeds))
            taken += _bytes(feeds) + _bytes(self._expected[-1])

    def fewer(self, samples: int) -> DistanceGuard:
        """The same with as many of the samples at most, and the first ones alone if they suffice.

        They do where what is lost is next to nothing, or far beyond what is allowed.
        """
        made = copy(self)
        made._feeds, made._expected = self._feeds[:samples], self._expected[:samples]
        made._first = FIRST
        return made

    @property
    def bound(self) -> str:
        """What is allowed, in words."""
        answers = (value for each in self._expected for value in each.values())
        return BOUND if any(map(is_float, answers)) else BOUND_OF_INTEGERS

    def distance(self, graph: Graph) -> Distance | None:
        """The output that is farthest away."""
        oracle, answers = Oracle(graph, optimized=True), list[Mapping[str, Any]]()
        found: Distance | None = None
        every = len(self._feeds)
        for count in sorted({min(self._first or every, every), every}):
            answers += [oracle.run(feeds) for feeds in self._feeds[len(answers) : count]]
            found = farthest(self._expected[:count], answers)
            if found is None or not CLEAR[0] < found.share < CLEAR[1]:
                break
        return found

    def loss(self, graph: Graph) -> Loss:
        """The share that the farthest output takes of what it is allowed.

        Too much where all outputs are empty, as then nothing says what is lost.
        """
        found = self.distance(graph)
        if found is None:
            return Loss(_MOST, "what cannot be told, as all outputs are empty,")
        return Loss(min(_MOST, found.share), str(found))


def _bytes(arrays: Mapping[str, Any]) -> int:
    return sum(getattr(array, "nbytes", 0) for array in arrays.values())


class TaskGuard:
    """Scores on a task with labels, item by item against the original."""

    is_asked = True

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

    def tighter(self, share: float) -> TaskGuard:
        """The same with so much of what may be lost; the original is scored once for both."""
        _ = self._before
        made = copy(self)
        made._allowed *= share
        return made

    @property
    def bound(self) -> str:
        """What is allowed, in words."""
        points = "point" if self._allowed == 1 else "points"
        return f"{self._allowed:g} {points} of {self._task.name}"

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
            save(exact_products(graph, fused=True), path)
            scores = scores_of(self._task, "ort", path, self._threads, self._graph.inputs)
        return next(iter(scores.values()))
