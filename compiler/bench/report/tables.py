"""Rows of the tables of a report, as text."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from burnish.bench.document import Document, Interval, Step, Variant
from burnish.bench.report.facts import SIGNS, Facts, PassFacts
from burnish.bench.report.layers import Layer
from burnish.bench.report.roofline import by_share, kernel_family
from burnish.bench.report.text import (
    count,
    digits,
    ends,
    error,
    finite,
    metric,
    percent,
    relative,
    signed,
    signed_digits,
    times,
)
from burnish.wording import UNKNOWN, data_size, duration, of_thousand, shortened, visible

LAYERS = 400
"""Rows of the table of layers."""
KERNELS = 40
"""Kernels in the table; the others are one row."""


@dataclass(frozen=True)
class Table:
    """Rows of text under heads."""

    label: str
    """For those who do not see where it stands."""
    heads: list[str]
    rows: list[list[str]]
    """Cells; what follows the first line of one is set smaller."""
    right: frozenset[int] = frozenset()
    """Numbers of the columns that hold figures."""
    long: frozenset[int] = frozenset()
    """Numbers of the columns with names that may be long."""
    is_tall: bool = False
    """Whether it scrolls in a box of its own."""


def _table(label: str, heads: str, rows: list[list[str]], *, tall: bool = False) -> Table | None:
    """A table without columns in which no row has anything; None if there are no rows.

    Args:
        label: what it shows.
        heads: of the columns, between bars; one that starts with ``>`` holds figures, one that
            starts with ``~`` names that may be long.
        rows: as many cells each.
        tall: whether it scrolls in a box of its own.
    """
    all_heads = heads.split("|")
    kept = [
        number for number in range(len(all_heads))
        if number == 0 or any(row[number] not in ("", UNKNOWN) for row in rows)
    ]  # fmt: skip
    shown = [all_heads[number] for number in kept]
    return None if not rows else Table(
        label, [head.lstrip(">~") for head in shown], [[row[n] for n in kept] for row in rows],
        frozenset(n for n, head in enumerate(shown) if head.startswith(">")),
        frozenset(n for n, head in enumerate(shown) if head.startswith("~")), tall,
    )  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A figure, and smaller what qualifies it."""

    figure: str
    detail: str = ""


def worth(step: Step | None) -> Cell:
    """What a pass is worth in one view."""
    if step is None:
        return Cell(UNKNOWN)
    sign = SIGNS[step.verdict]
    speedup = finite(step.speedup)
    if speedup is None:
        words = {"same": "no change", "untimed": "not timed"}
        return Cell(f"{sign} {words.get(step.verdict, step.verdict)}")
    return Cell(f"{sign} {times(speedup.value, 3)}", ends(speedup, 3))


def balance(facts: PassFacts) -> str:
    """Operators that a pass removes (with a minus) or adds."""
    if facts.operators is None:
        return UNKNOWN
    return f"{-facts.operators:+d}".replace("-", "−") if facts.operators else ""


_Quantity: TypeAlias = tuple[str, Callable[[Variant], float | None], Callable[[float], str]]
_FIGURES: list[_Quantity] = [
    ("operators", lambda v: v.operators, count),
    ("parameters", lambda v: v.parameters, count),
    ("constants", lambda v: v.constant_bytes, lambda n: data_size(round(n))),
    ("operations of a run", lambda v: v.flops, lambda n: of_thousand(n) + "FLOP"),
    ("artifact", lambda v: v.artifact_bytes, lambda n: data_size(round(n))),
    ("artifact compressed", lambda v: v.compressed_bytes, lambda n: data_size(round(n))),
    ("memory of a run", lambda v: v.arena_bytes, lambda n: data_size(round(n))),
    ("time to compile", lambda v: v.compile_seconds, duration),
]


def figures(facts: Facts) -> Table | None:
    """One row for each quantity: original, what passes alone are on top of, whole, change."""
    shown = (facts.original, facts.cleanup, facts.whole)
    time: _Quantity = ("time of a run", lambda v: facts.time(v.id), duration)
    rows = []
    for name, read, write in [time, *_FIGURES]:
        found = [None if variant is None else read(variant) for variant in shown]
        if any(figure is not None for figure in found):
            cells = [UNKNOWN if figure is None else write(figure) for figure in found]
            rows.append([name, *cells, relative(found[0], found[2])])
    base = facts.document.base
    return _table("Figures", f"|>original|>{base} alone|>whole pipeline|>change", rows)


def variants(facts: Facts) -> Table | None:
    """One row for each graph that was made."""
    rows = [
        [
            visible(variant.id), _role(facts.document, variant), count(variant.operators),
            data_size(variant.constant_bytes), _measured(variant.latency, duration),
            _measured(variant.ratio, lambda ratio: times(ratio, 3)), count(variant.blocks),
            visible(variant.failure or ""),
        ]
        for variant in facts.document.variants
    ]  # fmt: skip
    heads = ("graph|~which|>operators|>constants|>median time of a run|>speed to the whole|"
             ">blocks|~not timed because")  # fmt: skip
    return _table("Graphs", heads, rows, tall=True)


def _role(document: Document, variant: Variant) -> str:
    names = {"original": document.original, f"{document.base} alone": document.cleanup,
             "whole pipeline": document.whole}  # fmt: skip
    roles = [role for role, key in names.items() if key == variant.id]
    if roles:
        return ", ".join(roles)
    return "after " + visible(variant.passes[-1]) if variant.passes else ""


def _measured(interval: Interval | None, write: Callable[[float], str]) -> str:
    known = finite(interval)
    if known is None:
        return UNKNOWN
    return f"{write(known.value)}\n{write(known.low)} to {write(known.high)}"


def columns(facts: Facts, *, ablated: bool = False) -> Table | None:
    """One row for each engine that was compared with, or that lacks an optimizer of its own."""
    rows = [
        [
            visible(column.name), visible(column.version),
            _measured(facts.latency(column), duration), _measured(column.ratio, times),
            count(column.operators),
            UNKNOWN if column.file_bytes is None else data_size(column.file_bytes),
            visible(column.failure or ""),
        ]
        for column in (facts.ablated if ablated else facts.engines)
    ]  # fmt: skip
    heads = "~engine|version|>time of a run|>ratio|>operators|>file|~not measured because"
    return _table("Other engines", heads, rows, tall=ablated)


def metrics(facts: Facts, *, of_others: bool = False) -> Table | None:
    """One row for each metric of the original, cleanup and the whole pipeline, or of all others."""
    main = [v for v in (facts.original, facts.cleanup, facts.whole) if v is not None]
    shown = list({v.id: v for v in main}.values())
    if of_others:
        shown = [v for v in facts.document.variants if v not in shown]
    names = dict.fromkeys(scored.name for v in shown for scored in v.metrics)
    rows = [
        [
            visible(name), _role(facts.document, variant) or visible(variant.id),
            _measured(scored.value, metric),
            "" if scored.difference is None else _measured(scored.difference, signed),
            "higher" if scored.higher_is_better else "lower", count(scored.items),
        ]
        for name in names
        for variant in shown
        for scored in variant.metrics
        if scored.name == name
    ]  # fmt: skip
    heads = "~metric|~model|>value|>difference|better|>items"
    return _table("Metrics", heads, rows, tall=of_others)


def effects(facts: Facts) -> Table | None:
    """One row for each lossy pass, view and metric: with the pass, and what it changes."""
    rows = [
        [
            visible(step.name), "left out" if step.view == "without" else step.view,
            visible(scored.name), _measured(scored.value, digits),
            "" if scored.difference is None else _measured(scored.difference, signed_digits),
            "higher" if scored.higher_is_better else "lower",
        ]
        for step in facts.document.steps
        for scored in step.metrics
    ]  # fmt: skip
    heads = "~pass|~view|~metric|>with it|>what it changes|better"
    return _table("Effects", heads, rows, tall=True)


def fidelity(facts: Facts) -> Table | None:
    """One row for each output of the whole pipeline, and of variants that were refused for it."""
    rows = [
        [
            visible(each.output), _role(facts.document, variant), error(each.error),
            UNKNOWN if each.kl is None else f"{each.kl:.1e} nats",
            UNKNOWN if each.top1 is None else percent(each.top1, 2),
            UNKNOWN if each.sqnr is None else f"{each.sqnr:.0f} dB",
        ]
        for variant in facts.document.variants
        if variant is facts.whole or variant.failure
        for each in variant.fidelity
    ]  # fmt: skip
    heads = "~output|~model|>largest error|>divergence|>same top 1|>signal to noise"
    return _table("Fidelity", heads, rows)


def layer_rows(found: list[Layer]) -> Table | None:
    """One row for each of the largest layers."""
    rows = [
        [
            visible(each.name), visible(each.op_type), data_size(each.before),
            data_size(round(each.after)), relative(each.before, each.after) or "new",
        ]
        for each in found[:LAYERS]
    ]  # fmt: skip
    return _table("Layers", "~layer|operator|>before|>after|>change", rows, tall=True)


def kernels(document: Document) -> Table | None:
    """One row for each kernel, the slowest first."""
    found = by_share(document)
    rows = [
        [
            f"{number}. {visible(kernel.name)}", kernel_family(kernel),
            ", ".join(shortened(visible(name), 40) for name in kernel.sources[:2])
            + (f" and {len(kernel.sources) - 2} more" if len(kernel.sources) > 2 else ""),
            duration(kernel.seconds), percent(kernel.share), _rate(kernel.flops, kernel.seconds),
            f"{kernel.flops / kernel.bytes:.3g}" if kernel.bytes > 0 else UNKNOWN,
            UNKNOWN if not kernel.bound_seconds or kernel.seconds <= 0
            else percent(kernel.bound_seconds / kernel.seconds, 0),
            visible(kernel.bound_by or UNKNOWN),
        ]
        for number, kernel in enumerate(found[:KERNELS], 1)
    ]  # fmt: skip
    if rest := found[KERNELS:]:
        seconds, share = sum(k.seconds for k in rest), sum(k.share for k in rest)
        rows.append([f"{len(rest)} more", "", "", duration(seconds), percent(share),
                     *[""] * 4])  # fmt: skip
    heads = "~kernel|kind|~from|>time|>share|>rate|>FLOP/byte|>of bound|bound by"
    return _table("Kernels", heads, rows, tall=True)


def _rate(flops: float, seconds: float) -> str:
    return f"{of_thousand(flops / seconds)}FLOP/s" if flops > 0 and seconds > 0 else UNKNOWN


def environment(document: Document) -> Table | None:
    """Names and values; those inside others under both names."""
    rows = [list(row) for row in _flat(document.environment)]
    return _table("Environment", "name|~value", rows)


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        words = f"{prefix}{visible(str(name)).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{words}: ")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            yield words, visible(text)


def command(document: Document) -> str:
    """The command as a shell takes it."""
    return visible(shlex.join(document.command))


def shapes(document: Document) -> str:
    """Inputs of the model with the sizes that were measured."""
    inputs: dict[str, Any] = {**document.model.inputs, **document.shapes}
    return ", ".join(
        f"{visible(name)} [{', '.join(visible(str(size)) for size in sizes)}]"
        for name, sizes in inputs.items()
    )
