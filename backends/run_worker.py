"""The process in which an artifact is timed with its calls shared among threads, or not.

One request times one entry under several plans in turn; a plan names the calls that one thread
runs alone. Turns in which one of our threads had to wait for a processor that other processes
had do not count: what they took says nothing of the plan.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, sleep
from typing import Any

import numpy as np

from burnish.backends.arrays import OutputArrays, address_of, aligned_empty
from burnish.backends.artifact import Artifact, load_artifact
from burnish.backends.child import serve
from burnish.backends.waiting import WAITED, seconds_waited
from burnish.errors import BurnishError

WARM_UP, WARM_SECONDS = 2, 0.0003
"""Runs, and time for them, at the start of a turn that are not timed: threads wake, caches fill."""
BLOCK_SECONDS = 0.002
"""Time that one plan has in its turn, more or less."""
SETTLING = 0.0003
"""Seconds after a turn in which threads that were kept waiting get to run."""


@dataclass(frozen=True)
class Request:
    """What to time."""

    entry: int
    plans: tuple[tuple[bool, ...], ...]
    """For each plan, whether each call runs alone."""
    seconds: float
    """For all plans together."""
    rounds: int
    """Turns of each plan, at least; nothing is timed if there is no time for so many."""
    profiled: bool
    """Whether to time every call, or else the whole run."""


Rounds = list[list[np.ndarray]]
"""For each plan and round, an array of seconds: [run] or [run, call]."""


@dataclass
class Bench:
    """An artifact with memory for the runs of one entry."""

    artifact: Artifact
    memory: dict[int, _Memory] = field(default_factory=dict)

    def time(self, request: Request) -> Rounds | str:
        """Time the plans in turns, none of them if it would take too long."""
        found: Rounds = [[] for _ in request.plans]
        begin = perf_counter()
        try:
            count = 0
            while count < request.rounds or perf_counter() - begin < request.seconds:
                order = range(len(request.plans))
                for number in order if count % 2 else reversed(order):
                    self.artifact.native.share(request.entry, request.plans[number])
                    found[number].append(self._block(request))
                count += 1
                if (perf_counter() - begin) / count * request.rounds > 2 * request.seconds:
                    return [[] for _ in request.plans]
        except BurnishError as error:
            return str(error)
        return found

    def _block(self, request: Request) -> np.ndarray:
        """What each run took in one turn of a plan; nothing if it was disturbed."""
        native, entry = self.artifact.native, request.entry
        memory = self._memory(entry)
        begin, warm = perf_counter(), 0
        while warm < WARM_UP or perf_counter() - begin < WARM_SECONDS:
            native.run(entry, memory.inputs, memory.outputs)
            warm += 1
        native.profile(request.profiled)
        times: list[Any] = []
        waited, begin = seconds_waited(), perf_counter()
        before, stop = native.nanoseconds(entry), begin
        while stop - begin < BLOCK_SECONDS:
            start = perf_counter()
            native.run(entry, memory.inputs, memory.outputs)
            stop = perf_counter()
            if request.profiled:
                after = native.nanoseconds(entry)
                times.append((after - before) * 1e-9)
                before = after
            else:
                times.append(stop - start)
        native.profile(False)
        # A thread that waits still is counted once it gets a processor: ours will do.
        sleep(SETTLING)
        is_disturbed = seconds_waited() - waited > WAITED * (stop - begin)
        return np.array([] if is_disturbed else times)

    def _memory(self, entry: int) -> _Memory:
        if entry not in self.memory:
            spec = self.artifact.manifest.entries[entry]
            example = self.artifact.example(entry).inputs
            inputs = [aligned_empty(port.shape, port.dtype) for port in spec.inputs]
            for array, port in zip(inputs, spec.inputs, strict=True):
                array[...] = example[port.name]
            pointers = struct.pack(f"{len(inputs)}P", *map(address_of, inputs))
            outputs, places = OutputArrays(spec.outputs).make()
            self.memory[entry] = _Memory(pointers, places, (inputs, outputs))
        return self.memory[entry]


@dataclass(frozen=True)
class _Memory:
    """What a run works on."""

    inputs: bytes
    """Pointers."""
    outputs: bytes
    kept: object
    """The arrays that they point to."""


def _begin(path: str) -> Callable[[Request], Rounds | str]:
    return Bench(load_artifact(path, verify=False)).time


if __name__ == "__main__":
    serve(_begin)
