"""What was done, as plain data for JSON output and manifests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from burnish.census import count_operators
from burnish.ir import Graph
from burnish.pipeline import Pass, PassReport, PipelineReport
from burnish.rewrite import Firing, NearMiss
from burnish.suggest import MANY


def describe_pass(step: Pass) -> dict[str, Any]:
    """Name and options of a pass, as a manifest records them."""
    return {"name": step.name, "options": {f.name: getattr(step, f.name) for f in fields(step)}}


def operator_types(graph: Graph) -> dict[str, int]:
    """How many operators of each type there are, the most frequent first."""
    kinds = (
        f"{node.domain}:{node.op_type}" if node.domain else node.op_type
        for node in graph.walk()
        if not node.is_region
    )
    return dict(sorted(Counter(kinds).items(), key=lambda item: (-item[1], item[0])))


def note_of_defaults(graph: Graph) -> str | None:
    """One sentence if inputs of the model became constants, because it has values for them."""
    if not graph.defaults:
        return None
    names = ", ".join(map(repr, graph.defaults[:MANY]))
    more = f" and {len(graph.defaults) - MANY} more" if graph.defaults[MANY:] else ""
    return (
        f"no longer inputs, since the model has default values for them: {names}{more}; to feed "
        "them, remove the initializers of these names"
    )


def describe_graph(graph: Graph) -> dict[str, Any]:
    """What a table shows before and after: operators, in all and by type, constants, bytes."""
    constants = [value.constant for value in graph.constants() if value.constant is not None]
    return {
        "operators": count_operators(graph),
        "types": operator_types(graph),
        "constants": len(constants),
        "constant_bytes": sum(constant.nbytes for constant in constants),
        "opset": graph.opset,
    }


def describe_run(report: PipelineReport) -> dict[str, Any]:
    """A pipeline's report without the rules that fired; see ``describe_rules`` for those."""
    return {
        "passes": [_pass_entry(entry) for entry in report],
        "verify": report.verify,
        "compared_on": report.feeds,
        "error": report.error,
        "seconds": round(report.seconds, 3),
    }


def _pass_entry(report: PassReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "numerics": report.numerics.value,
        "seconds": round(report.seconds, 4),
        "edits": dict(sorted(report.edits.items())),
        "fired": fired_counts(report),
        "operators_before": report.nodes_before,
        "operators_after": report.nodes_after,
        "error": report.error,
        "rolled_back": report.rolled_back or None,
        "notes": report.notes,
    }


def fired_counts(report: PassReport) -> dict[str, int]:
    """How often each rule of a pass fired."""
    counts: dict[str, int] = {}
    for firing in report.fired:
        counts[firing.rule] = counts.get(firing.rule, 0) + 1
    return counts


@dataclass
class Section:
    """What one pass did, however often it ran."""

    name: str
    edits: int = 0
    removed: int = 0
    """Operators that it removed on balance."""
    seconds: float = 0.0
    fired: list[Firing] = field(default_factory=list)
    missed: list[NearMiss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    undone: str = ""
    error: float | None = None
    """The largest error after any of its runs, None if none was measured."""

    def add(self, entry: PassReport) -> None:
        """Count one run in."""
        self.seconds += entry.seconds
        self.missed += entry.missed
        self.notes += [note for note in entry.notes if note not in self.notes]
        self.undone = self.undone or entry.rolled_back
        if entry.error is not None and entry.changed:
            self.error = max(entry.error, self.error or 0.0)
        if not entry.rolled_back:
            self.edits += entry.edits.total()
            self.removed += entry.nodes_before - entry.nodes_after
            self.fired += entry.fired


def sections(report: PipelineReport) -> list[Section]:
    """One section per pass, in the order of their first runs."""
    found: dict[str, Section] = {}
    for entry in report:
        found.setdefault(entry.name, Section(entry.name)).add(entry)
    return list(found.values())


def group_misses(missed: list[NearMiss]) -> Mapping[tuple[str, str], list[list[str]]]:
    """Near misses by rule and reason: the nodes of each place."""
    grouped: dict[tuple[str, str], list[list[str]]] = {}
    for miss in missed:
        grouped.setdefault((miss.rule, miss.reason), []).append(list(miss.provenance))
    return grouped
