"""The calibration store: data, and graphs run over it one sample after the other.

Statistics are of the graph as it is when they are asked for: passes that change what values mean
ask again. Nothing is kept between samples but what collectors keep.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import islice
from typing import Protocol, TypeAlias

from burnish.calibration.checks import checked
from burnish.calibration.collectors import Histogram, Range
from burnish.calibration.cutting import Cut, samples_of
from burnish.calibration.probe import Probe
from burnish.calibration.replay import Replay
from burnish.calibration.sufficiency import Sufficiency, calibration_note
from burnish.calibration.variety import Variety
from burnish.errors import InvalidInput, UsageError
from burnish.ir import Array, Graph, VariableNode
from burnish.wording import counted

Feeds: TypeAlias = Mapping[str, Array]
"""One array per graph input, by name."""
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is done, how many samples are, and of how many (0: not known yet)."""

ACTION = "calibrating"


class Collector(Protocol):
    """Keeps something of all values that one tensor takes."""

    def update(self, array: Array) -> None:
        """Take in the value that the tensor has for one more sample."""


class PairCollector(Protocol):
    """Keeps something of what one tensor is in two graphs."""

    def update(self, first: Array, second: Array) -> None:
        """Take in both for one more sample."""


class Calibration:
    """Unlabeled data that a model is meant for, and what values inside a graph are on it."""

    def __init__(
        self,
        feeds: Iterable[Feeds],
        *,
        samples: int | None = None,
        most: int | None = None,
        progress: Progress | None = None,
        threads: int = 0,
    ) -> None:
        """Take the data, which is read again for every pass over it.

        Args:
            feeds: samples: a sequence, or what gives a new iterator each time, as the loaders of
                `burnish.calibration.data` do. What can be iterated only once is kept, if it is
                small enough (`burnish.calibration.replay.HELD_BYTES`).
            samples: how many of them to use; fewer are worth a notice.
            most: how many to use where ``samples`` does not say; None for all.
            progress: told of every sample.
            threads: of ONNX Runtime; 0 lets it choose.

        Raises:
            UsageError: ``samples`` is not positive.
        """
        if samples is not None and samples < 1:
            raise UsageError(f"calibration on {samples} samples; use at least one")
        self._wanted, self._limit = samples, samples or most
        self._feeds = feeds if isinstance(feeds, Sequence) else Replay(feeds)
        self._progress = progress
        self._threads = threads
        self._cut: Cut = getattr(feeds, "cut", Cut.NEVER)
        self._count: int | None = None
        self._sufficiency: Sufficiency | None = None
        self._monotony, self._constants = "", ""
        self._left_out, self._batch = 0, 1

    def fewer(self, samples: int) -> Calibration:
        """The same data, of which the first ``samples`` are used at most."""
        made = copy(self)
        made._limit = min(samples, self._limit or samples)
        made._wanted = made._count = None
        return made

    @property
    def samples(self) -> int | None:
        """How many samples there are, None before they were all read once."""
        if self._count is None and isinstance(self._feeds, Sequence):
            return min(len(self._feeds), self._limit or len(self._feeds))
        return self._count

    @property
    def notices(self) -> list[str]:
        """What a user should know: that there are too few samples, and whether more would matter.

        That items were left out, as batches do not come out even, is one, too, and that the
        samples or some of their inputs do not differ.

        Whether more would matter is told of the last ranges that `collect` found.
        """
        enough = "" if self._sufficiency is None else str(self._sufficiency)
        found = [self._shortage, self._rest, self._constants, self._monotony or enough]
        return [notice for notice in found if notice]

    @property
    def _shortage(self) -> str:
        if self.samples is None or self._wanted is None or self.samples >= self._wanted:
            return ""
        return f"calibration uses {self.samples} samples, as there are no {self._wanted}"

    @property
    def _rest(self) -> str:
        if not self._left_out:
            return ""
        return (
            f"calibration leaves out {counted(self._left_out, 'item')}: the model takes exactly "
            f"{self._batch} at a time, and what a file or batch has over is not filled up"
        )

    def feeds(self, graph: Graph) -> Iterator[dict[str, Array]]:
        """The samples, each checked against the inputs of ``graph``.

        Raises:
            InvalidInput: there are none, or one is no mapping of finite numbers.
            UsageError: one does not fit the inputs, or they are too large to be kept and can be had
                only once.
        """
        count, variety = 0, Variety() if self._count is None else None
        for feeds, origin in islice(self._samples(graph), self._limit):
            arrays = checked(graph, feeds, f"sample {count} of the calibration data{origin}")
            if variety is not None:
                variety.add(arrays)
            yield arrays
            count += 1
            if self._progress is not None:
                self._progress(ACTION, count, self.samples or self._limit or 0)
        if not count:
            raise InvalidInput("the calibration data is empty; give at least one sample")
        self._count = count
        if variety is not None:
            self._monotony, self._constants = variety.monotony, variety.constants

    def check(self, graph: Graph) -> None:
        """Read the samples once, so that what is wrong with any is said before long work.

        Raises:
            BurnishError: as of `feeds`.
        """
        for _ in self.feeds(graph):
            pass

    def stream(
        self, graph: Graph, values: Collection[VariableNode]
    ) -> Iterator[Mapping[VariableNode, Array]]:
        """What ``values`` of ``graph`` are, one mapping for each sample.

        ``graph`` may be changed meanwhile: what is run is what it was at the first. All values of
        one sample are in memory at a time; `collect` bounds that.

        Raises:
            ValueError: a value is not observable (`is_observable`).
            UnsupportedModel: ONNX Runtime refuses the graph, or fails on a sample.
            BurnishError: as of `feeds`.
        """
        probe = Probe(graph, values, threads=self._threads)
        for feeds in self.feeds(graph):
            yield probe.all(feeds)

    def collect(self, graph: Graph, collectors: Mapping[VariableNode, Iterable[Collector]]) -> None:
        """Update collectors with what their values are for every sample.

        Values are computed a group at a time: memory is bounded by `probe.RESULT_BYTES`, or by the
        largest value.

        Raises:
            BurnishError: as of `stream`.
        """
        each = {value: tuple(own) for value, own in collectors.items()}
        probe = Probe(graph, each, threads=self._threads)
        for feeds in self.feeds(graph):
            for group in probe.groups(feeds):
                found = probe.run(feeds, group)
                while found:
                    value, array = found.popitem()
                    for collector in each[value]:
                        collector.update(array)
        ranges = _ranges(each)
        if ranges:
            self._sufficiency = calibration_note(ranges, self._count)

    def collect_pairs(
        self,
        first: Graph,
        second: Graph,
        collectors: Mapping[tuple[VariableNode, VariableNode], Iterable[PairCollector]],
    ) -> None:
        """Update collectors with what a value of each graph is, sample by sample.

        For what one graph computes beside another: the original beside the quantized. All pairs of
        one sample are in memory at a time.

        Raises:
            BurnishError: as of `stream`.
        """
        each = {pair: tuple(own) for pair, own in collectors.items()}
        ones = Probe(first, dict.fromkeys(one for one, _ in each), threads=self._threads)
        others = Probe(second, dict.fromkeys(other for _, other in each), threads=self._threads)
        for feeds in self.feeds(first):
            left, right = ones.all(feeds), others.all(feeds)
            for (one, other), own in each.items():
                for collector in own:
                    collector.update(left[one], right[other])

    def _samples(self, graph: Graph) -> Iterator[tuple[object, str]]:
        """Samples with the batch of ``graph``, as far as their source says how to cut them.

        With each, where it comes from, if the source says that.
        """
        self._left_out = 0

        def left_out(items: int, batch: int) -> None:
            self._left_out, self._batch = self._left_out + items, batch

        for feeds in self._feeds:
            if not isinstance(feeds, Mapping):
                yield feeds, ""
                continue
            origin = getattr(feeds, "origin", "")
            for number, part in enumerate(samples_of(graph, feeds, self._cut, left_out)):
                yield part, f" (number {number} of {origin})" if origin else ""


def _ranges(collectors: Mapping[VariableNode, Iterable[Collector]]) -> dict[str, Range]:
    """Those of the collectors that are ranges or have one, each once, by the name of its value."""
    found: dict[str, Range] = {}
    for value, own in collectors.items():
        for collector in own:
            seen = collector.range if isinstance(collector, Histogram) else collector
            if isinstance(seen, Range) and not any(seen is other for other in found.values()):
                found.setdefault(value.name, seen)
    return found


def require(calibration: Calibration | None, purpose: str) -> Calibration:
    """Return the calibration data, for what cannot do without.

    Args:
        calibration: that of a `PassContext`.
        purpose: what needs it, as the name of a pass.

    Raises:
        UsageError: there is none.
    """
    if calibration is None:
        raise UsageError(
            f"{purpose} needs data that the model is meant for: give --calibration with a folder "
            "of .npz or .npy files or module:function, or calibration= with a list of dicts of "
            "arrays by input name"
        )
    return calibration
