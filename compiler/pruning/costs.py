"""What a model costs, as a function of how many units each structure keeps.

What a node costs depends on a few structures, those of the channels that it reads and writes. So
a cost is a sum of small tables over choices of widths, and many choices are looked up at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from burnish.analysis.cost import shaped_flops
from burnish.ir import Array, Graph, OperatorNode, VariableNode
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
) -> Cost:
    """Operations of all nodes, as `burnish.analysis.cost` counts them.

    Args:
        graph: the model.
        structures: what is thinned out.
        choices: widths of each.
        input_shapes: by input; sizes that are open besides are suggested.

    Raises:
        UsageError: a shape does not fit the model.
    """
    shapes = Shapes(graph, structures, choices, input_shapes)
    terms = [operations(node, shapes) for node in graph.walk()]
    return Cost.of("operations", shapes.names, choices, terms)


def size(graph: Graph, structures: Sequence[Structure], choices: Choices) -> Cost:
    """Bytes of all constants."""
    shapes = Shapes(graph, structures, choices)
    found: dict[VariableNode, Table] = {}
    for node in graph.walk():
        known = shapes.of(node)
        for value in node.inputs:
            if value is not None and value.constant is not None and value not in found:
                width = value.constant.nbytes / max(1, value.constant.size)
                of = places([known[value]])
                found[value] = Table.of_array(of, width * math.prod(spread(known[value], of)))
    return Cost.of("bytes", shapes.names, choices, found.values())


def operations(node: OperatorNode, shapes: Shapes) -> Table:
    """Operations of ``node``; zero where sizes that matter are unknown."""
    known = shapes.of(node)
    of = places(known.values())

    def shape_of(value: VariableNode) -> tuple[int | Array, ...] | None:
        return spread(known[value], of) if value in known else None

    count = shaped_flops(node, shape_of)
    return Table.of_array(of, 0 if count is None else count)
