"""Pruning a model to a budget: how much each structure keeps, checked as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from burnish.bench.environment import Stopwatch
from burnish.bench.stats import Estimate
from burnish.calibration import Calibration
from burnish.errors import GateFailed, UsageError
from burnish.ir import Graph
from burnish.passes import get_pass
from burnish.passes.pruning.blocks import BLOCKS, Block, blocks
from burnish.passes.pruning.structures import Structure
from burnish.pipeline import PassContext, PassReport, Progress, copy_of, run_pass
from burnish.pruning.allocation import Problem, allocate, uniform
from burnish.pruning.costs import Cost, flops, size
from burnish.pruning.cross_terms import cross_terms
from burnish.pruning.latency import Latency, alignment, latency, missed
from burnish.pruning.latency import Timer as Calls
from burnish.pruning.plan import Plan, Probe, lost, measure, measure_blocks, plan
from burnish.pruning.request import AUTO, Pruning
from burnish.pruning.result import Change, Pruned, Thinned, Trial
from burnish.pruning.shapes import Widths
from burnish.pruning.split import Split
from burnish.quantization.deadline import Deadline
from burnish.quantization.guard import Guard, Loss
from burnish.suggest import unknown
from burnish.target import Target
from burnish.wording import counted

ALIGN = 8
"""What widths are multiples of where no target says."""
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
    time = Deadline(asked.seconds, progress, Stopwatch())
    found, data, rotated = planned(graph, calibration, asked=asked, target=target, time=time)
    result = _Search(found, data, asked, guard, timer, time).run()
    if not result.count:
        result.graph = copy_of(graph)
    elif rotated.fired:
        result.reports.insert(0, rotated)
    return result


def planned(
    graph: Graph, calibration: Calibration, *, asked: Pruning, target: Target | None, time: Deadline
) -> tuple[Plan, Split, PassReport]:
    """What of a copy of ``graph`` can go; for the arguments see `prune_model`.

    Returns:
        The plan, whose losses are not measured yet; the data; how heads were rotated.

    Raises:
        UsageError: a layer to keep is none.
        BurnishError: the model or the data cannot be used.
    """
    work = copy_of(graph)
    run_pass(work, get_pass("infer-shapes"), PassContext())
    data = Split.of(work, calibration)
    time.tell("ordering channels within heads")
    rotated = run_pass(work, get_pass("rotate-heads"), PassContext(calibration=data.fitted))
    align = ALIGN if target is None else alignment(target)
    found = plan(work, data.fitted, align=align, keep=asked.keep, time=time)
    _require_names(found, asked.keep)
    return found, data, rotated


def _require_names(found: Plan, keep: Sequence[str]) -> None:
    whole = [name for one in blocks(found.graph, found.axes) for name in (one.layer, one.name)]
    names = [*(name for one in found.every for name in sorted(one.layers)), *whole]
    for name in keep:
        if name not in names:
            raise UsageError(f"--keep-width: {unknown('layer', name, list(dict.fromkeys(names)))}")


@dataclass
class _Search:
    found: Plan
    data: Split
    asked: Pruning
    guard: Guard | None
    timer: Timer | None
    time: Deadline
    trials: list[Trial] = field(default_factory=list)
    best: tuple[Trial, Graph, list[PassReport], Estimate | None] | None = None
    """The best trial so far, what came of it, and how fast that is, where it was measured."""
    took: float = 0.0
    """Seconds of the latest trial."""

    def run(self) -> Pruned:
        graph, every = self.found.graph, self.found.blocks
        self.distance = self.data.guard(graph)
        self.flops = flops(graph, self.found.open, self.found.choices, blocks=every)
        self.size = size(graph, self.found.open, self.found.choices, every)
        self.table: Latency | None = None
        if not self.found.choices:
            return self._result()
        if self.asked.measure == "latency":
            assert self.timer is not None
            self.time.tell("timing layers at several widths")
            self.table = latency(
                graph, self.found.axes, self.found.open, self.found.choices, self.timer,
                blocks=every,
            )  # fmt: skip
        probe = Probe.of(self.found, self.data.fitted, self.data.whole_guard(graph))
        measure(self.found, probe, self.time)
        if self.asked.measure == AUTO:
            self._most()
            return self._result()
        assert self.asked.amount is not None
        share = self.asked.amount if self.asked.measure != "flops" else 1 - self.asked.amount
        measure_blocks(self.found, probe, self.time)
        self._fill(share, probe)
        if self.best is None:
            raise GateFailed(
                f"--prune {self.asked}: every trial answers numbers that are not finite where the "
                "model's are; remove less, or give other calibration data"
            )
        loss = self.best[0].loss
        if self.guard is not None and not loss.holds:
            raise GateFailed(
                f"--prune {self.asked}: {self.guard.bound} cannot be kept: the best of "
                f"{counted(len(self.trials), 'trial')} loses {loss.text}; remove less, or allow "
                "more"
            )
        return self._result()

    @property
    def cost(self) -> Cost:
        """What the budget is about."""
        if self.table is not None:
            return self.table.cost
        return self.size if self.asked.measure == "size" else self.flops

    def _problem(
        self, pairs: Mapping[tuple[str, str], float], *, with_blocks: bool = False
    ) -> Problem:
        whole = [
            block.name for block in self.found.blocks
            if not with_blocks or block.name not in self.found.losses
        ]  # fmt: skip
        return Problem(self.cost.keeping(whole), self.found.losses, pairs)

    def _fill(self, share: float, probe: Probe) -> None:
        """Try what leaves ``share`` of the cost."""
        budget = share * self.cost.full
        first = allocate(self._problem({}), budget).widths
        self._try(first, "allocated")
        if self._has_time():
            self._try(uniform(self._problem({}), budget).widths, "uniform")
        if self._has_time():
            pairs = cross_terms(self.found, first, probe, self.time)
            again = allocate(self._problem(pairs), budget).widths
            if again != first and self._has_time():
                self._try(again, "allocated with cross terms")
            self._without_blocks(self._problem(pairs, with_blocks=True), budget)

    def _without_blocks(self, problem: Problem, budget: float) -> None:
        """Try what loses least where whole blocks may go, if any does.

        On the ViT of the Fashion task that was never the best: with 50 and 30 % of its operations
        it lost 0.046 and 0.13 nats, and 0.019 and 0.068 by widths alone; with 70 % no block went.
        """
        widths = allocate(problem, budget).widths
        if self.found.removed(widths) and self._has_time():
            self._try(widths, "allocated without some blocks")

    def _most(self) -> None:
        """Try less and less of the cost, as long as the bound holds."""
        low, high = LEFT
        cost = self._problem({}).cost
        low = max(low, cost.least / cost.full)
        for _ in range(STEPS):
            if self.trials and not self._has_time():
                break
            middle = (low + high) / 2
            widths = allocate(self._problem({}), middle * self.cost.full).widths
            known = next((one for one in self.trials if one.widths == widths), None)
            trial = known or self._try(widths, f"allocated, {100 * middle:.0f} % of the cost")
            if trial.loss.holds:
                high = middle
            else:
                low = middle

    def _has_time(self) -> bool:
        """Whether one more trial ends in time."""
        return not self.time.is_late(needed=self.took)

    def _try(self, widths: Widths, text: str) -> Trial:
        """Prune to ``widths``, fit all layers, and judge the result."""
        begun = self.time.spent
        self.time.tell(f"pruning: {text}", len(self.trials), len(self.trials) + 1)
        graph, reports = self.found.pruned(widths, self.data.fitted)
        distance = self.distance.distance(graph)
        told = f"{distance}, {self.data.text}"
        # Where nothing is bounded, nothing of what is allowed is used up.
        loss = Loss(0.0, told) if self.guard is None else self.guard.loss(graph)
        # Tables are told at few widths, and kernels may fail at others: what counts is measured.
        speedup = None if self.table is None else self._speedup(graph)
        trial = Trial(
            dict(widths), self.flops(widths) / self.flops.full,
            self.size(widths) / self.size.full, loss, distance,
            None if self.table is None or speedup is None
            else self.table.cost.full / speedup.median, text,
        )  # fmt: skip
        self.trials.append(trial)
        if self._is_better(trial, speedup):
            self.best = trial, graph, reports, speedup
        self.took = self.time.spent - begun
        return trial

    def _speedup(self, graph: Graph) -> Estimate | None:
        """The time of the original over that of ``graph``, where models can be timed."""
        return None if self.timer is None else self.timer.speedups(self.found.graph, [graph])[0]

    def _is_late(self, speedup: Estimate | None) -> bool:
        """Whether a model takes longer than was asked for."""
        amount = self.asked.amount
        return speedup is not None and amount is not None and bool(missed(amount, speedup))

    def _is_better(self, trial: Trial, speedup: Estimate | None) -> bool:
        """Whether a trial is to be taken rather than the best before it."""
        if self.asked.measure == AUTO:
            # Only what holds counts, and each that holds costs less than those before it.
            return trial.loss.holds
        if not math.isfinite(lost(trial.distance)):
            return False
        if self.best is None:
            return True
        before, *_, known = self.best
        return (self._is_late(speedup), trial.loss.share, lost(trial.distance)) < (
            self._is_late(known), before.loss.share, lost(before.distance)
        )  # fmt: skip

    def _result(self) -> Pruned:
        nothing = None, copy_of(self.found.graph), list[PassReport](), None
        chosen, graph, reports, speedup = self.best or nothing
        widths = {} if chosen is None else chosen.widths
        if speedup is None and reports:
            self.time.tell("timing the model before and after")
            speedup = self._speedup(graph)
        return Pruned(
            graph, reports, self._structures(widths),
            _change(flops, self.found.graph, graph), _change(size, self.found.graph, graph),
            self.trials, chosen, f"--prune {self.asked}",
            None if chosen is None else chosen.distance, self.time.spent,
            self._notices(speedup), speedup,
        )  # fmt: skip

    def _structures(self, widths: Widths) -> list[Thinned]:
        return [
            *(self._thinned(one, widths) for one in self.found.every),
            *(self._block(one, widths) for one in self.found.blocks),
        ]

    def _block(self, one: Block, widths: Widths) -> Thinned:
        score = self.found.losses.get(one.name, [None])[0]
        if widths.get(one.name, 1):
            why = "there was no time to probe it" if score is None else "others lose less"
            return Thinned(one.name, BLOCKS, 1, 1, score, reason=why)
        gone = 1 - self.cost({one.name: 0}) / self.cost.full
        return Thinned(one.name, BLOCKS, 1, 0, score, cost=gone)

    def _thinned(self, one: Structure, widths: Widths) -> Thinned:
        name, kind, units, reason = one.name, one.kind, len(one.units), one.reason
        writers = {member.node for member in one.group.writers}
        if any(writers <= block.nodes for block in self.found.removed(widths)):
            return Thinned(name, kind, units, 0, reason="its block is gone")
        if name not in self.found.choices:
            is_asked = one.layers.intersection(self.asked.keep)
            why = reason or ("it is to be kept" if is_asked else "it has too few units")
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

    def _notices(self, speedup: Estimate | None) -> list[str]:
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
        if self.asked.measure == "latency" and self.asked.amount and speedup is not None:
            found += missed(self.asked.amount, speedup)
        elif speedup is not None and speedup.high < 1:
            found.append(
                f"the result takes {1 / speedup.median:.2f} times as long as the original, "
                "measured without tuning: --prune latency:0.7 is held to what is measured"
            )
        return [*found, *self.data.notices]


def _change(cost: Callable[..., Cost], before: Graph, after: Graph) -> Change:
    """What two graphs cost as they are: layers may have got biases that no budget knows of."""
    return Change(*(round(cost(graph, (), {}).full) for graph in (before, after)))
