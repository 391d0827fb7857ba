"""Budgets held against what a bench found for the whole pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.bench.document import Document, Metric
from burnish.errors import GateFailed, UsageError
from burnish.gates import Budgets, Found, Gate, drop_in_points, judge


def require_measurable(budgets: Budgets, *, compiles: bool, scores: bool) -> None:
    """Refuse budgets about what a bench will not measure, before it begins.

    Args:
        budgets: what is asked.
        compiles: whether variants are compiled, so that their memory is planned.
        scores: whether a task scores them.

    Raises:
        UsageError: one of them is.
    """
    if budgets.max_drop is not None and not scores:
        raise UsageError("--max-drop is about a task: name one with --eval")
    if budgets.arena is not None and not compiles:
        raise UsageError("--budget-arena is about compiled variants: use --engine tvm")


def judged(document: Document, budgets: Budgets) -> list[Gate]:
    """Hold the variant of the whole pipeline against each budget that there is.

    Raises:
        GateFailed: the whole pipeline, or what it is compared with, failed.
        UsageError: a budget is about something that was not measured.
    """
    whole, baseline = document.result, document.baseline
    if whole.failure:
        raise GateFailed(f"the whole pipeline fails, so no budget can hold: {whole.failure}")
    if budgets.min_speedup is not None and baseline.ratio is None:
        reason = baseline.failure or "too few processes were timed; raise --time"
        raise GateFailed(f"no ratio to ONNX Runtime on the original is known: {reason}")
    ratio = baseline.ratio
    drop = drop_of(whole.metrics) if whole.metrics else None
    return judge(
        budgets,
        Found(
            size=whole.artifact_bytes,
            arena=whole.arena_bytes,
            drop=None if drop is None else drop[0],
            drop_interval=None if drop is None else drop[1:],
            speedup=None if ratio is None else ratio.value,
            speedup_interval=None if ratio is None else (ratio.low, ratio.high),
        ),
    )


def drop_of(metrics: Sequence[Metric]) -> tuple[float, float, float]:
    """Points that the first metric is worse than the original's, with the ends of its interval."""
    metric = metrics[0]
    if metric.difference is None:
        return 0.0, 0.0, 0.0
    found = metric.difference
    return drop_in_points(
        (found.value, found.low, found.high), higher_is_better=metric.higher_is_better
    )
