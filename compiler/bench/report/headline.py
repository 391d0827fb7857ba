"""What the pipeline was worth: one sentence and three figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from burnish.bench.document import Interval, Variant
from burnish.bench.report.facts import Facts
from burnish.bench.report.text import count, ends, error, finite, relative, signed, times
from burnish.wording import UNKNOWN, counted, data_size, duration, visible

ENGINES = {"tvm": "burnish's kernels", "ort": "ONNX Runtime"}


@dataclass(frozen=True)
class Tile:
    """One large figure with what it is and where it comes from."""

    name: str
    figure: str
    detail: str


def model_name(facts: Facts) -> str:
    """The model's file, without its folder."""
    return visible(PurePath(facts.document.model.path).name or facts.document.model.path)


def sentence(facts: Facts) -> str:
    """What the pipeline was worth, in one sentence."""
    document, name = facts.document, model_name(facts)
    on = f"{counted(document.threads, 'thread')} with {ENGINES[document.engine]}"
    if facts.whole is not None and facts.whole.failure:
        return f"The pipeline's result for {name} was not timed: {visible(facts.whole.failure)}."
    if facts.original is facts.whole and facts.whole is not None:
        return f"The pipeline changes nothing in {name} that {ENGINES[document.engine]} would see."
    worth = facts.worth()
    if worth is None and _is_timed(facts):
        return (
            f"What the pipeline is worth in {name} is not known: too few processes were timed to "
            "tell, and a larger --time would time more."
        )
    if worth is None:
        return f"What the pipeline is worth in {name} was not measured."
    before, after = (duration(facts.time(key)) for key in (document.original, document.whole))
    times_now = f"{after} a run instead of {before} on {on}"
    if worth.low > 1:
        return f"The pipeline makes {name} {times(worth.value)} as fast: {times_now}."
    if worth.high < 1:
        return f"The pipeline makes {name} slower, {times(worth.value)} as fast: {times_now}."
    return f"The pipeline makes no difference to the speed of {name} beyond noise: {times_now}."


def _is_timed(facts: Facts) -> bool:
    """Whether the pipeline's result was timed at all."""
    return facts.whole is not None and facts.whole.blocks > 0


def tiles(facts: Facts) -> list[Tile]:
    """Speed, size and agreement."""
    return [_speed(facts), _size(facts), _agreement(facts)]


def comparison(facts: Facts) -> str:
    """How the best of the other engines fares, in one sentence; empty if none was timed."""
    timed = [
        (ratio, column) for column in facts.engines if (ratio := finite(column.ratio)) is not None
    ]
    if not timed:
        return ""
    parts = [
        f"{visible(column.name)} {visible(column.version)} takes {times(ratio.value)} as long"
        + (" (within noise)" if ratio.low <= 1 <= ratio.high else "")
        for ratio, column in timed
    ]
    return f"On the same inputs, {' and '.join(parts)}."


def _speed(facts: Facts) -> Tile:
    worth = facts.worth()
    if worth is None:
        why = "too few processes were timed to tell" if _is_timed(facts) else "not measured"
        return Tile("Speed", UNKNOWN, why)
    return Tile("Speed", times(worth.value), f"of the original's; 95% interval {ends(worth)}")


def _size(facts: Facts) -> Tile:
    before, after = facts.original, facts.whole
    if before is None or after is None:
        return Tile("Operators", UNKNOWN, "not measured")
    sizes = f"constants {data_size(before.constant_bytes)} → {data_size(after.constant_bytes)}"
    change = relative(before.constant_bytes, after.constant_bytes)
    detail = f"{sizes} ({change})" if change not in ("", "same") else sizes
    return Tile("Operators", f"{count(before.operators)} → {count(after.operators)}", detail)


def _agreement(facts: Facts) -> Tile:
    whole = facts.whole
    scored = [] if whole is None else [m for m in whole.metrics if m.difference is not None]
    if scored:
        metric = scored[0]
        difference: Interval = metric.difference  # type: ignore[assignment]
        name = visible(metric.name)
        return Tile(
            f"Change of {name}", signed(difference.value),
            f"95% interval {signed(difference.low)} to {signed(difference.high)} "
            f"on {count(metric.items)} items",
        )  # fmt: skip
    worst = _worst(whole)
    if worst is None:
        return Tile("Agreement", UNKNOWN, "not compared with the original")
    return Tile("Largest error", error(worst), "of any output, relative to its largest value")


def _worst(whole: Variant | None) -> float | None:
    errors = [] if whole is None else [each.error for each in whole.fidelity]
    return max(errors, default=None)
