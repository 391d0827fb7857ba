"""Gathering of evidence, part by part, with a bar and a line for each result."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track

from benchmarks.acceptance import Evidence
from benchmarks.cache import Zoo
from benchmarks.evidence import (
    WARM_UP_MODEL,
    CaseEvidence,
    RepeatEvidence,
    gather_cases,
    gather_repeats,
)
from benchmarks.folds import ADAPTED, FoldEvidence, gather_folds
from benchmarks.kernel_evidence import KernelEvidence, gather_bf16, gather_kernels
from benchmarks.latency import Row
from benchmarks.node_tests import report
from benchmarks.node_tests.pool import Result as NodeResult
from benchmarks.partial import Partial
from benchmarks.peers import PeerRow, gather_peers
from benchmarks.plan import Plan
from benchmarks.refusal import Refusal, gather_refusal
from benchmarks.scale import Sized, measure_scale
from benchmarks.shipped import ShippedEvidence, find_shipped, gather_shipped
from benchmarks.verdicts import Part
from benchmarks.zoo import Model, find
from burnish.bench.environment import Environment, record_environment
from burnish.bench.seats import OPENVINO_BF16, Seat

errors = Console(stderr=True)
Result = TypeVar("Result")

KINDS, SIZES = ("chain", "wide"), (20_000, 100_000)
"""The generated graphs that are asked for, and how large they are."""


@dataclass(frozen=True, slots=True)
class Gatherer:
    """Gathers evidence, part by part."""

    models: tuple[Model, ...]
    threads: tuple[int, ...]
    plan: Plan
    zoo: Zoo
    seats: Sequence[Seat]
    """Engines that kernels are compared with."""
    partial: Partial
    """Where results about kernels are kept, so that a run can be stopped and go on."""

    def gather(self, parts: Sequence[Part]) -> Evidence:
        """Gather the parts of the evidence that are wanted.

        Raises:
            ZooError: a model is not built.
            CommandFailed: a tool is missing or a generated graph is refused.
        """
        ways: Mapping[Part, Callable[[], Any]] = {
            Part.CASES: self._cases,
            Part.REPEATS: self._repeats,
            Part.SHIPPED: self._shipped,
            Part.PEERS: self._peers,
            Part.FOLDS: self._folds,
            Part.NODE_TESTS: lambda: report.counts(gather_node_tests(record_environment())),
            Part.SCALE: self._scale,
            Part.KERNELS: self._kernels,
            Part.BF16: self._bf16,
            Part.REFUSAL: self._refusal,
        }
        return Evidence(**{part.value.replace("-", "_"): ways[part]() for part in parts})

    def _cases(self) -> list[CaseEvidence]:
        total = sum(len(model.cases) for model in self.models) * len(self.threads)
        cases = gather_cases(self.models, self.threads, self.plan, self.zoo)
        return collect(cases, "Compiling", total, lambda case: str(case.row))

    def _repeats(self) -> list[RepeatEvidence]:
        repeats = (gather_repeats(model, self.zoo, self.plan.tune) for model in self.models)
        return collect(repeats, "Again", len(self.models), lambda one: one.model)

    def _shipped(self) -> list[ShippedEvidence]:
        count = sum(1 for _ in find_shipped())
        return collect(gather_shipped(), "Shipped models", count, str)

    def _peers(self) -> list[PeerRow]:
        return collect(gather_peers(self.models, self.zoo), "Optimizing", len(self.models), str)

    def _folds(self) -> list[FoldEvidence]:
        return collect(gather_folds(self.zoo), "Folding", len(ADAPTED) + 2, str)

    def _scale(self) -> list[Sized]:
        return collect(measure_scale(KINDS, SIZES), "Large graphs", len(KINDS) * len(SIZES), str)

    @property
    def _named(self) -> dict[str, Model]:
        return {model.name: model for model in self.models}

    def _kernels(self) -> list[KernelEvidence]:
        seats = [one for one in self.seats if one.peer is not OPENVINO_BF16]

        def kernels(model: Model) -> KernelEvidence:
            return gather_kernels(model, self.threads, self.plan, self.zoo, seats)

        found = self.partial.each("kernels", self._named, KernelEvidence, kernels)
        return collect(found, "Kernels", len(self.models), str)

    def _bf16(self) -> list[Row]:
        seats = [one for one in self.seats if one.peer is OPENVINO_BF16]

        def bf16(model: Model) -> Row:
            return gather_bf16(model, max(self.threads), self.plan, self.zoo, seats)

        found = self.partial.each("bf16", self._named, Row, bf16)
        return collect(found, "In bf16", len(self.models), str)

    def _refusal(self) -> list[Refusal]:
        model = find(WARM_UP_MODEL)
        return [gather_refusal(model, self.zoo.path(model))]


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


def report_failures(rows: list[Row]) -> None:
    """Say why rows have no figures."""
    for row in rows:
        if row.failure:
            errors.print(str(row), markup=False, highlight=False)
