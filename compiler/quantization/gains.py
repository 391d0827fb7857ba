"""What layers gain by integers, and which selection is the fastest: measured on this machine.

The same code is timed again and again in turns, so that what disturbs the machine hits all alike,
and of each round the fastest run counts.
"""

from __future__ import annotations

import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree

from burnish.analysis.cost import node_flops
from burnish.backends.artifact import Artifact, CallTiming, load_artifact
from burnish.backends.self_test import Tensors
from burnish.bench.environment import machine_to_ourselves
from burnish.bench.stats import Estimate, estimate_median
from burnish.compilation import Request, compile_model
from burnish.errors import GateFailed
from burnish.ir import Graph
from burnish.pipeline import Progress

ROUNDS = 8
"""How often each model has its turn."""
_SECONDS = 0.15
"""About how long a turn takes."""
_RUNS = (3, 200)
"""Fewest and most runs in a turn."""


@dataclass
class Clock:
    """Compiles graphs without tuning and times them here."""

    request: Request
    """What to compile for: the machine that this runs on."""
    progress: Progress | None = None
    _made: dict[int, tuple[Graph, Artifact]] = field(default_factory=dict)
    _room: str = ""
    _fastest: dict[int, float] = field(default_factory=dict)

    def gains(self, before: Graph, after: Graph, layers: Sequence[str]) -> dict[str, Estimate]:
        """Seconds that each layer takes less in ``after`` than in ``before``, over all rounds.

        A kernel of several layers counts for each with an equal share. One of none, such as a
        conversion, counts for the layer that ran before it, whose results it reads more often than
        not.

        Raises:
            BurnishError: one cannot be compiled.
        """
        pair = self._artifact(before), self._artifact(after)
        owners = [_owners(each, layers) for each in pair]
        rounds: dict[str, list[float]] = {name: [] for name in layers}
        with machine_to_ourselves():
            for turn in range(ROUNDS):
                order = (0, 1) if turn % 2 == 0 else (1, 0)
                times = {at: _times(pair[at], owners[at]) for at in order}
                for name, each in rounds.items():
                    each.append(times[0].get(name, 0.0) - times[1].get(name, 0.0))
        return {name: estimate_median(each) for name, each in rounds.items()}

    def speedups(self, base: Graph, others: Sequence[Graph]) -> list[Estimate]:
        """The time of ``base`` over that of each of ``others``.

        Raises:
            BurnishError: one cannot be compiled.
        """
        graphs = (base, *others)
        artifacts = [self._artifact(each) for each in graphs]
        ratios: list[list[float]] = [[] for _ in others]
        with machine_to_ourselves():
            for turn in range(ROUNDS):
                order = range(len(artifacts)) if turn % 2 == 0 else reversed(range(len(artifacts)))
                seconds = {at: _whole(artifacts[at]) for at in order}
                for at, graph in enumerate(graphs):
                    best = self._fastest.get(id(graph), seconds[at])
                    self._fastest[id(graph)] = min(best, seconds[at])
                for at, each in enumerate(ratios, 1):
                    each.append(seconds[0] / seconds[at])
        return [estimate_median(each) for each in ratios]

    def seconds(self, graph: Graph) -> float | None:
        """The fastest run of ``graph`` in all of `speedups`; None if it was in none."""
        return self._fastest.get(id(graph))

    def calls(self, graphs: Sequence[Graph]) -> list[list[tuple[tuple[str, ...], float]]]:
        """For each call of each graph, the nodes that it computes, and the seconds of its fastest.

        Raises:
            BurnishError: one cannot be compiled.
        """
        try:
            artifacts = [self._artifact(each) for each in graphs]
        except GateFailed:
            target = self.request.target
            if not target.is_host:
                raise
            # What lacks channels may answer next to nothing, of which rounding is a large share:
            # compile all alike, without self-tests.
            unchecked = replace(self.request, target=replace(target, is_host=False))
            return Clock(unchecked, self.progress).calls(graphs)
        fastest: list[list[float]] = [[] for _ in graphs]
        with machine_to_ourselves():
            for turn in range(ROUNDS):
                order = range(len(artifacts)) if turn % 2 == 0 else reversed(range(len(artifacts)))
                for at in order:
                    times = [call.fastest for call in _profile(artifacts[at])]
                    pairs = zip(times, fastest[at] or times, strict=True)
                    fastest[at] = [min(pair) for pair in pairs]
        return [
            [(spec.sources, time) for spec, time in zip(each.calls() or (), times, strict=True)]
            for each, times in zip(artifacts, fastest, strict=True)
        ]

    def _artifact(self, graph: Graph) -> Artifact:
        """The compiled graph, made once."""
        if id(graph) not in self._made:
            path = Path(self._folder(), str(len(self._made)))
            compile_model(graph, self.request, self.progress).artifact.save(path)
            self._made[id(graph)] = graph, load_artifact(path)
        return self._made[id(graph)][1]

    def _folder(self) -> str:
        if not self._room:
            self._room = tempfile.mkdtemp(prefix="burnish-gains-")
            weakref.finalize(self, rmtree, self._room, ignore_errors=True)
        return self._room


def estimated_gains(graph: Graph, layers: Sequence[str]) -> dict[str, float]:
    """Multiply-adds of each layer: what stands for time where there is no machine to measure on."""
    wanted, found = set(layers), dict.fromkeys(layers, 0.0)
    for node in graph.walk():
        for name in wanted.intersection((*node.provenance, node.name)):
            found[name] += float(node_flops(node) or 0)
    return found


def _owners(artifact: Artifact, layers: Sequence[str]) -> list[list[str]]:
    """The layers that each call of an artifact counts for."""
    wanted, found = set(layers), list[list[str]]()
    latest: list[str] = []
    for spec in artifact.calls() or ():
        latest = [name for name in dict.fromkeys(spec.sources) if name in wanted] or latest
        found.append(latest)
    return found


def _times(artifact: Artifact, owners: Sequence[Sequence[str]]) -> Mapping[str, float]:
    """Seconds of the kernels of each layer: of each call the fastest of one turn."""
    found = dict[str, float]()
    for call, names in zip(_profile(artifact), owners, strict=True):
        for name in names:
            found[name] = found.get(name, 0.0) + call.fastest / len(names)
    return found


def _profile(artifact: Artifact) -> list[CallTiming]:
    """Each call in one turn."""
    return artifact.profile(artifact.example().inputs, _count(artifact))


def _whole(artifact: Artifact) -> float:
    """Seconds of the fastest run of one turn."""
    inputs = artifact.example().inputs
    return min(_seconds(artifact, inputs) for _ in range(_count(artifact)))


def _seconds(artifact: Artifact, inputs: Tensors) -> float:
    started = time.perf_counter()
    artifact.run(inputs)
    return time.perf_counter() - started


def _count(artifact: Artifact) -> int:
    """Runs in a turn; the first wakes threads and fills caches."""
    inputs = artifact.example().inputs
    artifact.run(inputs)
    least, most = _RUNS
    return max(least, min(most, int(_SECONDS / max(1e-6, _seconds(artifact, inputs)))))
