"""What a report states, taken from the document of a bench: no text, no drawing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from burnish.bench.document import Column, Document, Fired, Interval, Step, Variant, View
from burnish.bench.report.text import bounds, finite, inverse

EFFECTIVE = ("faster", "slower", "needed", "failed")
"""Verdicts of passes that are always drawn."""
SIGNS = {"faster": "▲", "slower": "▼", "noise": "≈", "same": "=", "needed": "!", "failed": "✗",
         "untimed": "–"}  # fmt: skip
"""Of verdicts, since colour alone tells not everybody."""
_ABLATION = " without "
"""In the name of an engine without one of its optimizers."""


@dataclass(frozen=True)
class Found:
    """One rule of a pass at all its places, or one reason why it fired at none of them."""

    rule: str
    reason: str | None
    places: list[list[str]]
    """Names of source nodes, place by place."""


@dataclass
class PassFacts:
    """One pass in every view, and what it did."""

    name: str
    views: dict[View, Step] = field(default_factory=dict)
    fired: list[Found] = field(default_factory=list)
    missed: list[Found] = field(default_factory=list)

    @property
    def fires(self) -> int:
        """Places where its rules fired."""
        return sum(len(found.places) for found in self.fired)

    @property
    def misses(self) -> int:
        """Places where they nearly did."""
        return sum(len(found.places) for found in self.missed)

    @property
    def operators(self) -> int | None:
        """Operators that it removes after those before it, else with everything else, else alone.

        None if that was not counted.
        """
        order: tuple[View, ...] = ("cumulative", "without", "alone")
        return next((self.views[v].operators for v in order if v in self.views), None)

    @property
    def matters(self) -> bool:
        """Whether it changes the model in any view."""
        return bool(self.fired) or any(step.verdict != "same" for step in self.views.values())


class Facts:
    """A document with what is looked up in it."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.variants: Mapping[str, Variant] = {v.id: v for v in document.variants}
        self.whole = self.variants.get(document.whole)
        self.original = self.variants.get(document.original)
        self.cleanup = self.variants.get(document.cleanup)
        self.passes = _passes(document)
        self.fired_at = _at_nodes(document.fired)
        self.missed_at = _at_nodes(document.missed)

    @property
    def engines(self) -> list[Column]:
        """What the whole pipeline is compared with."""
        return [column for column in self.document.columns if _ABLATION not in column.name]

    @property
    def ablated(self) -> list[Column]:
        """Engines without one of their own optimizers, the one that costs most first."""
        found = [column for column in self.document.columns if _ABLATION in column.name]
        ratios = {column.name: finite(column.ratio) for column in found}
        return sorted(found, key=lambda c: -r.value if (r := ratios[c.name]) else 0.0)

    def view(self, name: View) -> list[Step]:
        """The steps of one view, in the order of the pipeline."""
        return [step for step in self.document.steps if step.view == name]

    def time(self, identity: str) -> float | None:
        """Seconds of a run of a variant, so that times compare as their ratios do."""
        variant = self.variants.get(identity)
        latency = None if variant is None else self.latency(variant)
        return None if latency is None else latency.value

    def latency(self, timed: Variant | Column) -> Interval | None:
        """Seconds of a run, so that times compare as their ratios do.

        Ratios are measured side by side, medians perhaps minutes apart. So a time is that of the
        whole pipeline times the ratio to it, where both are known.
        """
        own, base = finite(timed.latency), self.whole and finite(self.whole.latency)
        ratio = finite(timed.ratio) if isinstance(timed, Column) else inverse(timed.ratio)
        if ratio is None or not base or timed is self.whole:
            return own
        value, low, high = (base.value * end for end in bounds(ratio))
        return Interval(value=value, low=low, high=high)

    def worth(self) -> Interval | None:
        """Time of the original over that of the whole pipeline: above one is faster."""
        if self.original is None or self.original is self.whole:
            return None
        return inverse(self.original.ratio)


def _passes(document: Document) -> list[PassFacts]:
    """Every pass that the document names, in the order of the pipeline."""
    whole = [v.passes for v in document.variants if v.id == document.whole]
    names = [
        *(step.name for step in document.steps if step.view == "cumulative"),
        *(name for passes in whole for name in passes),
        *(step.name for step in document.steps),
        *(found.pass_name for found in (*document.fired, *document.missed)),
    ]
    passes = {name: PassFacts(name) for name in dict.fromkeys(names)}
    for step in document.steps:
        passes[step.name].views[step.view] = step
    for name, found in _grouped(document.fired).items():
        passes[name].fired = found
    for name, found in _grouped(document.missed).items():
        passes[name].missed = found
    return list(passes.values())


def _grouped(found: list[Fired]) -> dict[str, list[Found]]:
    """By pass, then by rule and reason; the most frequent first."""
    groups: dict[tuple[str, str, str | None], list[list[str]]] = {}
    for one in found:
        groups.setdefault((one.pass_name, one.rule, one.reason), []).append(one.sources)
    passes: dict[str, list[Found]] = {}
    for (name, rule, reason), places in groups.items():
        passes.setdefault(name, []).append(Found(rule, reason, places))
    for each in passes.values():
        each.sort(key=lambda group: -len(group.places))
    return passes


def _at_nodes(found: list[Fired]) -> dict[str, Counter[str]]:
    """By source node: how often each rule concerned it, with its reason if it did not fire."""
    nodes: dict[str, Counter[str]] = {}
    for one in found:
        words = one.rule if one.reason is None else f"{one.rule}: {one.reason}"
        for name in one.sources:
            nodes.setdefault(name, Counter())[words] += 1
    return nodes
