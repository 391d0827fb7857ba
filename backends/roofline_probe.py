"""Measuring the roofline of this machine, once for each number of threads.

The C of `runtime/bench/roofline.c` runs on the runtime's own pool, in a process of its own, and
the fastest of many short repetitions counts: other work on the machine makes no limit lower. What
was found is kept in `roofline/` of the cache folder, by processor, caches, threads and the source
that measured it; removing that folder measures anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from burnish.backends.bench_kernels import KernelBench, KernelFailure
from burnish.backends.cache import cache_folder
from burnish.backends.link import RUNTIME, probe_objects
from burnish.backends.roofline import Level, Roofline
from burnish.errors import BurnishError
from burnish.output import staged
from burnish.target import SIZES, Target, processors, resolve

_LOG = logging.getLogger(__name__)

CHAINS = 12
"""Independent sums of `multiply_add` in the C."""
TURNS = 50_000
"""Of its loop, a fraction of a millisecond: the whole of one slice of the processor's time."""
PASSED = 4 << 20
"""Bytes that each thread reads, or more, in one repetition."""
GRAIN = 4096
"""What a thread reads is a multiple of this, in bytes."""
REPEATS, ROUNDS = 1000, 4
"""Each figure is measured in several rounds, in turn with the others."""
BUDGET = 0.07
"""Seconds for the repetitions of one figure in one round."""
MEMORY = (128 << 20, 1 << 30)
"""Fewest and most bytes that are read to find the bandwidth of the memory."""

_EXTRAS = ("bfloat16", "int8")
"""What not every processor can, or not every architecture is measured for."""
_LONGER = 8
"""How much longer these are measured at a time: Zen 4 takes 30 microseconds to their full pace."""
_SYSTEM = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Cache:
    """One level of caches, as many of them as serve the threads."""

    level: int
    size: int
    """Bytes of each of them."""
    count: int
    """How many there are."""


def machine_roofline(threads: int) -> Roofline:
    """Return what this machine does at most with `threads`, measured now or before.

    Measuring takes about two seconds. A cache that cannot be used costs one warning.

    Raises:
        UsageError: this machine is no target.
        BurnishError: the program that measures cannot be made or does not run.
    """
    target = resolve("cpu", threads)
    caches = tuple(_caches(threads, target))
    identity = _identity(target, caches)
    name = hashlib.sha256(identity.encode()).hexdigest()[:32] + ".json"
    path = cache_folder("roofline") / name
    known = _read(path, identity)
    if known is None:
        known = measure(target, caches)
        try:
            with staged(path) as draft:
                draft.write_text(json.dumps({"of": identity, **asdict(known)}, indent=2))
        except BurnishError as error:
            _LOG.warning("the limits of this machine are measured, but not kept: %s", error)
    return known


def measure(target: Target, caches: tuple[Cache, ...]) -> Roofline:
    """Measure this machine with as many threads as `target` has.

    Raises:
        BurnishError: the program that measures cannot be made or does not run.
    """
    threads = target.threads
    largest = max((cache.size * cache.count for cache in caches), default=0)
    reach = min(max(8 * largest, MEMORY[0]), max(2 * largest, MEMORY[1]))
    # The largest comes first: it takes all the memory that the others need.
    parts = {"memory": min(PASSED, _whole(reach // threads))}
    parts |= {f"L{cache.level}": _part(cache, caches, threads) for cache in caches}
    # Lanes of float32 take two products of bfloat16 each, whose vectors always have 512 bits, and
    # four of bytes.
    lanes = target.lanes("float32")
    operations = {"float32": 2 * lanes, "bfloat16": 2 * 2 * 16, "int8": 2 * 4 * lanes}
    figures = [
        *(
            _Figure(dtype, dtype, TURNS * (_LONGER if dtype in _EXTRAS else 1), 0, CHAINS * count)
            for dtype, count in operations.items()
        ),
        *(
            _Figure(name, "read", max(1, PASSED // n), n, n, reach if name == "memory" else 0)
            for name, n in parts.items()
            if n
        ),
    ]
    fastest: dict[str, float] = {}
    with KernelBench(probe_objects(target), target) as bench:
        bench.call_kernel("burnish_probe_settle", [np.array(_processors(threads), np.int64)])
        for figure in figures * ROUNDS:
            try:
                rate = figure.rate(bench, threads)
            except KernelFailure:
                if figure.name not in _EXTRAS:
                    raise
            else:
                fastest[figure.name] = max(fastest.get(figure.name, 0.0), rate)
    capacities = {f"L{cache.level}": cache.size * cache.count for cache in caches}
    names = [*capacities, "memory"]
    levels = [Level(n, capacities.get(n), fastest[n]) for n in names if n in fastest]
    peaks = {dtype: fastest[dtype] for dtype in operations if dtype in fastest}
    return Roofline(_cpu_name(), threads, peaks, tuple(levels))


@dataclass(frozen=True)
class _Figure:
    """Something to measure: a kernel of `roofline.c`, and what a turn of its loop amounts to."""

    name: str
    kernel: str
    turns: int
    part: int
    """Bytes that each thread reads."""
    amount: int
    """Operations or bytes of a thread in each turn."""
    reach: int = 0
    """Bytes that the calls read in turn, a part at a time; by default always the same ones."""

    def rate(self, bench: KernelBench, threads: int) -> float:
        """Operations or bytes per second of all threads."""
        reach = self.reach or threads * self.part
        request = np.array([threads, self.turns, self.part, reach], np.int64)
        kernel = f"burnish_probe_{self.kernel}"
        times = bench.time_kernel(kernel, [request], REPEATS, budget=BUDGET)
        return threads * self.turns * self.amount / min(times)


def _processors(threads: int) -> list[int]:
    """Numbers of processors for threads, of different cores as long as there are any."""
    taken: dict[str, int] = {}
    ranked = []
    for cpu in processors():
        try:
            core = (_SYSTEM / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text()
        except OSError:
            core = str(cpu)
        taken[core] = taken.get(core, 0) + 1
        ranked.append((taken[core], cpu))
    ordered = [cpu for _, cpu in sorted(ranked)]
    return [ordered[number % len(ordered)] for number in range(threads)]


def _part(cache: Cache, caches: tuple[Cache, ...], threads: int) -> int:
    """What each thread reads to find the bandwidth of `cache`, 0 if it cannot be told apart.

    Up to half of the thread's share of it, and too much for the caches before it; not more than
    that takes, because the farther end of a large cache may be slower, or hold others' data.
    """
    part = cache.size * cache.count // (2 * threads)
    before = max((c.size * c.count // threads for c in caches if c.level < cache.level), default=0)
    if part <= 2 * before:
        return 0
    return _whole(min(part, 4 * before or part))


def _whole(part: int) -> int:
    return max(GRAIN, part // GRAIN * GRAIN)


def _caches(threads: int, target: Target) -> list[Cache]:
    """The second and third level, as the system describes them, else as the target does."""
    found: dict[tuple[int, int], set[str]] = {}
    for cpu in processors():
        for index in (_SYSTEM / f"cpu{cpu}" / "cache").glob("index*"):
            try:
                level, kind, size, shared = (
                    (index / name).read_text().strip()
                    for name in ("level", "type", "size", "shared_cpu_list")
                )
            except OSError:
                continue
            if kind != "Instruction" and level in ("2", "3"):
                found.setdefault((int(level), int(size[:-1]) * SIZES[size[-1]]), set()).add(shared)
    known = [Cache(*key, min(threads, len(shared))) for key, shared in sorted(found.items())]
    return known or [Cache(2, target.l2, threads)]


def _cpu_name() -> str:
    """What the processor calls itself, with what tells models of one name apart."""
    wanted = ("vendor_id", "cpu family", "model", "model name", "stepping", "CPU part")
    facts: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    detail = [facts[key] for key in wanted if key in facts and key != "model name"]
    return f"{facts.get('model name', platform.machine())} ({' '.join(detail)})"


def _identity(target: Target, caches: tuple[Cache, ...]) -> str:
    digest = hashlib.sha256((RUNTIME / "bench" / "roofline.c").read_bytes())
    digest.update(Path(__file__).read_bytes())
    facts = (
        _cpu_name(), target.mcpu, target.vector_bits, target.threads, caches,
        metadata.version("burnish"), metadata.version("ziglang"), digest.hexdigest()[:16],
    )  # fmt: skip
    return repr(facts)


def _read(path: Path, identity: str) -> Roofline | None:
    """What was measured before; None if there is nothing, or nothing of use."""
    try:
        return _parse(json.loads(path.read_text()), identity)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        _LOG.warning("%s cannot be used, so the machine is measured anew: %s", path, error)
        return None


def _parse(data: dict[str, Any], identity: str) -> Roofline:
    if data["of"] != identity:
        raise ValueError("it describes another machine")
    levels = tuple(Level(**level) for level in data["levels"])
    peaks = {str(dtype): _positive(peak) for dtype, peak in data["peaks"].items()}
    capacities = [level.capacity for level in levels]
    if not levels or capacities[-1] is not None or "float32" not in peaks:
        raise ValueError("a level is missing")
    levels = tuple(replace(level, bandwidth=_positive(level.bandwidth)) for level in levels)
    for capacity in capacities[:-1]:
        _positive(capacity)
    return Roofline(str(data["cpu"]), int(data["threads"]), peaks, levels)


def _positive(value: object) -> float:
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{value!r} is no positive number")
    return float(value)
