"""The tuner: times a handful of candidates for each kernel and keeps the fastest.

Candidates come from arithmetic, a dozen at most for a kernel, so tuning takes seconds. They run
through the runtime that models use, in a process of their own, and each one's result is compared
with the first choice's before it is timed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tvm.s_tir import ScheduleError

from burnish.backends.bench_kernels import KernelBench, KernelFailure
from burnish.backends.cpu import codegen
from burnish.backends.cpu.candidates import candidates
from burnish.backends.cpu.schedule import anchored
from burnish.backends.cpu.schedule.fused import ScheduleMiss
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.backends.schedule_cache import ScheduleCache
from burnish.target import Target

BATCH = 24
"""Candidates that are compiled and linked together."""
ROUNDS, REPEAT = 3, 5
"""Each candidate is timed in several rounds, in turn with the others."""
KERNEL_SECONDS = 0.02
"""Longest timing of one candidate in one round."""
WORTH = 0.03
"""Share by which a candidate must beat the first choice to replace it."""
TOLERANCE = 1e-4
"""Largest difference from the first choice, relative to its largest value."""


@dataclass(frozen=True)
class Task:
    """A distinct kernel of a model."""

    key: str
    func: Any
    """The unscheduled TIR function."""
    weight: float
    """Estimated share of the model's time, in any unit."""
    constants: tuple[int, ...] = ()
    """Arguments that are weights: they come from memory, not from a cache."""
    outputs: int = 1


@dataclass
class Trial:
    """A candidate that is being timed."""

    task: Task
    config: TileConfig
    symbol: str
    seconds: list[float] = field(default_factory=list)

    @property
    def score(self) -> float:
        """Median of the rounds' medians, infinite if it was never timed."""
        return float(np.median(self.seconds)) if self.seconds else float("inf")


def tune(
    tasks: Sequence[Task],
    target: Target,
    seconds: float,
    cache: ScheduleCache,
    progress: Callable[[str, int, int], None] | None = None,
    tuned: Callable[[int, int], None] | None = None,
) -> dict[str, TileConfig]:
    """Choose configurations, from the cache where it knows them.

    Kernels are taken in order of their share of the model's time until ``seconds`` are spent;
    what is left keeps its first choice. Nothing chosen so far is lost on Ctrl-C. At the end
    ``tuned`` is called with how many kernels are tuned, now or before, and how many can be.
    """
    chosen = {task.key: known for task in tasks if (known := cache.get(task.key)) is not None}
    if not seconds:
        return chosen
    open_tasks = [task for task in tasks if task.key not in chosen]
    open_tasks.sort(key=lambda task: -task.weight)
    deadline = time.monotonic() + seconds
    done, untried, before = 0, 0, len(chosen)
    for batch in _batches(open_tasks, target):
        kernels = len({trial.task.key for trial in batch})
        if time.monotonic() > deadline:
            untried += kernels
            continue
        if progress:
            progress("tune", done, len(open_tasks))
        best = _time_batch(batch, target)
        chosen |= best
        cache.put(best)
        done += kernels
    if progress and open_tasks:
        progress("tune", len(open_tasks), len(open_tasks))
    if tuned:
        tuned(before + done, before + done + untried)
    return chosen


def _batches(tasks: Sequence[Task], target: Target) -> Iterator[list[Trial]]:
    """Candidates of several kernels at a time, each kernel's together, first choice first."""
    batch: list[Trial] = []
    for task in tasks:
        configs = candidates(task.func, target)
        if len(configs) < 2:
            continue
        batch += [Trial(task, config, f"t{len(batch) + i}") for i, config in enumerate(configs)]
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _time_batch(batch: list[Trial], target: Target) -> dict[str, TileConfig]:
    objects = codegen.compile_objects(_scheduled(batch, target), target)
    groups: dict[str, list[Trial]] = {}
    for trial in batch:
        groups.setdefault(trial.task.key, []).append(trial)
    with KernelBench(objects, target) as bench:
        return {key: _best(bench, trials) for key, trials in groups.items()}


def _scheduled(batch: list[Trial], target: Target) -> dict[str, Any]:
    """Each candidate's kernel; one that cannot be built is left out, so calling it fails."""
    funcs = {}
    for trial in batch:
        with contextlib.suppress(ScheduleMiss, ScheduleError):
            funcs[trial.symbol] = anchored.schedule(trial.task.func, target, trial.config)
    return funcs


def _best(bench: KernelBench, trials: list[Trial]) -> TileConfig:
    """The fastest of the candidates of one kernel."""
    task = trials[0].task
    arrays = _arguments(task)
    right = _agreeing(bench, trials, arrays)
    for _ in range(ROUNDS):
        for trial in list(right):
            try:
                times = bench.time_kernel(
                    trial.symbol, arrays, REPEAT, cold=task.constants, budget=KERNEL_SECONDS
                )
            except KernelFailure:
                right.remove(trial)
            else:
                trial.seconds.append(float(np.median(times)))
    first = trials[0]
    best = min(right, key=lambda trial: trial.score, default=first)
    return best.config if best.score < (1 - WORTH) * first.score else first.config


def _agreeing(bench: KernelBench, trials: list[Trial], arrays: Sequence[np.ndarray]) -> list[Trial]:
    """The candidates that answer what the first choice answers."""
    count = trials[0].task.outputs
    reference: list[np.ndarray] | None = None
    right = []
    for trial in trials:
        try:
            results = bench.call_kernel(trial.symbol, arrays)[len(arrays) - count :]
        except KernelFailure:
            continue
        reference = results if reference is None else reference
        if all(_close(a, b) for a, b in zip(reference, results, strict=True)):
            right.append(trial)
    return right


def _close(expected: np.ndarray, actual: np.ndarray) -> bool:
    if expected.dtype.kind != "f":
        return bool(np.array_equal(expected, actual))
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0
    return bool(np.abs(expected - actual).max(initial=0.0) <= TOLERANCE * scale)


def _arguments(task: Task) -> list[np.ndarray]:
    """Arrays for a kernel: small floats, the smallest integers."""
    random = np.random.default_rng(0)
    arrays = []
    for param in task.func.params:
        shape, dtype = tuple(int(extent) for extent in param.shape), np.dtype(str(param.dtype))
        if dtype.kind == "f":
            arrays.append(random.uniform(-1, 1, shape).astype(dtype))
        else:
            # Zero and one are in range as indices into almost anything.
            arrays.append(random.integers(0, 2, shape).astype(dtype))
    return arrays
