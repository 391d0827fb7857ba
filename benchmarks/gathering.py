"""Gathering of evidence, part by part, with a bar and a line for each result."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track

from benchmarks.acceptance import Evidence
from benchmarks.cache import Zoo
from benchmarks.environment import Environment, record_environment
from benchmarks.evidence import gather_cases, gather_repeats
from benchmarks.folds import ADAPTED, gather_folds
from benchmarks.node_tests import report
from benchmarks.node_tests.pool import Result as NodeResult
from benchmarks.peers import gather_peers
from benchmarks.scale import measure_scale
from benchmarks.shipped import find_shipped, gather_shipped
from benchmarks.timing import Plan
from benchmarks.verdicts import Part
from benchmarks.zoo import Model

errors = Console(stderr=True)
Result = TypeVar("Result")

KINDS, SIZES = ("chain", "wide"), (20_000, 100_000)
"""The generated graphs that are asked for, and how large they are."""


def gather(
    models: tuple[Model, ...],
    threads: tuple[int, ...],
    plan: Plan,
    zoo: Zoo,
    parts: Sequence[Part],
) -> Evidence:
    """Gather the parts of the evidence that are wanted.

    Raises:
        ZooError: a model is not built.
        CommandFailed: a tool is missing or a generated graph is refused.
    """
    evidence: dict[str, Any] = {}
    for part in parts:
        if part is Part.CASES:
            total = sum(len(model.cases) for model in models) * len(threads)
            cases = gather_cases(models, threads, plan, zoo)
            evidence["cases"] = collect(cases, "Compiling", total, lambda case: str(case.row))
        elif part is Part.REPEATS:
            repeats = (gather_repeats(model, zoo, plan.tune) for model in models)
            evidence["repeats"] = collect(repeats, "Again", len(models), lambda one: one.model)
        elif part is Part.SHIPPED:
            count = sum(1 for _ in find_shipped())
            evidence["shipped"] = collect(gather_shipped(), "Shipped models", count, str)
        elif part is Part.PEERS:
            rows = gather_peers(models, zoo)
            evidence["peers"] = collect(rows, "Optimizing", len(models), str)
        elif part is Part.FOLDS:
            evidence["folds"] = collect(gather_folds(zoo), "Folding", len(ADAPTED) + 2, str)
        elif part is Part.SCALE:
            total = len(KINDS) * len(SIZES)
            evidence["scale"] = collect(measure_scale(KINDS, SIZES), "Large graphs", total, str)
        else:
            results = gather_node_tests(record_environment())
            evidence["node_tests"] = report.counts(results)
    return Evidence(**evidence)


def gather_node_tests(
    environment: Environment, *, jobs: int = 2, only: str = "", fresh: bool = False
) -> list[NodeResult]:
    """Put ONNX's own cases through burnish, from where an earlier run was stopped."""
    from benchmarks.node_tests.cases import bound, node_cases
    from benchmarks.node_tests.pool import run_cases
    from benchmarks.node_tests.worker import STAGES

    state = report.state_file(environment)
    if fresh:
        state.unlink(missing_ok=True)
    cases = [case for case in node_cases() if only in case.name]
    cases += [case for case in map(bound, cases) if case is not None]
    names, total = {case.name for case in cases}, len(cases) * len(STAGES)
    everything = track(run_cases(cases, state, jobs), "Cases", total=total, console=errors)
    return [result for result in everything if result.case in names]


def collect(
    results: Iterable[Result], title: str, total: int | None, line: Callable[[Result], str]
) -> list[Result]:
    """Gather results one by one, with a bar and a line each; Ctrl-C keeps those that are there."""
    found: list[Result] = []
    try:
        for result in track(results, title, total=total, console=errors):
            found.append(result)
            errors.print(line(result), markup=False, highlight=False, soft_wrap=True)
    except KeyboardInterrupt:
        errors.print(f"interrupted after {len(found)} of {total}")
    return found
