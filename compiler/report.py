"""What was done, as plain data for JSON output and manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from burnish.ir import Graph
from burnish.pipeline import Pass, PassReport, PipelineReport, count_operators
from burnish.rewrite import NearMiss


def describe_pass(step: Pass) -> dict[str, Any]:
    """Name and options of a pass, as a manifest records them."""
    return {"name": step.name, "options": {f.name: getattr(step, f.name) for f in fields(step)}}


def describe_graph(graph: Graph) -> dict[str, int]:
    """The sizes that a table shows before and after: operators, constants and their bytes."""
    constants = [value.constant for value in graph.constants() if value.constant is not None]
    return {
        "operators": count_operators(graph),
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


def describe_rules(report: PipelineReport) -> list[dict[str, Any]]:
    """For every pass: which rules fired, at which nodes of the user's model, and near misses."""
    return [
        {
            "pass": entry.name,
            "rolled_back": entry.rolled_back or None,
            "fired": [{"rule": f.rule, "nodes": list(f.provenance)} for f in entry.fired],
            "near_misses": [
                {"rule": rule, "reason": reason, "places": places}
                for (rule, reason), places in group_misses(entry.missed).items()
            ],
        }
        for entry in report
    ]


def group_misses(missed: list[NearMiss]) -> Mapping[tuple[str, str], list[list[str]]]:
    """Near misses by rule and reason: the nodes of each place."""
    grouped: dict[tuple[str, str], list[list[str]]] = {}
    for miss in missed:
        grouped.setdefault((miss.rule, miss.reason), []).append(list(miss.provenance))
    return grouped
