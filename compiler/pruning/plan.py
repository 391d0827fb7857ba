"""What can be thinned out, to which widths, which units stay at each, and what that loses.

Losses are measured by forward passes: of a model in which one structure alone is thinned out and
its readers refitted, at two widths; between and beyond these they go with the errors at the
readers, which are known for every width. Residual blocks are probed by models
without them, all layers behind refitted. At the original weights the divergence and its gradient
are zero, so that what single structures lose adds up but for terms of second order (`cross_terms`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from burnish.analysis.axis_graph import AxisGraph, axis_graph
from burnish.calibration import Calibration
from burnish.ir import Array, Graph
from burnish.passes import get_pass
from burnish.passes.pruning.blocks import Block, blocks
from burnish.passes.pruning.criteria import activation
from burnish.passes.pruning.readings import readings
from burnish.passes.pruning.structures import HEADS, Structure, structures
from burnish.passes.pruning.survey import Survey, survey
from burnish.pipeline import PassContext, PassReport, copy_of, run_pass
from burnish.pruning.shapes import Widths, choices_of
from burnish.quantization.deadline import Deadline
from burnish.quantization.distance import Distance
from burnish.quantization.guard import PROBED, DistanceGuard

PROBES = (0.75, 0.375)
"""Shares of units at which each structure is probed."""
SURVEYING = 0.3
"""Share of the time after which orders of channels are not compared any more."""
PROBING = 0.5
"""Share of the time after which no structure is probed any more."""
ITEMS = 128
"""Items that a structure is probed on, at least as far as there are as many."""
FINE = 4
"""Widths that a structure is to have at least, if the step between them can be halved for that."""
_LEAST = 1e-9
"""Of an error or a loss, in a logarithm."""
TILT, TILTS = 1.5, (0.5, 2.5)
"""The power of errors that losses go with where only one was measured, as the divergence of a
residual CNN does, and limits of it."""


@dataclass
class Plan:
    """A model, and what is known of thinning it out."""

    graph: Graph
    axes: AxisGraph
    every: Sequence[Structure]
    """All structures, those that are left alone too."""
    choices: dict[str, tuple[int, ...]]
    """Widths of those that can be thinned out."""
    surveys: dict[str, Survey]
    losses: dict[str, list[float]] = field(default_factory=dict)
    """For each of the choices of a structure: what the model loses by it alone."""
    unmeasured: set[str] = field(default_factory=set)
    """Structures that there was no time to probe."""
    blocks: Sequence[Block] = ()
    """What can go as a whole: its width is 1, or 0; `losses` are known of those that were probed.
    """

    @property
    def open(self) -> list[Structure]:
        """Structures that can be thinned out; units that go first come first."""
        return [
            replace(one, units=tuple(one.units[at] for at in self.surveys[one.name].order[::-1]))
            for one in self.every if one.name in self.choices
        ]  # fmt: skip

    def loss(self, name: str, width: int) -> float:
        """What the model loses where a structure alone has so many units."""
        return self.losses[name][self.choices[name].index(width)]

    def units(self, widths: Widths) -> dict[str, tuple[int, ...]]:
        """The units that stay, of structures that lose any."""
        return {
            name: tuple(self.surveys[name].order[:width].tolist())
            for name, width in widths.items()
            if name in self.choices and width < self.choices[name][-1]
        }

    def removed(self, widths: Widths) -> list[Block]:
        """The blocks that go."""
        return [block for block in self.blocks if not widths.get(block.name, 1)]

    def pruned(
        self, widths: Widths, calibration: Calibration, *, fit: str = "all"
    ) -> tuple[Graph, list[PassReport]]:
        """A copy with ``widths``, its layers fitted; no reports where nothing goes."""
        copy, kept, gone = copy_of(self.graph), self.units(widths), self.removed(widths)
        context, reports = PassContext(calibration=calibration), []
        if gone:
            step = get_pass("remove-blocks", names=tuple(block.name for block in gone))
            reports.append(run_pass(copy, step, context))
            left = {one.name for one in structures(axis_graph(copy))} if kept else ()
            kept = {name: units for name, units in kept.items() if name in left}
        if kept:
            reports.append(run_pass(copy, get_pass("prune-channels", kept=kept, fit=fit), context))
        return copy, reports


def plan(
    graph: Graph, calibration: Calibration, *, align: int, keep: Sequence[str], time: Deadline
) -> Plan:
    """Find structures, and the units that are best kept at each width.

    Args:
        graph: with shapes, as far as they are known.
        calibration: the data.
        align: what widths are multiples of, if the whole is.
        keep: names of structures that stay as they are.
        time: told of every step.

    Raises:
        BurnishError: the data do not fit, or the graph does not run.
    """
    axes = axis_graph(graph)
    every = structures(axes)
    found = Plan(graph, axes, every, {}, {})
    whole = [one for one in every if one.layers.intersection(keep)]
    inside = [one for one in every if not one.reason and one not in whole]
    kept = {member.node for one in whole for member in one.group.writers}
    found.blocks = [
        block for block in blocks(graph, axes)
        if not kept & block.nodes and not {block.name, block.layer}.intersection(keep)
    ]  # fmt: skip
    for number, (structure, given) in enumerate(readings(graph, inside, calibration)):
        time.tell("looking for channels to keep", number, len(inside))
        step = 1 if structure.kind == HEADS else _step(len(structure.units), align)
        choices = choices_of(len(structure.units), step)
        if len(choices) > 1:
            found.choices[structure.name] = choices
            # One order that is told fast, where little time is left for the rest.
            criteria = {"activation": activation} if time.is_late(SURVEYING) else None
            found.surveys[structure.name] = survey(structure, given, criteria)
    return found


def _step(units: int, align: int) -> int:
    """Between widths: ``align``, or a half or less of it where that leaves few widths."""
    step = align
    while step > 1 and (units % step or units < FINE * step):
        step //= 2
    return step


@dataclass(frozen=True)
class Probe:
    """Says what the model loses at some widths, fast: on few data, with only readers fitted."""

    found: Plan
    fitted: Calibration
    judge: DistanceGuard

    @classmethod
    def of(cls, found: Plan, calibration: Calibration, guard: DistanceGuard) -> Probe:
        """Take a part of the data, and of what ``guard`` judges on."""
        return cls(found, fewer(calibration, found.graph, ITEMS), guard.fewer(PROBED))

    def __call__(self, widths: Widths) -> float:
        """Nats of divergence, or power of the error over that of the signal."""
        return lost(self.judge.distance(self.found.pruned(widths, self.fitted, fit="readers")[0]))


def measure(found: Plan, probe: Probe, time: Deadline) -> None:
    """Fill in the losses of a plan, as far as there is time.

    Args:
        found: the plan.
        probe: says what is lost.
        time: for all.
    """
    ratios = []
    for number, (name, choices) in enumerate(found.choices.items()):
        time.tell("thinning out one structure", number, len(found.choices))
        points: dict[int, float] = {}
        for share in PROBES:
            width = min(choices[:-1], key=lambda each: abs(each - share * choices[-1]))
            if width not in points and not time.is_late(PROBING):
                points[width] = probe({name: width})
        if not points:
            found.unmeasured.add(name)
            continue
        errors = found.surveys[name].errors
        found.losses[name] = losses(errors, choices, points)
        ratios += [loss / errors[width] for width, loss in points.items() if errors[width] > _LEAST]
    usual = float(np.median(ratios)) if ratios else 1.0
    for name in found.unmeasured:
        errors, width = found.surveys[name].errors, found.choices[name][0]
        found.losses[name] = losses(errors, found.choices[name], {width: usual * errors[width]})


def measure_blocks(found: Plan, probe: Probe, time: Deadline) -> None:
    """Fill in the losses of blocks, as far as there is time; the arguments are as for `measure`."""
    for number, block in enumerate(found.blocks):
        if time.is_late(PROBING):
            break
        time.tell("removing one block", number, len(found.blocks))
        found.losses[block.name] = [probe({block.name: 0}), 0.0]


def losses(errors: Array, choices: Sequence[int], points: Mapping[int, float]) -> list[float]:
    """What the model loses at each of ``choices``: a power of the error, through ``points``.

    Of channels that no weights read, as queries, there is no error: the share of units that go
    stands for it.
    """
    known = errors if errors[1] > _LEAST else (1 - np.arange(len(errors)) / choices[-1]) ** 2
    logs = np.log(np.maximum(known, _LEAST))
    widths = sorted(points)
    seen = [math.log(max(points[width], _LEAST)) for width in widths]
    x, u = logs[widths[0]], logs[widths[-1]]
    tilt = (seen[0] - seen[-1]) / (x - u) if x - u > 1e-3 else TILT
    tilt = min(TILTS[1], max(TILTS[0], tilt))
    table = np.exp(seen[0] + tilt * (logs[list(choices[:-1])] - x))
    # A width with more units does not lose more.
    return [*np.maximum.accumulate(table[::-1])[::-1].tolist(), 0.0]


def fewer(calibration: Calibration, graph: Graph, items: int) -> Calibration:
    """As many of the samples as hold ``items``, or a few more."""
    first = next(iter(calibration.feeds(graph)))
    batch = max((array.shape[0] for array in first.values() if array.ndim > 1), default=1)
    return calibration.fewer(-(-items // max(1, batch)))


def lost(distance: Distance | None) -> float:
    """What a model has lost.

    Nats of divergence, power of the error over that of the signal, or share of integers that
    differ.
    """
    if distance is None:
        return 0.0
    if distance.differing is not None:
        return distance.differing
    return distance.noise if distance.divergence is None else distance.divergence
