"""The graph before and after, operator by operator: what fired where, and what nearly did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from burnish.bench.document import Node, Variant
from burnish.bench.report.facts import Facts
from burnish.bench.report.strips import DRAWN, Mark, describe, strips
from burnish.bench.report.text import operator
from burnish.wording import data_size, of_thousand, shortened, visible

LISTED = 3000
"""Operators in the list of one graph."""
TOLD = 4
"""Rules, reasons and names that are told of one operator; of the rest the number."""


@dataclass(frozen=True)
class Line:
    """One operator in the list."""

    name: str
    op_type: str
    size: str
    work: str
    story: list[str]
    """What fired and nearly fired there, and what became of it or where it came from."""


@dataclass(frozen=True)
class Picture:
    """One graph."""

    key: str
    """Prefix of anchors."""
    operators: int
    """As they are drawn and listed."""
    expanded: int
    """As they are counted elsewhere: each of those that were merged into one by itself."""
    strips: list[Markup]
    lines: list[Line]
    undrawn: int
    unlisted: int


def before(facts: Facts) -> Picture:
    """The graph as it came in."""
    became: dict[str, list[Node]] = {}
    for node in facts.document.after:
        for name in dict.fromkeys(node.sources):
            became.setdefault(name, []).append(node)
    stories, marks = [], []
    for node in facts.document.before:
        fired, missed = _at(facts.fired_at, node), _at(facts.missed_at, node)
        story = [
            _fate(node, became.get(node.name, [])),
            *_told(fired, "fired"),
            *_told(missed, "nearly"),
        ]
        stories.append(story)
        title = "\n".join([describe(node), *story])
        marks.append(Mark(bool(fired), bool(missed and not fired), title))
    return _picture("b", facts.document.before, facts.original, marks, stories)


def after(facts: Facts) -> Picture:
    """The graph as it goes out."""
    known = {node.name: node.op_type for node in facts.document.before}
    stories, marks = [], []
    for node in facts.document.after:
        sources = list(dict.fromkeys(node.sources or [node.name]))
        is_new = len(sources) > 1 or known.get(sources[0]) != node.op_type
        missed: Counter[str] = Counter()
        for name in sources:
            missed.update(facts.missed_at.get(name, {}))
        origin = _names(sources) if sources != [node.name] or len(sources) > 1 else ""
        story = [*([f"from {origin}"] if origin else []), *_told(missed, "nearly")]
        stories.append(story)
        marks.append(Mark(is_new, bool(missed and not is_new), "\n".join([describe(node), *story])))
    return _picture("a", facts.document.after, facts.whole, marks, stories)


def _picture(
    key: str,
    nodes: Sequence[Node],
    variant: Variant | None,
    marks: Sequence[Mark],
    stories: Sequence[list[str]],
) -> Picture:
    lines = [
        Line(
            visible(node.name),
            operator(node.op_type),
            data_size(node.constant_bytes) if node.constant_bytes else "",
            f"{of_thousand(node.flops)}".strip() if node.flops else "",
            story,
        )
        for node, story in zip(nodes[:LISTED], stories, strict=False)
    ]
    return Picture(
        key, len(nodes), variant.operators if variant else len(nodes), strips(nodes, marks, key),
        lines, max(0, len(nodes) - DRAWN), max(0, len(nodes) - LISTED),
    )  # fmt: skip


def _at(places: Mapping[str, Counter[str]], node: Node) -> Counter[str]:
    return places.get(node.name, Counter())


def _told(words: Counter[str], verb: str) -> list[str]:
    told = [f"{verb}: {shortened(visible(text), 160)}" for text in list(words)[:TOLD]]
    if more := len(words) - TOLD:
        if more > 0:
            told.append(f"{verb}: {more} more")
    return told


def _fate(node: Node, became: Sequence[Node]) -> str:
    if not became:
        return "gone"
    if len(became) == 1 and became[0].name == node.name and became[0].op_type == node.op_type:
        return "stays" if len(set(became[0].sources)) < 2 else "stays, with others in it"
    kinds = Counter(operator(each.op_type) for each in became)
    return "now " + ", ".join(
        kind if count == 1 else f"{count} {kind}" for kind, count in kinds.most_common(TOLD)
    )


def _names(names: Sequence[str]) -> str:
    shown = [shortened(visible(name)) for name in names[:TOLD]]
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(shown) + more
