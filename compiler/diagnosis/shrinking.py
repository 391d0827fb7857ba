"""Shrinking: the least part of a model that still shows a failure.

First a growing neighbourhood of the place, then delta debugging over its nodes (Zeller and
Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002), then over its outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from burnish.diagnosis.clock import Clock, OutOfTime
from burnish.diagnosis.cutting import Part, Source, around, at_top
from burnish.ir import Graph, OperatorNode
from burnish.pipeline import copy_of

RADII = (0, 1, 2, 3, 5, 8, 13, 21, 34)
"""Steps from the place within which nodes are taken, one try after the other."""

Shows = Callable[[Part], bool]
"""Whether a part shows the failure."""


@dataclass
class Shrinking:
    """One search for a least part."""

    shows: Shows
    clock: Clock
    static: bool = False
    """Whether all sizes have to be numbers."""
    tried: int = 0
    """Parts that were run."""
    complete: bool = False
    """Whether it ended before its time was up."""

    def least(
        self, whole: Part, place: Sequence[OperatorNode], *, known: bool = False
    ) -> Part | None:
        """The least part of ``whole`` around ``place`` that shows it; None if not even all does.

        ``known`` says that all of it does.

        Raises:
            OutOfTime: before any part was seen to show it.
        """
        best = whole if known else None
        try:
            near = self._neighbourhood(whole, place)
            if near is None and not known and not self._tries(whole):
                return None
            best = near or whole
            for smaller in self._reductions(best):
                best = smaller
            self.complete = True
        except OutOfTime:
            if best is None:
                raise
        return best

    def _neighbourhood(self, whole: Part, place: Sequence[OperatorNode]) -> Part | None:
        source, centre = Source(whole.graph, whole.feeds, static=self.static), at_top(place)
        size = len(source.nodes)
        for radius in RADII if centre else ():
            nodes = around(centre, radius)
            if len(nodes) >= size:
                break
            part = self._try(source, nodes)
            if part is not None:
                return part
        return None

    def _reductions(self, part: Part) -> Iterable[Part]:
        """Ever smaller parts."""
        source = Source(part.graph, part.feeds, static=self.static)
        source.capture_all()
        kept, pieces = list(source.nodes), 2
        while len(kept) > 1:
            size = -(-len(kept) // pieces)
            chunks = [kept[start : start + size] for start in range(0, len(kept), size)]
            smaller = self._one_of(source, kept, chunks)
            if smaller is not None:
                kept, part = smaller
                yield part
                # After one chunk alone begin anew; after all but one, the others are known.
                pieces = 2 if len(kept) <= size else max(2, pieces - 1)
            elif size == 1:
                break
            else:
                pieces = min(len(kept), 2 * pieces)
        yield from self._fewer_outputs(part)

    def _one_of(
        self, source: Source, kept: list[OperatorNode], chunks: list[list[OperatorNode]]
    ) -> tuple[list[OperatorNode], Part] | None:
        """One chunk, or all but one, that shows it."""
        if len(chunks[0]) > 1 or len(kept) == 2:
            for chunk in chunks:
                part = self._try(source, chunk)
                if part is not None:
                    return chunk, part
        # Of two chunks, one is what the other leaves.
        for chunk in chunks if len(chunks) > 2 else ():
            gone = set(chunk)
            rest = [node for node in kept if node not in gone]
            part = self._try(source, rest)
            if part is not None:
                return rest, part
        return None

    def _fewer_outputs(self, part: Part) -> Iterable[Part]:
        """Leave out outputs that do not matter, whose values are read inside as well."""
        index = 0
        while len(part.graph.outputs) > 1 and index < len(part.graph.outputs):
            graph = copy_of(part.graph)
            if len(graph.outputs[index].uses) > 1:
                smaller = Part(_without_output(graph, index), part.feeds)
                if self._tries(smaller):
                    part = smaller
                    yield part
                    continue
            index += 1

    def _try(self, source: Source, nodes: Iterable[OperatorNode]) -> Part | None:
        part = source.part(nodes)
        return part if part is not None and self._tries(part) else None

    def _tries(self, part: Part) -> bool:
        self.clock.begin(f"shrinking: {len(part.graph)} operators")
        self.tried += 1
        return self.shows(part)


def _without_output(graph: Graph, index: int) -> Graph:
    names = graph.output_names[:index] + graph.output_names[index + 1 :]
    graph.outputs = graph.outputs[:index] + graph.outputs[index + 1 :]
    graph.output_names = names
    return graph
