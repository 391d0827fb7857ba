"""What passes did to a model, where they nearly did more, and what a target declines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from burnish.calibration import Calibration
from burnish.census import count_operators
from burnish.compilation import require_shapes
from burnish.errors import BurnishError, UnsupportedModel, UsageError
from burnish.ir import Graph
from burnish.passes import PASSES
from burnish.pipeline import (
    Pass,
    PassContext,
    PipelineReport,
    Progress,
    copy_of,
    run_pass,
    run_pipeline,
)
from burnish.report import Section, group_misses, sections
from burnish.rewrite.pattern import size
from burnish.suggest import unknown
from burnish.target import Target

TELLING = 2
"""Operators that a pattern has at least if its near misses tell something about a model."""


@dataclass(frozen=True)
class Declined:
    """Operators that the target has no kernel for, and why."""

    operator: str
    reason: str
    nodes: tuple[tuple[str, ...], ...]
    """For each of them, the nodes of the user's model that it stands for."""


@dataclass
class Explanation:
    """What became of a model."""

    report: PipelineReport
    sections: list[Section]
    """What each pass did, however often it ran, and its near misses in the result."""
    operators: tuple[int, int]
    """Operators before and after."""
    names: list[str]
    """Names of the nodes of the user's model."""
    result: Graph
    rules: list[str]
    """Names of all rules that there are in the passes of the run."""
    plain: frozenset[str] = frozenset()
    """Those of them that look at one operator alone: most of their near misses say nothing but
    that an operator is none without effect."""
    declined: list[Declined] = field(default_factory=list)
    undecided: str = ""
    """Why it is not known what the target declines."""

    def what_became_of(self, node: str) -> list[str]:
        """The types of the operators that now stand for ``node`` of the user's model."""
        types = (one.op_type for one in self.result.walk() if node in one.provenance)
        return list(dict.fromkeys(types))


def explain_model(
    graph: Graph,
    steps: Sequence[Pass],
    target: Target | None = None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    settle: bool = False,
    progress: Progress | None = None,
    calibration: Calibration | None = None,
) -> Explanation:
    """Run ``steps`` and find out what they leave, and why.

    Args:
        graph: the model, which stays as it is.
        steps: the passes of the run.
        target: what code would be generated for; None when ONNX goes out.
        shapes: of inputs that the model leaves open.
        settle: run the passes until none changes anything.
        progress: called with a pass name, how many are done and how many there are.
        calibration: data that the model is meant for, if there is any.

    Raises:
        UsageError: an option does not fit the model.
    """
    context = PassContext(target, calibration=calibration)
    result, report = run_pipeline(
        graph, steps, context, verify="off", progress=progress, settle=settle
    )
    _attach_misses(report, result, steps, context)
    found = Explanation(
        report,
        sections(report),
        (count_operators(graph), count_operators(result)),
        _names(graph),
        result,
        _rules(report, steps, context),
        _plain(steps, context),
    )
    if target is not None:
        _ask_target(found, graph, target, shapes or {})
    return found


def _attach_misses(
    report: PipelineReport, result: Graph, steps: Sequence[Pass], context: PassContext
) -> None:
    """Note for each pass what it misses in the result; what others mended does not matter."""
    undone = {entry.name for entry in report.rolled_back}
    last = {entry.name: entry for entry in report}
    curious = PassContext(context.target, explain=True)
    copy = copy_of(result)
    for name, step in {step.name: step for step in steps}.items():
        if name in undone:
            continue
        try:
            found = run_pass(copy, step, curious)
        except BurnishError:
            copy = copy_of(result)
            continue
        last[name].missed = found.missed
        if found.edits:
            # In some presets a pass that ran once now finds more to do.
            copy = copy_of(result)


def _names(graph: Graph) -> list[str]:
    names = (name for node in graph.walk() for name in (*node.provenance, node.name))
    return list(dict.fromkeys(name for name in names if name))


def _rules(report: PipelineReport, steps: Sequence[Pass], context: PassContext) -> list[str]:
    names = [rule.name for step in steps for rule in step.rules(context)]
    names += [name for step in steps for name in getattr(step, "rule_names", ())]
    names += [found.rule for entry in report for found in entry.fired]
    names += [found.rule for entry in report for found in entry.missed]
    return sorted(set(names))


def _plain(steps: Sequence[Pass], context: PassContext) -> frozenset[str]:
    sizes: dict[str, int] = {}
    for rule in (rule for step in steps for rule in step.rules(context)):
        sizes[rule.name] = max(size(rule.pattern), sizes.get(rule.name, 0))
    return frozenset(name for name, operators in sizes.items() if operators < TELLING)


def _ask_target(
    found: Explanation, graph: Graph, target: Target, shapes: Mapping[str, Sequence[int]]
) -> None:
    from burnish.backends.lowering.lower import lower

    try:
        require_shapes(graph, shapes)
        refusals = lower(found.result, target).refusals
    except (UsageError, UnsupportedModel) as error:
        found.undecided = str(error)
        return
    grouped: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for node, reason in refusals.items():
        grouped.setdefault((node.op_type, reason), []).append(node.provenance or (node.name,))
    found.declined = [Declined(*key, tuple(nodes)) for key, nodes in grouped.items()]


@dataclass(frozen=True)
class Filter:
    """Which part of an explanation is wanted; None for all."""

    passes: Sequence[str] | None = None
    rule: str | None = None
    node: str | None = None
    everything: bool = False
    """Near misses of rules that look at one operator alone as well."""

    def apply(self, found: Explanation) -> list[Section]:
        """The sections that are wanted, and of them what is wanted.

        Raises:
            UsageError: there is no such pass in the run, no such rule, or no such node.
        """
        names = [section.name for section in found.sections]
        for name in self.passes or ():
            if name not in PASSES:
                raise UsageError(unknown("pass", name, names))
            if name not in names:
                raise UsageError(f"--pass {name}: it is not among the passes of this run")
        if self.rule is not None and self.rule not in found.rules:
            raise UsageError(unknown("rule", self.rule, found.rules))
        if self.node is not None and self.node not in found.names:
            raise UsageError(unknown("node", self.node, found.names))
        wanted = [s for s in found.sections if self.passes is None or s.name in self.passes]
        return [self._part(section, found.plain) for section in wanted]

    def _part(self, section: Section, plain: frozenset[str]) -> Section:
        hidden = frozenset() if self.everything or self.passes or self.is_narrow else plain
        return Section(
            section.name, section.edits, section.removed, section.seconds,
            [f for f in section.fired if self._wants(f.rule, f.provenance)],
            [m for m in section.missed
             if self._wants(m.rule, m.provenance) and m.rule not in hidden],
            section.notes, section.undone, section.error,
        )  # fmt: skip

    def _wants(self, rule: str, nodes: Sequence[str]) -> bool:
        return self.rule in (None, rule) and (self.node is None or self.node in nodes)

    @property
    def is_narrow(self) -> bool:
        """Whether only some rules or nodes are wanted."""
        return self.rule is not None or self.node is not None


def as_json(found: Explanation, parts: Sequence[Section], wanted: Filter) -> dict[str, Any]:
    """An explanation as plain data; README.md describes it."""
    data: dict[str, Any] = {
        "operators": {"before": found.operators[0], "after": found.operators[1]},
        "passes": [_describe(section) for section in parts],
        "declined": [
            {"operator": d.operator, "reason": d.reason, "places": [list(n) for n in d.nodes]}
            for d in found.declined
        ],
        "undecided": found.undecided or None,
    }
    if wanted.node is not None:
        data["node"] = {"name": wanted.node, "became": found.what_became_of(wanted.node)}
    return data


def _describe(section: Section) -> dict[str, Any]:
    return {
        "pass": section.name,
        "edits": section.edits,
        "operators_removed": section.removed,
        "undone": section.undone or None,
        "notes": section.notes,
        "fired": [{"rule": f.rule, "nodes": list(f.provenance)} for f in section.fired],
        "near_misses": [
            {"rule": rule, "reason": reason, "places": places}
            for (rule, reason), places in group_misses(section.missed).items()
        ],
    }
