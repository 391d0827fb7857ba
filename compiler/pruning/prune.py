"""Pruning a model to a budget: how much each structure keeps, checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from burnish.bench.environment import Stopwatch
from burnish.bench.stats import Estimate
from burnish.calibration import Calibration
from burnish.errors import GateFailed, UsageError
from burnish.ir import Graph
from burnish.passes import get_pass
from burnish.pipeline import PassContext, PassReport, Progress, copy_of, run_pass
from burnish.pruning.allocation import Problem, allocate, uniform
from burnish.pruning.costs import Cost, flops, size
from burnish.pruning.cross_terms import cross_terms
from burnish.pruning.latency import Latency, alignment, latency
from burnish.pruning.latency import Timer as Calls
from burnish.pruning.plan import ITEMS, Plan, fewer, lost, measure, plan
from burnish.pruning.request import AUTO, Pruning
from burnish.pruning.result import Change, Pruned, Thinned, Trial
from burnish.pruning.shapes import Widths
from burnish.quantization.deadline import Deadline
from burnish.quantization.guard import DistanceGuard, Guard, Loss
from burnish.suggest import unknown
from burnish.target import Target

ALIGN = 8
"""What widths are multiples of where no target says."""
FEWEST = 128
"""Items below which a notice says that weights are fitted to few data."""
STEPS = 7
"""Trials by which the most is found that a budget of accuracy allows."""
LEFT = (0.1, 1.0)
"""Shares of the cost that are tried for that."""


class Timer(Calls, Protocol):
    """Times models; `quantization.gains.Clock` does."""

    def speedups(self, base: Graph, others: Sequence[Graph]) -> Sequence[Estimate]:
        """The time of ``base`` over that of each of ``others``."""
        ...


def prune_model(
    graph: Graph,
    calibration: Calibration,
    *,
    asked: Pruning,
    target: Target | None,
    guard: Guard | None,
    timer: Timer | None,
    progress: Progress,
) -> Pruned:
    """Prune a copy of ``graph``.

    Args:
        graph: in float, after the passes of ``optimize``.
        calibration: data that it is meant for; no labels are needed.
        asked: how much is to go.
        target: what will run it, None for ONNX Runtime.
        guard: what holds the result to a bound, None if only the amount counts.
        timer: times models, None where that is not possible.
        progress: told of every step.

    Raises:
        GateFailed: the amount or the bound cannot be met.
        UsageError: a layer to keep is none.
        BurnishError: the model or the data cannot be used.
    """
    work = copy_of(graph)
    run_pass(work, get_pass("infer-shapes"), PassContext())
    time = Deadline(asked.seconds, progress, Stopwatch())
    time.tell("ordering channels within heads")
    rotated = run_pass(work, get_pass("rotate-heads"), PassContext(calibration=calibration))
    align = ALIGN if target is None else alignment(target)
    found = plan(work, calibration, align=align, keep=asked.keep, time=time)
    _require_names(found, asked.keep)
    reports = [rotated] if rotated.fired else []
    search = _Search(found, calibration, asked, guard, timer, time, reports)
    return search.run()


def _require_names(found: Plan, keep: Sequence[str]) -> None:
    names = [one.name for one in found.every]
    for name in keep:
        if name not in names:
            raise UsageError(f"--keep-width: {unknown('layer', name, names)}")


@dataclass
class _Search:
    found: Plan
    calibration: Calibration
    asked: Pruning
    guard: Guard | None
    timer: Timer | None
    time: Deadline
    reports: list[PassReport]
    """Of what was done before."""
    trials: list[Trial] = field(default_factory=list)
    made: dict[int, tuple[Graph, PassReport | None]] = field(default_factory=dict)
    """Graphs of the trials, by place among them: only the best is kept."""

    def run(self) -> Pruned:
        graph = self.found.graph
        self.distance = DistanceGuard(graph, self.calibration)
        self.flops = flops(graph, self.found.open, self.found.choices)
        self.size = size(graph, self.found.open, self.found.choices)
        self.table: Latency | None = None
        if not self.found.choices:
            return self._result(None)
        if self.asked.measure == "latency":
            assert self.timer is not None
            self.time.tell("timing layers at several widths")
            self.table = latency(
                graph, self.found.axes, self.found.open, self.found.choices, self.timer
            )
        measure(self.found, self.calibration, self.distance.fewer(ITEMS), self.time)
        if self.asked.measure == AUTO:
            return self._result(self._most())
        assert self.asked.amount is not None
        share = self.asked.amount if self.asked.measure != "flops" else 1 - self.asked.amount
        best = self._best(share)
        if self.guard is not None and not best.loss.holds:
            raise GateFailed(
                f"--prune {self.asked}: {self.guard.bound} cannot be kept: the best of "
                f"{len(self.trials)} trials loses {best.loss.text}; remove less, or allow more"
            )
        return self._result(best)

    @property
    def cost(self) -> Cost:
        """What the budget is about."""
        if self.table is not None:
            return self.table.cost
        return self.size if self.asked.measure == "size" else self.flops

    def _problem(self, pairs: Mapping[tuple[str, str], float]) -> Problem:
        return Problem(self.cost, self.found.losses, pairs)

    def _best(self, share: float) -> Trial:
        """The best way to leave ``share`` of the cost."""
        budget = share * self.cost.full
        first = allocate(self._problem({}), budget).widths
        trials = [self._try(first, "allocated")]
        if not self.time.is_late():
            trials.append(self._try(uniform(self._problem({}), budget).widths, "uniform"))
        if not self.time.is_late():
            few = fewer(self.calibration, self.found.graph, ITEMS)
            probe = self.distance.fewer(ITEMS)
            pairs = cross_terms(
                self.found, first,
                lambda widths: lost(probe.distance(self.found.pruned(widths, few)[0])), self.time,
            )  # fmt: skip
            again = allocate(self._problem(pairs), budget).widths
            if again != first:
                trials.append(self._try(again, "allocated with cross terms"))
        return min(trials, key=lambda one: (one.loss.share, lost(one.distance)))

    def _most(self) -> Trial | None:
        """The trial with the least cost of those that keep to the bound; None if none does."""
        low, high = LEFT
        low = max(low, self.cost.least / self.cost.full)
        best: Trial | None = None
        for _ in range(STEPS):
            if self.time.is_late():
                break
            middle = (low + high) / 2
            widths = allocate(self._problem({}), middle * self.cost.full).widths
            trial = self._try(widths, f"allocated, {100 * middle:.0f} % of the cost")
            if trial.loss.holds:
                best, high = trial, middle
            else:
                low = middle
        return best

    def _try(self, widths: Widths, text: str) -> Trial:
        """Prune to ``widths``, fit all layers, and judge the result."""
        self.time.tell(f"pruning: {text}", len(self.trials), len(self.trials) + 1)
        graph, report = self.found.pruned(widths, self.calibration)
        distance = self.distance.distance(graph)
        loss = Loss(lost(distance), str(distance)) if self.guard is None else self.guard.loss(graph)
        trial = Trial(
            dict(widths), self.flops(widths) / self.flops.full,
            self.size(widths) / self.size.full, loss, distance,
            None if self.table is None else self.table.cost(widths), text,
        )  # fmt: skip
        self.made[len(self.trials)] = graph, report
        self.trials.append(trial)
        return trial

    def _result(self, chosen: Trial | None) -> Pruned:
        graph, report = copy_of(self.found.graph), None
        if chosen is not None:
            graph, report = self.made[self.trials.index(chosen)]
        widths = {} if chosen is None else chosen.widths
        speedup = None
        if self.timer is not None and report is not None:
            self.time.tell("timing the model before and after")
            speedup = self.timer.speedups(self.found.graph, [graph])[0]
        return Pruned(
            graph, [] if report is None else [*self.reports, report], self._structures(widths),
            Change(round(self.flops.full), round(self.flops(widths))),
            Change(round(self.size.full), round(self.size(widths))),
            self.trials, chosen, self._bound(), None if chosen is None else chosen.distance,
            self.time.spent, self._notices(), speedup,
        )  # fmt: skip

    def _bound(self) -> str:
        return f"--prune {self.asked}"

    def _structures(self, widths: Widths) -> list[Thinned]:
        return [self._thinned(one.name, one.kind, len(one.units), one.reason, widths)
                for one in self.found.every]  # fmt: skip

    def _thinned(self, name: str, kind: str, units: int, reason: str, widths: Widths) -> Thinned:
        if name not in self.found.choices:
            why = reason or ("it is to be kept" if name in self.asked.keep else "it has few units")
            return Thinned(name, kind, units, units, reason=why)
        width = widths.get(name, units)
        seen = self.found.surveys[name]
        if width == units:
            return Thinned(name, kind, units, units, reason="others lose less")
        gone = 1 - self.cost({name: width}) / self.cost.full
        score = None if name in self.found.unmeasured else self.found.loss(name, width)
        return Thinned(
            name, kind, units, width, score, seen.criterion, float(seen.errors[width]), gone
        )

    def _notices(self) -> list[str]:
        found = []
        if self.found.unmeasured:
            found.append(
                f"{len(self.found.unmeasured)} of {len(self.found.choices)} structures were not "
                f"probed in {self.asked.seconds:g} s: --time gives deciding more"
            )
        if self.table is not None:
            found.append(
                f"latency tables were off by {100 * self.table.error:+.0f} % on a model with other "
                "widths than they were measured at"
            )
        return [*found, *self.calibration.notices]
