"""Optional passes: kept only where they pay, by measurement, and where the task allows it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from burnish.bench.budgets import drop_of
from burnish.building.workshop import Made, Workshop


@dataclass(frozen=True)
class Verdict:
    """What became of an optional pass, and why."""

    name: str
    kept: bool
    reason: str

    def __str__(self) -> str:
        return f"{'kept' if self.kept else 'left out'} {self.name}: {self.reason}"


def settle(shop: Workshop) -> list[Verdict]:
    """Which of the job's optional passes are to be left out.

    Each is judged in turn, with those before it that were kept: the result without it is timed
    against the result with it, in blocks that alternate. It stays if the ratio reaches what is
    asked of it and its interval lies above one.

    Raises:
        BurnishError: a result cannot be made or is wrong.
    """
    found: list[Verdict] = []
    for name, least in shop.job.optional.items():
        with tempfile.TemporaryDirectory(prefix="burnish-build-") as scratch:
            found.append(_judged(shop, name, least, left_out(found), Path(scratch)))
    return found


def left_out(found: Sequence[Verdict]) -> list[str]:
    """Those that do not stay."""
    return [one.name for one in found if not one.kept]


def _judged(shop: Workshop, name: str, least: float, skip: list[str], scratch: Path) -> Verdict:
    """Whether the pass is to stay."""
    within, without = shop.make(skip), shop.make([*skip, name])
    undone = [one for one in within.report if one.name == name and one.rolled_back]
    if undone:
        return Verdict(name, False, f"it was undone: {undone[0].rolled_back}")
    if not any(one.name == name and one.changed for one in within.report):
        return Verdict(name, False, "it changes nothing")
    paths = scratch / "with", scratch / "without"
    for folder, made in zip(paths, (within, without), strict=True):
        folder.mkdir()
        made.save(folder / shop.job.output.name)
    one, other = (
        shop.contender(folder / shop.job.output.name, made)
        for folder, made in zip(paths, (within, without), strict=True)
    )
    if reason := _guarded(shop, within, one.path):
        return Verdict(name, False, reason)
    gain = shop.ring.ratio(other, one)
    measured = f"measured {gain.median:.3f}x [{gain.low:.3f}, {gain.high:.3f}]"
    if gain.median >= least and gain.low <= 1:
        return Verdict(name, False, f"{measured}, which may be no gain at all")
    return Verdict(name, gain.median >= least, f"{measured}, where {least:g}x is asked for")


def _guarded(shop: Workshop, made: Made, path: Path) -> str:
    """Why the task forbids the pass, empty if it does not."""
    allowed = shop.job.budgets.max_drop
    if allowed is None:
        return ""
    drop, low, high = drop_of(shop.metrics(made, path))
    if drop <= allowed:
        return ""
    return f"it costs {drop:.2f} points [{low:.2f}, {high:.2f}], where {allowed:g} are allowed"
