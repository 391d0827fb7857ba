"""The tuner: times a handful of candidates for each kernel and keeps the fastest.

Candidates come from arithmetic, a dozen at most for a kernel, so tuning takes seconds. They run
through the runtime that models use, in a process of their own. First choices are timed first: a
kernel's turn comes by the time that the model may gain, which is its share of the model's time
above what its arithmetic takes at the best rate that any kernel reaches.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from burnish.backends.bench_kernels import KernelBench
from burnish.backends.cpu.candidates import candidates
from burnish.backends.cpu.contest import Cold, Subject, Trial, check, clock, hold
from burnish.backends.cpu.definition import Unknown
from burnish.backends.cpu.interrupt import Interrupt
from burnish.backends.cpu.objects import KernelObjects, Variant
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.backends.link import Progress, silent
from burnish.backends.schedule_cache import Record, ScheduleCache
from burnish.errors import BurnishError
from burnish.target import Target

_LOG = logging.getLogger(__name__)

BATCH, COMPILING = 24, 0.7
"""Candidates that are compiled and linked together at most, and the share of the time left that
this may take."""
WAVE, FADING = 4, 0.3
"""Candidates that are tried in one turn of a kernel, and what a later turn may still gain of what
an earlier one might: candidates are ordered by how good they ought to be."""
NEGLIGIBLE = 0.002
"""Share of the model's time below which a possible gain is not worth the search."""
FIRST_REPEAT, FIRST_SECONDS = 5, 0.02
"""How often, and for how long at most, a first choice is timed."""
TICKS = 10
"""Steps of progress in a second."""


@dataclass(frozen=True)
class Task:
    """A distinct kernel of a model."""

    key: str
    """Of its structure."""
    label: str
    """What it does, in a word."""
    func: Any
    """The unscheduled TIR function."""
    calls: int = 1
    """How often the model calls it."""
    flops: float = 0.0
    """Of one call."""
    cold: Cold = ((),)
    """How the model finds its arguments: see `residence`."""

    @property
    def name(self) -> str:
        """The key of its record: what is fastest depends on where its arguments are."""
        return f"{self.key}-{'-'.join('.'.join(map(str, way)) for way in self.cold)}"

    def variant(self, config: TileConfig | None) -> Variant:
        """The kernel scheduled by ``config``."""
        return Variant(self.key, self.label, self.func, config)


@dataclass
class Budget:
    """What tuning may spend, in one call or several, and who is told."""

    seconds: float
    spent_on: dict[str, float] = field(default_factory=dict)
    """Seconds by what was tuned, those of earlier compilations among them."""
    progress: Progress = silent
    """Called with the stage's name, how far it is, and what would be all of it: both in tenths of
    the seconds. Kernels that are done count as their share of these, where that is more."""

    @property
    def spent(self) -> float:
        """Seconds that are gone."""
        return sum(self.spent_on.values())


@dataclass(frozen=True)
class Outcome:
    """How far tuning came."""

    configs: dict[str, TileConfig | None]
    """The best known candidate by a kernel's structural key; None for its first choice."""
    tuned: int
    """Kernels that need no more tuning."""
    kernels: int
    """Kernels that have a choice."""
    stopped: bool = False
    """Whether Ctrl-C ended it."""


def residence(weights: tuple[int, ...], total: int, caches: tuple[int, int]) -> Cold:
    """How to time a kernel so that its weights are where the model has them.

    Args:
        weights: its arguments that are weights.
        total: bytes of all weights of the model.
        caches: bytes of a core's own cache, and of the last level.

    Weights beyond the last level come from memory in each inference; those that fit into a
    core's own cache stay there. In between both cases count.
    """
    own, last = caches
    if not weights or total <= own:
        return ((),)
    return (weights,) if total > last else ((), weights)


def tune(
    tasks: Sequence[Task],
    target: Target,
    budget: Budget,
    cache: ScheduleCache,
    objects: KernelObjects,
) -> Outcome:
    """Choose configurations, from the cache where it knows them.

    What the seconds do not suffice for keeps its best choice so far; so it is on Ctrl-C, and a
    later call for the same kernels goes on there, with what is left of the seconds.
    """
    model = hashlib.sha256("|".join(sorted(task.name for task in tasks)).encode()).hexdigest()[:32]
    budget.spent_on[model] = max(cache.spent(model), budget.spent_on.get(model, 0.0))
    with Interrupt(budget.progress) as interrupt:
        search = _Search(tasks, target, budget, cache, objects, interrupt, time.monotonic())
        try:
            search.run()
        except BurnishError:
            # The linker hears Ctrl-C as well.
            if not interrupt.pressed:
                raise
        finally:
            search.close()
            if search.is_open:
                spent = search.spent()
                budget.spent_on[model] += spent
                cache.spend(model, spent)
    return search.outcome()


@dataclass
class _Case:
    """A kernel that is being tuned."""

    task: Task
    configs: list[TileConfig | None]
    """Its candidates, the first choice first."""
    record: Record

    @cached_property
    def subject(self) -> Subject:
        """What the bench needs; raises `Unknown`."""
        return Subject.of(self.task.func, self.task.cold)

    @property
    def first_seconds(self) -> float | None:
        return self.record.trials.get(None)

    def untried(self) -> list[TileConfig | None]:
        """Candidates that were not timed yet, best guess first."""
        return [config for config in self.configs if config not in self.record.trials]

    def entrants(self) -> list[Trial]:
        """Of the next contest: the first choice, the best so far, and a few new ones."""
        configs = dict.fromkeys([None, self.record.config, *self.untried()[:WAVE]])
        return [Trial(self.task.variant(config)) for config in configs]


@dataclass
class _Search:
    """The state of one call of `tune`."""

    tasks: Sequence[Task]
    target: Target
    budget: Budget
    cache: ScheduleCache
    objects: KernelObjects
    interrupt: Interrupt
    started: float
    records: dict[str, Record] = field(default_factory=dict)
    cases: list[_Case] = field(default_factory=list)
    rate: float = 0.0
    """FLOPs a second of the fastest kernel."""
    total: float = 0.0
    """Seconds that the model spends in these kernels."""
    pace: float = 0.0
    """Seconds for compiling one candidate."""
    bench: KernelBench | None = None
    shown: float = 0.0
    """The share of its way that was told last: it never falls."""

    def run(self) -> None:
        """Tune what is open until there is nothing left to do, or no time."""
        for task in self.tasks:
            record = self.cache.get(task.name)
            if record is not None:
                self.records[task.name] = record
        self._open()
        if self.is_open:
            self._time_first_choices()
        while self.goes_on() and (batch := self._batch()):
            self._load([trial.variant for _, trials in batch for trial in trials])
            for case, trials in batch:
                if not self.goes_on():
                    return
                self._contest(case, trials)
                self.show()

    @cached_property
    def is_open(self) -> bool:
        """Whether there was something to do, and time for it, at the start."""
        return bool(self.cases) and self.budget.spent < self.budget.seconds

    def goes_on(self) -> bool:
        """Whether there is time left."""
        return not self.interrupt.pressed and self.left() > 0

    def left(self) -> float:
        """Seconds that may still be spent."""
        return self.budget.seconds - self.budget.spent - self.spent()

    def spent(self) -> float:
        """Seconds of this call."""
        return time.monotonic() - self.started

    def show(self) -> None:
        """Tell how far tuning is: by time or by kernels, as it ends when either is used up.

        It is never told to be all done: what is under way may take longer than the time.
        """
        if self.interrupt.pressed:
            # That it stops was told, and stays to be read.
            return
        whole = max(1, int(self.budget.seconds * TICKS))
        settled = sum(not self._is_worth(case) for case in self.cases)
        share = max(1 - self.left() / self.budget.seconds, settled / max(1, len(self.cases)))
        self.shown = max(self.shown, share)
        self.budget.progress("tune", min(whole - 1, int(self.shown * whole)), whole)

    def goes_on_shown(self) -> bool:
        """Whether there is time left; tells how far tuning is, as what asks may take seconds."""
        self.show()
        return self.goes_on()

    def close(self) -> None:
        if self.bench is not None:
            self.bench.close()

    def outcome(self) -> Outcome:
        self._weigh()
        configs = {task.key: self.records[task.name].config
                   for task in self.tasks if task.name in self.records}  # fmt: skip
        kernels = sum(task.name in self.records for task in self.tasks)
        left = sum(self._is_worth(case) for case in self.cases)
        return Outcome(configs, kernels - left, kernels, self.interrupt.pressed)

    def _open(self) -> None:
        """Find the kernels that have a choice and are not done."""
        for task in self.tasks:
            record = self.records.get(task.name, Record())
            if record.done:
                continue
            configs = candidates(task.func, self.target)
            if len(configs) < 2:
                continue
            case = _Case(task, [None, *configs[1:]], record)
            if task.name not in self.records and not _is_known(case):
                continue
            self.records[task.name] = record
            self.cases.append(case)
            self.show()

    def _load(self, variants: Sequence[Variant]) -> None:
        """Compile and load; what does not compile is not there and fails when it is called."""
        begin = time.monotonic()
        made = self.objects.get(variants, lambda *_: self.show())
        self.pace = max(self.pace, (time.monotonic() - begin) / len(variants))
        objects = [data for data in made.values() if isinstance(data, bytes)]
        if self.bench is None:
            self.bench = KernelBench(objects, self.target)
        else:
            self.bench.load(objects)

    def _time_first_choices(self) -> None:
        untimed = [case for case in self.cases if case.first_seconds is None]
        if untimed:
            self._load([case.task.variant(None) for case in untimed])
        for case in untimed:
            if self.interrupt.pressed:
                return
            trial = Trial(case.task.variant(None))
            assert self.bench is not None
            if check(self.bench, case.subject, [trial]):
                took = clock(self.bench, case.subject, trial, FIRST_REPEAT, FIRST_SECONDS)
                self._note(case, {None: took})
            else:
                self._note(case, {None: None})
                _LOG.warning("the first choice for a %s kernel is wrong", case.task.label)
            self.show()

    def _weigh(self) -> None:
        """Find the best rate of any kernel, and what all of them take together."""
        self.rate = self.total = 0.0
        for task in self.tasks:
            record = self.records.get(task.name)
            if record and (seconds := record.best_seconds):
                self.rate = max(self.rate, task.flops * len(task.cold) / seconds)
                self.total += seconds * task.calls / len(task.cold)

    def _prospect(self, case: _Case) -> float:
        """Seconds that the model may gain by another turn of a kernel."""
        seconds = case.record.best_seconds
        if seconds is None:
            return 0.0 if case.record.done else float("inf")
        bound = case.task.flops / self.rate if self.rate else 0.0
        turns = (len(case.record.trials) - 1) // WAVE
        return FADING**turns * case.task.calls * (seconds / len(case.task.cold) - bound)

    def _is_worth(self, case: _Case) -> bool:
        """Whether tuning is to go on with a kernel, given time."""
        return bool(case.untried()) and self._prospect(case) > NEGLIGIBLE * self.total

    def _batch(self) -> list[tuple[_Case, list[Trial]]]:
        """The most promising kernels, each with a few candidates.

        As many as can be compiled in the time left; none if nothing is left to do.
        """
        self._weigh()
        most = min(BATCH, COMPILING * self.left() / self.pace) if self.pace else BATCH
        batch: list[tuple[_Case, list[Trial]]] = []
        for case in sorted(filter(self._is_worth, self.cases), key=self._prospect, reverse=True):
            entrants = case.entrants()
            if sum(len(trials) for _, trials in batch) + len(entrants) > most:
                break
            batch.append((case, entrants))
        return batch

    def _contest(self, case: _Case, trials: list[Trial]) -> None:
        assert self.bench is not None
        winner = hold(self.bench, case.subject, trials, self.goes_on_shown)
        found = {t.variant.config: t.score for t in trials if t.failed or t.score is not None}
        # A contest that was cut short has no winner: what was best stays so.
        ended = len(found) == len(trials)
        config = winner.variant.config if winner and ended else case.record.config
        self._note(case, found, config)

    def _note(
        self, case: _Case, found: dict[TileConfig | None, float | None],
        config: TileConfig | None = None,
    ) -> None:  # fmt: skip
        trials = {**case.record.trials, **found}
        case.record = Record(config, all(c in trials for c in case.configs), trials)
        self.records[case.task.name] = case.record
        self.cache.put({case.task.name: case.record})


def _is_known(case: _Case) -> bool:
    """Whether what a kernel is to answer can be worked out."""
    try:
        return bool(case.subject.expected)
    except Unknown as unknown:
        _LOG.debug("a %s kernel cannot be checked, so it is not tuned: %s",
                   case.task.label, unknown)  # fmt: skip
        return False
