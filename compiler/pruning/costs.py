"""What a model costs, as a function of how many units each structure keeps.

What a node costs depends on a few structures, those of the channels that it reads and writes. So
a cost is a sum of small tables over choices of widths, and many choices are looked up at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from burnish.analysis.cost import shaped_flops
from burnish.ir import Array, Graph, OperatorNode, VariableNode
from burnish.passes.pruning.blocks import Block
from burnish.pruning.shapes import Choices, Shapes, Structure, Table, Widths, places, spread


@dataclass(frozen=True, eq=False)
class Cost:
    """A cost of a model for all choices of widths."""

    unit: str
    """What is counted: operations, bytes, seconds."""
    choices: Choices
    tables: tuple[Table, ...]
    fixed: float = 0.0
    """What no structure changes."""

    @classmethod
    def of(cls, unit: str, names: Sequence[str], choices: Choices, terms: Iterable[Table]) -> Cost:
        """The sum of ``terms``, tables over the structures ``names``."""
        sums: dict[tuple[int, ...], Array] = {}
        for term in terms:
            sums[term.of] = sums.get(term.of, 0.0) + term.values
        fixed = float(sums.pop((), 0.0))
        tables = tuple(Table(of, values) for of, values in sums.items())
        return cls(unit, {name: tuple(choices[name]) for name in names}, tables, fixed)

    def __call__(self, widths: Widths) -> float:
        """The cost at ``widths``.

        Raises:
            ValueError: a structure or a width of it is none of the choices.
        """
        return float(self.totals(self.chosen(widths)[None])[0])

    def chosen(self, widths: Widths) -> Array:
        """[structures]: places of ``widths`` among the choices.

        Raises:
            ValueError: a structure or a width of it is none of the choices.
        """
        if unknown := widths.keys() - self.choices.keys():
            raise ValueError(f"there is no structure {min(unknown)!r}")
        found = []
        for name, allowed in self.choices.items():
            width = widths.get(name, allowed[-1])
            if width not in allowed:
                raise ValueError(f"{width} units of {name} are no choice: it has {allowed}")
            found.append(list(allowed).index(width))
        return np.array(found, np.int64)

    def widths(self, chosen: Array) -> dict[str, int]:
        """Widths by structure for places among the choices [structures]."""
        pairs = zip(self.choices.items(), chosen.tolist(), strict=True)
        return {name: allowed[place] for (name, allowed), place in pairs}

    def totals(self, chosen: Array) -> Array:
        """[n]: the cost of each row of ``chosen`` [n, structures], places among the choices."""
        result = np.full(len(chosen), self.fixed)
        for table in self.tables:
            result += table.values[tuple(chosen[:, place] for place in table.of)]
        return result

    def along(self, place: int, chosen: Array) -> Array:
        """[choices]: the part of the cost that the structure at ``place`` has to do with.

        For each of its choices, where the others are at ``chosen`` [structures].
        """
        result = np.zeros(len(self._lengths[place]))
        for table in self._touching[place]:
            result += table.values[
                tuple(slice(None) if p == place else chosen[p] for p in table.of)
            ]
        return result

    def keeping(self, names: Iterable[str]) -> Cost:
        """The cost where the structures ``names`` keep all, as a function of the other ones."""
        fixed = set(names)
        left = [name for name in self.choices if name not in fixed]
        known = list(self.choices)
        terms = []
        for table in self.tables:
            at = tuple(-1 if known[place] in fixed else slice(None) for place in table.of)
            of = [left.index(known[place]) for place in table.of if known[place] not in fixed]
            terms.append(Table(tuple(of), table.values[at]))
        return Cost.of(self.unit, left, self.choices, [*terms, Table((), np.array(self.fixed))])

    @property
    def full(self) -> float:
        """The cost where all is kept."""
        return self({})

    @property
    def least(self) -> float:
        """The cost where each structure is as thin as it may be."""
        return self({name: allowed[0] for name, allowed in self.choices.items()})

    @cached_property
    def _lengths(self) -> list[Sequence[int]]:
        return list(self.choices.values())

    @cached_property
    def _touching(self) -> list[list[Table]]:
        """Tables by structure."""
        every = range(len(self.choices))
        return [[table for table in self.tables if place in table.of] for place in every]


def flops(
    graph: Graph,
    structures: Sequence[Structure],
    choices: Choices,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    blocks: Sequence[Block] = (),
) -> Cost:
    """Operations of all nodes, as `burnish.analysis.cost` counts them.

    Args:
        graph: the model.
        structures: what is thinned out.
        choices: widths of each.
        input_shapes: by input; sizes that are open besides are suggested.
        blocks: what can go as a whole: structures of one unit, behind the others.

    Raises:
        UsageError: a shape does not fit the model.
    """
    shapes = Shapes(graph, structures, choices, input_shapes)
    within = Within.of(shapes.names, choices, blocks)
    terms = [within.there(operations(node, shapes), [node]) for node in graph.walk()]
    return Cost.of("operations", within.names, within.choices, terms)


def size(
    graph: Graph, structures: Sequence[Structure], choices: Choices, blocks: Sequence[Block] = ()
) -> Cost:
    """Bytes of all constants."""
    shapes = Shapes(graph, structures, choices)
    within = Within.of(shapes.names, choices, blocks)
    found: dict[VariableNode, Table] = {}
    for node in graph.walk():
        known = shapes.of(node)
        for value in node.inputs:
            if value is not None and value.constant is not None and value not in found:
                width = value.constant.nbytes / max(1, value.constant.size)
                of = places([known[value]])
                term = Table.of_array(of, width * math.prod(spread(known[value], of)))
                found[value] = within.there(term, [use.user for use in value.uses])
    means = [_means(block, shapes, place) for place, block in enumerate(blocks, len(shapes.names))]
    return Cost.of("bytes", within.names, within.choices, [*found.values(), *means])


def _means(block: Block, shapes: Shapes, place: int) -> Table:
    """Bytes of what takes the place of a block: a number for each channel."""
    channels = shapes.of(block.sum)[block.result][block.axis]
    of = places([(channels,)])
    dtype = block.result.dtype
    assert dtype is not None
    term = Table.of_array(of, dtype.numpy.itemsize * spread((channels,), of)[0])
    return Table((*term.of, place), np.stack([term.values, np.zeros_like(term.values)], -1))


@dataclass(frozen=True)
class Within:
    """Which nodes cost nothing any more where a block is gone."""

    names: tuple[str, ...]
    """Of structures, and of blocks behind them."""
    choices: Choices
    """Of both."""
    nodes: Mapping[int, Set[object]]
    """By the place of the block."""

    @classmethod
    def of(cls, names: Sequence[str], choices: Choices, blocks: Sequence[Block]) -> Within:
        """Blocks beside the structures ``names``."""
        return cls(
            (*names, *(block.name for block in blocks)),
            {**choices, **{block.name: (0, 1) for block in blocks}},
            {len(names) + number: block.nodes for number, block in enumerate(blocks)},
        )

    def there(self, term: Table, users: Iterable[object]) -> Table:
        """``term``, and 0 where all of ``users``, nodes of the graph, are gone with a block."""
        users = list(users)
        for place, nodes in self.nodes.items():
            if all(user in nodes for user in users):
                values = np.stack([np.zeros_like(term.values), term.values], -1)
                term = Table((*term.of, place), values)
        return term


def operations(node: OperatorNode, shapes: Shapes) -> Table:
    """Operations of ``node``; zero where sizes that matter are unknown."""
    known = shapes.of(node)
    of = places(known.values())

    def shape_of(value: VariableNode) -> tuple[int | Array, ...] | None:
        return spread(known[value], of) if value in known else None

    count = shaped_flops(node, shape_of)
    return Table.of_array(of, 0 if count is None else count)
