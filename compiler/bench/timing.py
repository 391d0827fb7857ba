"""Engines timed in turns: blocks that alternate, until what they say is sharp enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from burnish.bench.client import Engine
from burnish.bench.stats import Estimate, estimate_median

FEWEST = 6
"""Blocks below which the interval of a median is no better than the range."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often to measure."""

    blocks: int = 12
    """Blocks per engine at most; they alternate, so that drifts of the machine hit all alike."""
    seconds: float = 0.2
    """About how long one block of the slowest engine runs."""
    warm: int = 3
    """Runs at the start of a block that do not count; fewer where one takes long."""
    narrow: float = 0.02
    """Blocks end early when no interval of a ratio is wider than this share of it."""


Blocks: TypeAlias = Sequence[Sequence[float]]
"""Seconds of every run, block by block."""


def alternate(engines: Mapping[str, Engine], plan: Plan, base: str) -> dict[str, Blocks]:
    """Time loaded and fed engines in alternating blocks.

    Args:
        engines: by name; the order of a round is reversed in the next, so that none always
            follows another.
        plan: how long to measure.
        base: the engine that ratios are formed with.
    """
    slowest = max(min(one.time(plan.warm, warm=1)) for one in engines.values())
    count = max(3, round(plan.seconds / slowest))
    warm = max(1, min(plan.warm, round(plan.seconds / 4 / slowest)))
    turns = list(engines)
    found: dict[str, list[list[float]]] = {name: [] for name in turns}
    for done in range(1, plan.blocks + 1):
        for name in turns:
            found[name].append(engines[name].time(count, warm=warm))
        turns.reverse()
        ratios = [ratio(found[name], found[base]) for name in turns if name != base]
        if done >= FEWEST and all(one.spread <= plan.narrow for one in ratios):
            break
    return dict(found)


def seconds(blocks: Blocks) -> Estimate:
    """The median of all runs."""
    return estimate_median([one for block in blocks for one in block])


def ratio(one: Blocks, other: Blocks) -> Estimate:
    """One engine's time over another's, from the medians of neighbouring blocks."""
    return estimate_median([median(a) / median(b) for a, b in zip(one, other, strict=True)])


def fastest_ratio(one: Blocks, other: Blocks) -> float:
    """The same of the fastest runs: what is left when other work on the machine is not counted."""
    return min(map(min, one)) / min(map(min, other))
