"""Object code of single kernels, each compiled once for all models that hold it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from burnish.backends.cpu import codegen
from burnish.backends.cpu.schedule import schedule
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.backends.schedule_cache import ScheduleCache
from burnish.target import Target


@dataclass(frozen=True)
class Variant:
    """A kernel, scheduled in one way."""

    key: str
    """Of the kernel's structure."""
    label: str
    """What it does, in a word, for people."""
    func: Any
    """The unscheduled TIR function."""
    config: TileConfig | None = None
    """The candidate to schedule it by; None for the first choice."""

    @property
    def symbol(self) -> str:
        """The kernel's name in object code: equal for equal variants in every model."""
        digest = hashlib.sha256(f"{self.key}|{self.config}".encode()).hexdigest()
        return f"{self.label}_{digest[:12]}"


def is_parallel(data: bytes) -> bool:
    """Whether the kernel in an object file can share its work among threads."""
    return b"__TVMBackendParallelLaunch" in data


class KernelObjects:
    """Compiles variants, on all cores, unless the cache has them."""

    def __init__(self, target: Target, cache: ScheduleCache) -> None:
        self._target, self._cache = target, cache

    def get(
        self,
        variants: Sequence[Variant],
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[Variant, bytes | Exception]:
        """An object file for each variant, or why there is none.

        ``progress`` is called with how many are compiled, and of how many.
        """
        found: dict[Variant, bytes | Exception] = {}
        for variant in variants:
            known = self._cache.object(variant.symbol)
            if known is not None:
                found[variant] = known
        missing = [variant for variant in variants if variant not in found]
        made = self._compile(missing, progress)
        self._cache.put_objects(
            {v.symbol: data for v, data in made.items() if isinstance(data, bytes)}
        )
        return {variant: (found | made)[variant] for variant in variants}

    def _compile(
        self, variants: Sequence[Variant], progress: Callable[[int, int], None] | None
    ) -> dict[Variant, bytes | Exception]:
        made: dict[Variant, bytes | Exception] = {}
        # TVM lets go of Python's lock while it works.
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            jobs: dict[Variant, Future[bytes]] = {
                variant: pool.submit(self._one, variant) for variant in variants
            }
            try:
                for done, (variant, job) in enumerate(jobs.items()):
                    if progress:
                        progress(done, len(jobs))
                    error = job.exception()
                    # TVM's errors share no base.
                    made[variant] = error if isinstance(error, Exception) else job.result()
            finally:
                # On Ctrl-C nobody waits for what has not begun.
                pool.shutdown(wait=False, cancel_futures=True)
        return made

    def _one(self, variant: Variant) -> bytes:
        func = schedule(variant.func, self._target, variant.config)
        return codegen.compile_object(variant.symbol, func, self._target)
