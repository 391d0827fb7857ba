"""What widths cost in seconds, by tables that are measured with our own kernels.

The model is compiled at a few levels of widths, of all structures together, and timed call by call.
A call counts for the nodes that it computes, in proportion to their work. Between levels, the time
of a node is linear in its work: a layer whose inputs and outputs are thinned out by different
shares takes as long as one that does as many operations.

After the tables of Kwon et al. (2022, arXiv:2204.09656), which are linear in pieces as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from burnish.analysis.axis_graph import AxisGraph, ChannelGroup
from burnish.bench.stats import Estimate
from burnish.ir import Array, Graph, OperatorNode
from burnish.passes.pruning.blocks import Block
from burnish.pruning.costs import Cost, Within, operations
from burnish.pruning.shapes import Choices, Shapes, Structure, Table, Widths, places, spread
from burnish.pruning.thinning import thinned
from burnish.target import Target

LEVELS = (1.0, 0.75, 0.5, 0.25)
"""Shares of units at which models are timed, all first."""
MOVED = 4
"""Operations in whose time an element is read or written."""


def alignment(target: Target) -> int:
    """What numbers of channels should be multiples of: two vectors of float32.

    That is what tiles of kernels are wide. With AVX2, a convolution of 128 channels into 40 took
    twice as long as into 32.
    """
    return 2 * target.lanes()


class Timer(Protocol):
    """What times models: `burnish.quantization.gains.Clock`."""

    def calls(self, graphs: Sequence[Graph]) -> list[list[tuple[tuple[str, ...], float]]]:
        """For each call of each graph, the nodes that it computes, and its seconds."""
        ...


@dataclass(frozen=True, eq=False)
class Latency:
    """A cost in seconds, and how far it can be trusted."""

    cost: Cost
    error: float
    """What it says of a model with other widths than it was measured at, over what that takes when
    timed beside the others; less one."""


def latency(
    graph: Graph,
    axes: AxisGraph,
    structures: Sequence[Structure],
    choices: Choices,
    timer: Timer,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    blocks: Sequence[Block] = (),
    *,
    seed: int = 0,
) -> Latency:
    """Measure what widths cost on this machine, which has to be free of other work.

    Args:
        graph: the model.
        axes: its axis graph, which the groups of ``structures`` are of.
        structures: what is thinned out.
        choices: widths of each.
        timer: compiles and times models.
        input_shapes: those that ``timer`` compiles for.
        blocks: what can go as a whole: structures of one unit, behind the others.
        seed: of the widths that the error is measured at.

    Raises:
        BurnishError: a model cannot be compiled.
        ValueError: channels of a group cannot be deleted.
    """
    structures = [_Spread.of(one) for one in structures]
    shapes = Shapes(graph, structures, choices, input_shapes)
    tried = [*_levels(choices), _mixed(choices, seed)]
    graphs = [_numbered(thinned(graph, axes, structures, widths)) for widths in tried]
    work = [_work(node, shapes) for node in graph.walk()]
    at = [[_at(table, shapes, choices, widths) for table in work] for widths in tried]
    timed = [
        _by_node(calls, amounts) for calls, amounts in zip(timer.calls(graphs), at, strict=True)
    ]
    levels = slice(len(tried) - 1)
    within = Within.of(shapes.names, choices, blocks)
    terms = [
        within.there(
            Table(table.of, _interpolated(table.values, amounts[levels], seconds[levels])), [node]
        )
        for node, table, amounts, seconds in zip(
            graph.walk(), work, zip(*at, strict=True), zip(*timed, strict=True), strict=True
        )
    ]
    cost = Cost.of("seconds", within.names, within.choices, terms)
    return Latency(cost, cost(tried[-1]) / sum(timed[-1]) - 1)


@dataclass(frozen=True, eq=False)
class _Spread:
    """A structure of which every width keeps units from everywhere, also of values joined in it."""

    name: str
    group: ChannelGroup
    units: Sequence[Array]

    @classmethod
    def of(cls, one: Structure) -> _Spread:
        # Units for which what multiples of the golden ratio are above integers exceeds a bound,
        # whichever, are about equally far apart.
        places = np.arange(len(one.units)) * ((math.sqrt(5) - 1) / 2) % 1
        return cls(one.name, one.group, [one.units[number] for number in np.argsort(places)])


def _levels(choices: Choices) -> list[Widths]:
    return [
        {name: _nearest(allowed, share) for name, allowed in choices.items()} for share in LEVELS
    ]


def _nearest(allowed: Sequence[int], share: float) -> int:
    return min(allowed, key=lambda width: abs(width - share * allowed[-1]))


def _mixed(choices: Choices, seed: int) -> Widths:
    """Widths at random, by which inputs and outputs of layers differ."""
    rng = np.random.default_rng(seed)
    return {name: int(rng.choice(list(allowed))) for name, allowed in choices.items()}


def _numbered(graph: Graph) -> Graph:
    """Nodes whose kernels can be told apart: some come from the same nodes of the user's model."""
    for number, node in enumerate(graph.walk()):
        node.provenance = (str(number),)
    return graph


def _work(node: OperatorNode, shapes: Shapes) -> Table:
    """Operations of ``node``, and what moving all that it reads and writes counts as."""
    known = shapes.of(node)
    of = places(known.values())
    elements = sum(math.prod(spread(shape, of)) for shape in known.values())
    return Table.of_array(of, operations(node, shapes).over(of) + MOVED * elements)


def _at(table: Table, shapes: Shapes, choices: Choices, widths: Widths) -> float:
    names = [shapes.names[place] for place in table.of]
    return float(table.values[tuple(list(choices[n]).index(widths[n]) for n in names)])


def _by_node(calls: Iterable[tuple[Sequence[str], float]], work: Sequence[float]) -> list[float]:
    """Seconds of each node; calls of none, such as conversions, count for what ran before."""
    found = [0.0] * len(work)
    latest: list[int] = []
    for sources, seconds in calls:
        latest = [int(name) for name in sources] or latest
        total = sum(work[number] for number in latest)
        for number in latest:
            found[number] += seconds * (work[number] / total if total else 1 / len(latest))
    return found


def _interpolated(amounts: Array, work: Sequence[float], seconds: Sequence[float]) -> Array:
    """Seconds for ``amounts`` of work, linear between what was measured and beyond it.

    Less work never takes longer: where it was measured to, it counts as taking as long. The first
    measurement is of all the work.
    """
    order = np.argsort(work, kind="stable")
    x, y = np.asarray(work)[order], np.asarray(seconds)[order]
    x, first = np.unique(x, return_index=True)
    y = np.minimum.accumulate(np.minimum.reduceat(y, first)[::-1])[::-1]
    if len(x) > 1:
        slope = (y[1] - y[0]) / (x[1] - x[0])
        x, y = np.append(0.0, x), np.append(max(0.0, y[0] - slope * x[0]), y)
    found: Array = np.interp(amounts, x, y)
    return found


def missed(share: float, speedup: Estimate) -> list[str]:
    """Say that a model is not as fast as was asked for, if that is beyond the noise.

    Args:
        share: of the time, that was to be left.
        speedup: the time before over that after, as measured.
    """
    wanted = 1 / share
    if speedup.high >= wanted:
        return []
    return [
        f"{wanted:.2f}x as fast was asked for, and tables of what layers take promise it, but "
        f"{speedup.median:.2f}x [{speedup.low:.2f}, {speedup.high:.2f}] was measured: ask for less "
        "of the time"
    ]
