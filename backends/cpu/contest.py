"""A contest between candidates of one kernel: checked first, then timed in turns.

What is checked: a few hundred outputs, borders among them, against the kernel's definition as
numpy works it out, and all outputs against those of the first candidate that was right there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from burnish.backends.bench_kernels import KernelBench, KernelFailure
from burnish.backends.bench_patterns import Expected, Patterns
from burnish.backends.cpu.definition import Definition
from burnish.backends.cpu.objects import Variant

SCREENED, SCREEN_SECONDS = 5, 0.008
"""How often, and for how long at most, each candidate is timed to find the leaders."""
LEADERS, LEAD = 3, 1.2
"""How many go on, and how much slower than the fastest they may be."""
ROUNDS, REPEAT, ROUND_SECONDS = 5, 20, 0.006
"""Leaders are timed in rounds, each in turn."""
WORTH = 0.03
"""Share by which a candidate must beat the first choice to replace it."""
PLACES, TERMS = 256, 1 << 19
"""Outputs that are compared with the definition, and most terms that go into them."""

Cold = tuple[tuple[int, ...], ...]
"""Ways to time a kernel: the arguments that are out of the caches, for each way."""


@dataclass(frozen=True)
class Subject:
    """A kernel as the bench needs to know it."""

    arguments: Patterns
    expected: tuple[Expected, ...]
    cold: Cold

    @classmethod
    def of(cls, func: object, cold: Cold) -> Subject:
        """Work out what ``func`` is to answer.

        Raises:
            Unknown: its definition holds something that has no meaning to numpy.
        """
        definition = Definition(func)
        arguments = Patterns(
            tuple((tuple(int(e) for e in p.shape), str(p.dtype)) for p in func.params),  # type: ignore[attr-defined]  # a PrimFunc
            definition.quads(),
        )
        count = max(16, min(PLACES, TERMS // definition.terms()))
        expected = []
        for output in definition.outputs():
            places = _places(definition.extents(output), arguments.arguments[output][0], count)
            values = definition.at(output, places, arguments.at)
            expected.append(Expected(output, places, values))
        return cls(arguments, tuple(expected), cold)

    @property
    def nbytes(self) -> int:
        """Bytes of all arguments."""
        return sum(prod(s) * np.dtype(dtype).itemsize for s, dtype in self.arguments.arguments)


def _places(extents: Sequence[int], shape: Sequence[int], count: int) -> np.ndarray:
    """Flat places of outputs in ``shape``, every other coordinate near a border of ``extents``."""
    random = np.random.default_rng(0)
    found = np.zeros(count, np.int64)
    for extent, pitch in zip(extents, shape, strict=True):
        anywhere = random.integers(0, extent, count)
        near = np.where(random.random(count) < 0.5, 0, extent - 1)
        inward = random.integers(0, 3, count)
        border = np.clip(near + np.where(near == 0, inward, -inward), 0, extent - 1)
        found = found * pitch + np.where(random.random(count) < 0.5, anywhere, border)
    return found


@dataclass
class Trial:
    """A candidate that takes part."""

    variant: Variant
    failed: bool = False
    """Whether it crashed, hung or was wrong."""
    seconds: list[float] = field(default_factory=list)
    """Of each round."""

    @property
    def score(self) -> float | None:
        """Seconds of a call; None if it was never timed, or failed before or after."""
        return float(np.median(self.seconds)) if self.seconds and not self.failed else None


def check(bench: KernelBench, subject: Subject, trials: Sequence[Trial]) -> list[Trial]:
    """The candidates that answer what they should; the others are marked."""
    for trial in trials:
        try:
            bench.check_kernel(trial.variant.symbol, subject.arguments, subject.expected)
        except KernelFailure:
            trial.failed = True
    return [trial for trial in trials if not trial.failed]


def clock(
    bench: KernelBench, subject: Subject, trial: Trial, repeat: int, budget: float
) -> float | None:
    """Seconds of a call, summed over the ways to time it; None if it fails."""
    total = 0.0
    try:
        for cold in subject.cold:
            total += min(
                bench.time_kernel(
                    trial.variant.symbol, subject.arguments, repeat, cold=cold, budget=budget
                )
            )
    except KernelFailure:
        trial.failed = True
        return None
    return total


def hold(
    bench: KernelBench, subject: Subject, trials: Sequence[Trial], goes_on: Callable[[], bool]
) -> Trial | None:
    """The winner; the first of ``trials`` keeps its place unless another is clearly faster.

    Every trial has seconds afterwards, or is marked as failed, unless ``goes_on`` said no.
    Returns None if none of them is right.
    """
    first = trials[0]
    for trial in check(bench, subject, trials):
        if not goes_on():
            return None if first.failed else first
        took = clock(bench, subject, trial, SCREENED, SCREEN_SECONDS)
        trial.seconds = [] if took is None else [took]
    right = sorted((t for t in trials if not t.failed), key=lambda trial: trial.score or 0.0)
    if not right:
        return None
    fastest = right[0].score or 0.0
    leaders = [t for t in right[:LEADERS] if (t.score or 0.0) <= LEAD * fastest]
    if not first.failed and first not in leaders:
        leaders.append(first)
    if len(leaders) > 1:
        _rounds(bench, subject, leaders, goes_on)
    leaders = [trial for trial in leaders if not trial.failed]
    best = min(leaders, key=lambda trial: trial.score or 0.0, default=None)
    return best if best is None or first.failed or _beats(best, first) else first


def _rounds(
    bench: KernelBench, subject: Subject, leaders: list[Trial], goes_on: Callable[[], bool]
) -> None:
    """Time the leaders in turns, and forget how they did before."""
    times: dict[int, list[float]] = {id(trial): [] for trial in leaders}
    for number in range(ROUNDS):
        for trial in leaders if number % 2 else reversed(leaders):
            took = None if trial.failed else clock(bench, subject, trial, REPEAT, ROUND_SECONDS)
            if took is not None:
                times[id(trial)].append(took)
        if not goes_on():
            break
    for trial in leaders:
        trial.seconds = times[id(trial)]


def _beats(best: Trial, first: Trial) -> bool:
    """Whether one is faster than the other beyond noise.

    It has to be so by medians, in most rounds, and at its best: on a busy machine a candidate may
    be disturbed in every other round.
    """
    if best.score is None or first.score is None:
        return first.score is None
    pairs = list(zip(best.seconds, first.seconds, strict=False))
    faster = sum(a < b for a, b in pairs)
    clearly = best.score < (1 - WORTH) * first.score
    return clearly and 2 * faster > len(pairs) and _least(best) < (1 - WORTH) * _least(first)


def _least(trial: Trial) -> float:
    return min(trial.seconds, default=float("inf"))
