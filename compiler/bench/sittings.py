"""Who sits together when, and for how long: timing many variants with little memory.

Variants sit in groups, the whole pipeline in each: one process per variant, all of them stopped
but the one that is timed, blocks alternating. A group ends; others follow. Who is still undecided
sits again with others, in new processes, until every comparison is decided or the time is over.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from time import monotonic
from typing import Protocol

from burnish.bench.contrasts import Contrasts, Sitting
from burnish.bench.document import Interval
from burnish.bench.stats import estimate_median

TELLING = 6
"""Processes whose medians have a 95% interval; with fewer it is the range of all blocks."""


class Timed(Protocol):
    """A process that has loaded a variant and its inputs."""

    def time(self, count: int, *, warm: int) -> list[float]:
        """Seconds of each of ``count`` runs, after ``warm`` that are not counted."""

    def end(self) -> None:
        """End the process."""


Start = Callable[[str], Timed]
"""Starts a process for a variant; raises what ``Clock.failures`` names if that does not work."""
Report = Callable[[int, int], None]
"""Called with how much of how much is done."""


@dataclass(frozen=True)
class Pace:
    """How long to measure."""

    seconds: float = 300.0
    """For all sittings; the first of them takes place in any case."""
    block: float = 0.05
    """Seconds that a block of the fastest variant takes, more or less."""
    blocks: int = 5
    """Of each process in a sitting."""
    together: int = 6
    """Processes in a sitting, the whole pipeline's included."""
    fewest: int = 3
    """Sittings before a comparison counts as decided."""
    most: int = 12
    """Sittings of a variant."""
    narrow: float = 0.015
    """Half of an interval around one that is narrow enough to call a difference noise."""
    warm: int = 2
    """Runs at the start of a block that do not count."""


@dataclass
class Timings:
    """What sittings found."""

    whole: str
    comparisons: Sequence[tuple[str, str]]
    """Pairs of variants whose ratios matter."""
    sittings: list[Sitting] = field(default_factory=list)
    seconds: dict[str, list[list[float]]] = field(default_factory=dict)
    """The median of each block, process by process, by variant."""
    names: Sequence[str] = ()
    """The variants: of each the ratio to the whole is looked at, whether it answers a question or
    not."""
    failures: dict[str, str] = field(default_factory=dict)
    """Variants that failed while they were timed."""
    spent: float = 0.0
    """Wall clock of all sittings."""

    def contrasts(self) -> Contrasts:
        """What all sittings together say."""
        return Contrasts.of(self.sittings)

    def ratio(self, slower: str, faster: str, contrasts: Contrasts) -> Interval | None:
        """One variant's time over another's; None if either was not timed."""
        if slower == faster or not {slower, faster} <= set(contrasts.names):
            return None
        return contrasts.ratio(slower, faster, max(1, self.looked_at))

    @property
    def sat(self) -> bool:
        """Whether anything was timed, or tried."""
        return bool(self.seconds or self.failures)

    @property
    def untimed(self) -> list[str]:
        """Variants whose turn never came."""
        return [n for n in self.names if n not in self.seconds and n not in self.failures]

    @property
    def looked_at(self) -> int:
        """Ratios that somebody looks at, whose intervals have to hold together."""
        pairs = [*self.comparisons, *((name, self.whole) for name in self.names)]
        return len({frozenset(pair) for pair in pairs if pair[0] != pair[1]})

    def is_decided(self, pair: tuple[str, str], contrasts: Contrasts, pace: Pace) -> bool:
        """Whether no more sittings are needed to tell how a comparison ends."""
        if self.failures.keys() & set(pair):
            return True
        if min(contrasts.sittings.get(name, 0) for name in pair) < pace.fewest:
            return False
        ratio = self.ratio(*pair, contrasts)
        if ratio is None or not ratio.low <= 1.0 <= ratio.high:
            return ratio is not None
        return math.log(ratio.high / ratio.low) / 2 <= pace.narrow

    def latency(self, name: str) -> Interval | None:
        """Seconds of a run of a variant: a process counts once, however many its blocks."""
        if name not in self.seconds:
            return None
        processes = self.seconds[name]
        found = estimate_median([median(blocks) for blocks in processes])
        if len(processes) >= TELLING:
            return Interval(value=found.median, low=found.low, high=found.high)
        every = [seconds for blocks in processes for seconds in blocks]
        return Interval(value=found.median, low=min(every), high=max(every))

    def blocks(self, name: str) -> int:
        """Blocks of all processes of a variant."""
        return sum(map(len, self.seconds.get(name, ())))


class EngineProblem(Exception):
    """What a process that failed says; it is no longer timed."""


@dataclass
class Table:
    """Seats variants and decides who sits again."""

    start: Start
    pace: Pace
    failures: tuple[type[Exception], ...] = (EngineProblem,)
    clock: Callable[[], float] = monotonic
    report: Report | None = None

    def measure(
        self, names: Sequence[str], comparisons: Sequence[tuple[str, str]], whole: str
    ) -> Timings:
        """Time variants until every comparison is decided or the time is over.

        Args:
            names: the variants, those that are compared with each other near each other; the
                first few are timed however little time there is.
            comparisons: pairs of them whose ratios matter.
            whole: the variant that sits in every group.
        """
        found = Timings(whole, comparisons, names=names)
        begun = self.clock()
        order, shuffled = [name for name in names if name != whole], random.Random(0)
        for number in range(self.pace.most):
            active = self._undecided(order, found) if number else order
            if number:
                shuffled.shuffle(active)
            for group in self._groups(active):
                found.spent = self.clock() - begun
                if found.sat and found.spent >= self.pace.seconds:
                    return found
                self._sit([whole, *group], found)
                self._tell(number, found, begun)
                if whole in found.failures:
                    return found
            if not active:
                break
        found.spent = self.clock() - begun
        return found

    def _tell(self, number: int, found: Timings, begun: float) -> None:
        if self.report:
            spent = min(self.clock() - begun, self.pace.seconds)
            self.report(round(spent), max(1, round(self.pace.seconds)))

    def _groups(self, names: Sequence[str]) -> Iterator[Sequence[str]]:
        """Groups of about equal size; the whole comes to each."""
        if not names:
            return
        count = math.ceil(len(names) / max(1, self.pace.together - 1))
        for index in range(count):
            yield names[index * len(names) // count : (index + 1) * len(names) // count]

    def _undecided(self, names: Sequence[str], found: Timings) -> list[str]:
        """Those that sit again: in a comparison of which nobody can tell yet how it ends."""
        contrasts = found.contrasts()
        open_ones: set[str] = set()
        for pair in found.comparisons:
            if not found.is_decided(pair, contrasts, self.pace):
                open_ones |= set(pair)
        return [name for name in names if name in open_ones]

    def _sit(self, group: Sequence[str], found: Timings) -> None:
        """Time one group; who fails leaves it."""
        with ExitStack() as stack:
            seated: dict[str, Timed] = {}
            for name in group:
                if name in found.failures:
                    continue
                try:
                    seated[name] = self.start(name)
                except self.failures as failure:
                    found.failures[name] = str(failure)
                else:
                    stack.callback(seated[name].end)
            medians = self._blocks(seated, found)
        logs = {name: [] for name in medians}  # type: dict[str, list[float]]
        for turn in zip(*medians.values(), strict=True):
            level = sum(map(math.log, turn)) / len(turn)
            for name, seconds in zip(medians, turn, strict=True):
                logs[name].append(math.log(seconds) - level)
        for name, values in medians.items():
            found.seconds.setdefault(name, []).append(values)
        if len(logs) > 1:
            found.sittings.append({name: median(values) for name, values in logs.items()})

    def _blocks(self, seated: Mapping[str, Timed], found: Timings) -> dict[str, list[float]]:
        """Median seconds of a run in each block, of those that did not fail."""
        counts, medians = {}, {name: [] for name in seated}  # type: dict[str, int], dict[str, list[float]]
        turns = list(seated)
        for number in range(self.pace.blocks + 1):
            for name in turns:
                if name in found.failures:
                    continue
                try:
                    count = counts.get(name, 2)
                    runs = seated[name].time(count, warm=self.pace.warm)
                except self.failures as failure:
                    found.failures[name] = str(failure)
                    continue
                if number:
                    medians[name].append(median(runs))
                else:
                    counts[name] = max(2, min(1000, round(self.pace.block / min(runs))))
            turns.reverse()
        return {name: values for name, values in medians.items() if name not in found.failures}
