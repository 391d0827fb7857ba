"""What the runtime's thread pool costs: fork and join while it is awake, and waking it."""

import ctypes
from collections.abc import Sequence
from ctypes import c_int, c_uint64, c_void_p
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from burnish.backends.library import SharedLibrary
from burnish.backends.link import link_library
from burnish.bench.stats import Estimate, estimate_median
from burnish.target import resolve

WORK = (2_000, 8_000, 32_000)
"""Nanoseconds of work that a fork shares out."""
PAUSES = (0, 1_000_000, 20_000_000)
"""Nanoseconds of sleep before a fork; 0 for none."""

HARNESS = r"""
#include <time.h>
#include "internal.h"

const burnish_program burnish_the_program = {0};

BURNISH_API burnish_pool *burnish_measure_open(int threads);
BURNISH_API void burnish_measure_close(burnish_pool *pool);
BURNISH_API void burnish_measure(burnish_pool *pool, uint64_t work, uint64_t pause, int count,
                                 uint64_t *nanoseconds);

static int32_t work_for_a_while(int32_t task, burnish_environment *environment, void *work) {
  (void)task;
  uint64_t end = burnish_nanoseconds() + *(uint64_t *)work / (uint64_t)environment->tasks;
  while (burnish_nanoseconds() < end) {
  }
  return 0;
}

burnish_pool *burnish_measure_open(int threads) { return burnish_pool_new(threads); }

void burnish_measure_close(burnish_pool *pool) { burnish_pool_delete(pool); }

void burnish_measure(burnish_pool *pool, uint64_t work, uint64_t pause, int count,
                     uint64_t *nanoseconds) {
  struct timespec time = {0, (long)pause};
  for (int i = 0; i < count; i++) {
    if (pause) nanosleep(&time, NULL);
    uint64_t start = burnish_nanoseconds();
    burnish_pool_enter(pool);
    burnish_launch(work_for_a_while, &work, 0);
    burnish_pool_leave(pool);
    nanoseconds[i] = burnish_nanoseconds() - start;
  }
}
"""


@dataclass(frozen=True, slots=True)
class PoolRow:
    """How long one fork and join took."""

    threads: int
    work: int
    """Nanoseconds of work, shared out evenly."""
    pause: int
    """Nanoseconds of sleep before it."""
    seconds: Estimate
    fastest: float
    """Seconds."""

    @property
    def overhead(self) -> float:
        """Seconds beyond an even share of the work, in the median."""
        return self.seconds.median - self.work * 1e-9 / self.threads


def measure_pool(threads: int, repeat: int = 2000) -> list[PoolRow]:
    """Time forks of evenly shared work, awake and after pauses.

    Args:
        threads: of the pool, the caller's included.
        repeat: forks of each kind; those after pauses are fewer.
    """
    linked = link_library([], {"driver.c": HARNESS}, resolve("cpu"))
    library = SharedLibrary(linked, "the library that measures the pool")
    c = library.handle
    c.burnish_measure_open.restype = c_void_p
    c.burnish_measure.argtypes = (c_void_p, c_uint64, c_uint64, c_int, c_void_p)
    c.burnish_measure.restype = None
    pool = c_void_p(c.burnish_measure_open(threads))
    try:
        return [
            _row(c, pool, threads, (work, pause), min(repeat, 50) if pause else repeat)
            for pause in PAUSES
            for work in WORK
        ]
    finally:
        c.burnish_measure_close(pool)
        library.close()


def _row(
    c: ctypes.CDLL, pool: c_void_p, threads: int, kind: tuple[int, int], repeat: int
) -> PoolRow:
    times = (c_uint64 * repeat)()
    c.burnish_measure(pool, *kind, repeat, times)
    seconds = [nanoseconds * 1e-9 for nanoseconds in times]
    return PoolRow(threads, *kind, estimate_median(seconds), min(seconds))


def as_table(rows: Sequence[PoolRow]) -> Table:
    """Lay rows out for a terminal."""
    table = Table(title="Fork and join, in microseconds", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("pause", "work", "median", "fastest", "beyond an even share"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            f"{row.pause / 1e3:.0f}",
            f"{row.work / 1e3:.0f}",
            f"{row.seconds.median * 1e6:.2f}",
            f"{row.fastest * 1e6:.2f}",
            f"{row.overhead * 1e6:.2f}",
        )
    return table
