"""What the figures of a bench depend on, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from burnish.bench.answers import Answers
from burnish.bench.document import Interval
from burnish.bench.kernels import Profile
from burnish.bench.sittings import Pace, Timings
from burnish.wording import counted, duration

ALIKE = 0.1
"""Share by which kernels may add up to more or less than a run without a word about it."""


def remarks(
    timings: Timings, asked: Answers, *, compiles: bool, tune: float, seconds: float
) -> Iterator[str]:
    """Yield what to know of variants and their times.

    Args:
        timings: of the variants.
        asked: about them.
        compiles: whether kernels are burnish's own.
        tune: seconds of tuning for each variant.
        seconds: that timing might take.
    """
    for name, how in asked.forms.ladder.undone.items():
        yield f"{name} crashes in some variants and is left out there: {how}"
    if compiles:
        yield (
            "kernels of all variants are first choices, untuned (--tune off)"
            if not tune
            else f"each variant was tuned for {tune:g} s at most, the whole first; what "
            "was tuned once holds for all"
        )
        yield "compile times count kernels that no variant before had"
    if fallbacks := asked.fallbacks():
        yield (
            "operators without kernels of burnish run in ONNX Runtime, which is part of what "
            f"passes are worth that change their share: {', '.join(fallbacks)} have kernels"
        )
    untimed = timings.untimed
    if untimed:
        were = "was" if len(untimed) == 1 else "were"
        yield (
            f"{counted(len(untimed), 'variant')} {were} not timed in {seconds:g} s; raise --time, "
            "or leave passes out with --skip"
        )
    sat = sum(len(sitting) for sitting in timings.sittings)
    contrasts = timings.contrasts()
    open_ones = sum(not timings.is_decided(pair, contrasts, Pace()) for pair in timings.comparisons)
    yield (
        f"{sat} processes were timed in {counted(len(timings.sittings), 'sitting')}, "
        f"{timings.spent:.0f} s; of {counted(len(timings.comparisons), 'comparison')} "
        f"{open_ones} would gain by a larger --time"
    )


def profile_remarks(profile: Profile, latency: Interval | None) -> Iterator[str]:
    """Yield why kernels add up to something else than a run takes, where they do."""
    if latency is None or abs(profile.total / latency.value - 1) <= ALIKE:
        return
    yield (
        f"kernels add up to {duration(profile.total)}, where a run takes "
        f"{duration(latency.value)}: they are timed one by one, in a process that has other "
        f"work behind it, where a run takes {duration(profile.run)}; shares are of their sum"
    )
