"""Timing each call of an artifact on this machine, against the machine's roofline."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from burnish.backends.artifact import Artifact, call_timings
from burnish.backends.calls import CallSpec
from burnish.backends.native import CallTime
from burnish.backends.roofline import Bound, Roofline, bounds
from burnish.backends.self_test import Tensors
from burnish.backends.waiting import WAITED, seconds_waited
from burnish.errors import InvalidInput

SECONDS = 2.0
"""Time that all runs of one entry may take, more or less."""
RUNS = (5, 1000)
"""Fewest and most runs that are timed."""
WARM_UP = 3


@dataclass(frozen=True)
class CallProfile:
    """One call of an entry, in a run that follows others."""

    number: int
    """Its place in the run."""
    seconds: float
    """Median of the runs."""
    fastest: float
    rounds: int | None
    """How often a run makes it, if that is known: more than once only in a loop."""
    spec: CallSpec | None
    """What one round does; None for an artifact of a version that did not record it."""
    bound: Bound | None
    """The least time that all rounds can take on this machine, if that is known."""
    kernel: str

    @property
    def work(self) -> tuple[int, int] | None:
        """Operations and bytes of all rounds, if they are known."""
        if self.spec is None or (self.spec.repeats and self.rounds is None):
            return None
        rounds = self.rounds or 1
        return self.spec.flops * rounds, self.spec.bytes * rounds


@dataclass(frozen=True)
class EntryProfile:
    """The calls of one entry, and the whole run."""

    entry: int
    seconds: float
    """Median of whole runs, without timing calls."""
    runs: int
    calls: tuple[CallProfile, ...]
    """In the order in which they lie; what no kernel runs is not among them."""
    waited: float = 0.0
    """Seconds that threads waited for processors which other processes had, in a second of all
    runs."""

    @property
    def is_disturbed(self) -> bool:
        """Whether other work on the machine is in the figures."""
        return self.waited > WAITED


def profile_entry(artifact: Artifact, entry: int, roofline: Roofline | None) -> EntryProfile:
    """Run an entry on its stored example and time each call.

    Raises:
        BurnishError: the artifact cannot run here.
        InvalidInput: it has no example, or its files disagree.
    """
    inputs = artifact.example(entry).inputs
    waited, begun = seconds_waited(), time.perf_counter()
    seconds, runs = _time(artifact, inputs)
    waited = (seconds_waited() - waited) / (time.perf_counter() - begun)
    times = call_timings(runs)
    specs = artifact.calls(entry)
    if specs is not None and [spec.kernel for spec in specs] != [each.name for each in times]:
        raise InvalidInput(f"{artifact.path}: the library makes other calls than are described")
    rounds = [each.rounds for each in times]
    limits = bounds(specs, roofline, rounds) if specs and roofline else None
    calls = tuple(
        CallProfile(
            number, each.seconds, each.fastest, each.rounds, specs[number] if specs else None,
            limits[number] if limits else None, each.name,
        )
        for number, each in enumerate(times)
        if each.seconds  # else it is a jump, a part for ONNX Runtime or a branch not taken
    )  # fmt: skip
    return EntryProfile(entry, seconds, len(runs), calls, waited)


def _time(artifact: Artifact, inputs: Tensors) -> tuple[float, list[list[CallTime]]]:
    """Median seconds of whole runs, and the calls of as many others.

    They take turns, so that other work on the machine hits both alike.
    """
    for _ in range(WARM_UP):
        artifact.run(inputs)
    whole: list[float] = []
    calls: list[list[CallTime]] = []
    least, most = RUNS
    begun = time.perf_counter()
    while len(whole) < least or (len(whole) < most and time.perf_counter() - begun < SECONDS):
        # What comes next finds threads awake, and caches as a run leaves them.
        artifact.run(inputs)
        started = time.perf_counter()
        artifact.run(inputs)
        whole.append(time.perf_counter() - started)
        calls.append(artifact.profile_run(inputs))
    return statistics.median(whole), calls
