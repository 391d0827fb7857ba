"""The entries of an artifact before code generation: the model for each set of input shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from burnish.backends.self_test import repeating
from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.narrowing import Narrowed, Precision, narrow
from burnish.pipeline import PassContext, PipelineReport, Progress, Verify, run_pipeline
from burnish.report import describe_pass
from burnish.selection import Selection, choose
from burnish.shape_sets import as_options, distinct
from burnish.target import Target
from burnish.verification import Feeds, Reference


@dataclass(frozen=True)
class Preparation:
    """What the passes of an entry are run with."""

    target: Target
    """As the user named it."""
    verify: Verify
    precision: Precision
    progress: Progress | None = None


@dataclass(frozen=True)
class Entry:
    """The model for one set of input shapes."""

    graph: Graph
    report: PipelineReport
    reference: Reference
    """What the original answers."""
    passes: list[dict[str, Any]] = field(default_factory=list)
    """Names and options of those that were kept."""
    narrowed: Narrowed | None = None
    """What was rounded, if that was asked for."""


def prepare(
    graph: Graph, selection: Selection, samples: Sequence[Feeds] | None, how: Preparation
) -> Entry:
    """Run the passes for the shapes of ``selection`` on a copy of ``graph``.

    Raises:
        GateFailed: the precision that was asked for moves the outputs too far.
        BurnishError: a pass refuses the graph, or the oracle cannot run it.
    """
    steps = choose(selection)
    # The first inputs become the artifact's self-test.
    reference = Reference(graph, samples, selection.input_shapes, repeating)
    static, report = run_pipeline(
        graph, steps, PassContext(how.target), verify=how.verify, reference=reference,
        progress=how.progress,
    )  # fmt: skip
    undone = {id(entry) for entry in report.rolled_back}
    kept = [step for step, entry in zip(steps, report, strict=True) if id(entry) not in undone]
    narrowed = None
    if not how.precision.is_full:
        narrowed = _narrow(static, how, reference, report)
        static = narrowed.graph
        kept += narrowed.steps
    return Entry(static, report, reference, [describe_pass(step) for step in kept], narrowed)


def _narrow(
    graph: Graph, how: Preparation, reference: Reference, report: PipelineReport
) -> Narrowed:
    """Round, and add to ``report`` what that did."""
    judge = None if how.verify == "off" else reference
    target = how.precision.suited(how.target)
    narrowed = narrow(graph, how.precision, PassContext(target), judge, how.progress)
    report.passes += narrowed.reports
    return narrowed


def samples_of_entries(
    samples: Sequence[Feeds] | None, selections: Sequence[Selection]
) -> list[Sequence[Feeds] | None]:
    """The samples that have the shapes of each entry, None where none has.

    Raises:
        UsageError: a sample has the shapes of no entry.
    """
    if samples is None or len(selections) == 1:
        return [samples] * len(selections)
    found: list[list[Feeds]] = [[] for _ in selections]
    for number, feeds in enumerate(samples):
        fits = [
            own for own, selection in zip(found, selections, strict=True)
            if all(
                name in feeds and tuple(feeds[name].shape) == tuple(shape)
                for name, shape in (selection.input_shapes or {}).items()
            )
        ]  # fmt: skip
        if not fits:
            shapes = as_options({name: array.shape for name, array in feeds.items()})
            raise UsageError(f"sample {number} has the shapes {shapes}, which no set of "
                             "input_shapes has")  # fmt: skip
        fits[0].append(feeds)
    return [own or None for own in found]


def passes_of(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Passes of the first entry, then what other entries have besides: their shapes, mostly."""
    found = list(entries[0].passes)
    for entry in entries[1:]:
        found += [step for step in entry.passes if step not in found]
    return found


def merged(reports: Sequence[PipelineReport]) -> PipelineReport:
    """What passes did to the first entry, what was undone for any, and what all were checked on."""
    first = reports[0]
    undone = {entry.name: entry for report in reports for entry in report.rolled_back}
    shown = {entry.name for entry in first.rolled_back}
    errors = [report.error for report in reports if report.error is not None]
    return PipelineReport(
        [*first, *(entry for name, entry in undone.items() if name not in shown)],
        first.verify,
        max(errors, default=None),
        sum(report.feeds for report in reports),
        sum(report.seconds for report in reports),
    )


def require_distinct(graphs: Sequence[Graph]) -> None:
    """Make sure that shapes tell the entries apart.

    Raises:
        UsageError: two take the same shapes.
    """
    sizes = [{value.name: value.static_shape or () for value in graph.inputs} for graph in graphs]
    distinct(sizes)
