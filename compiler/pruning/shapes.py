"""Shapes of values as functions of how many units each structure keeps.

A *structure* is a channel group that is thinned out unit by unit: by a channel, by all channels of
a head, by one channel of each head. Units go in a given order, so a width, the number of units that
stay, says which channels do, and how many of them stand along each axis of each value and weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from burnish.analysis.axis_graph import ChannelGroup, Member, Site
from burnish.analysis.axis_graph_elementwise import ELEMENTWISE
from burnish.analysis.axis_graph_heads import removal
from burnish.analysis.axis_graph_sizes import keep_some
from burnish.ir import Array, Graph, OperatorNode, VariableNode
from burnish.optimization import infer
from burnish.oracle.inputs import suggest_sizes

Widths: TypeAlias = Mapping[str, int]
"""Units that are kept, by structure; one that is not named keeps all."""
Choices: TypeAlias = Mapping[str, Sequence[int]]
"""Widths that a structure may have, by structure: ascending, and the last one is all."""


class Structure(Protocol):
    """What can be thinned out. Several of one name, with as many units, go together."""

    @property
    def name(self) -> str:
        """What widths go by."""
        ...

    @property
    def group(self) -> ChannelGroup:
        """Whose channels go."""
        ...

    @property
    def units(self) -> Sequence[Array]:
        """Channels of the group that only go together; the unit that goes first comes first."""
        ...


@dataclass(frozen=True, eq=False)
class Table:
    """A number for each combination of widths of a few structures."""

    of: tuple[int, ...]
    """Places of the structures among all, ascending."""
    values: Array
    """One axis for each of ``of``: its choices of widths."""

    @classmethod
    def of_array(cls, of: Sequence[int], values: Array | float) -> Table:
        """A table of what broadcasts over the choices of ``of``, without those it says the same of.

        Args:
            of: places of structures.
            values: one axis for each, or a single number.
        """
        array = np.asarray(values, np.float64)
        varying = [axis for axis, size in enumerate(array.shape) if size > 1]
        kept = tuple(of[axis] for axis in varying)
        return cls(kept, array.reshape([array.shape[axis] for axis in varying]))

    def over(self, of: Sequence[int]) -> Array:
        """The same with an axis for each of ``of``, so that it broadcasts with others."""
        sizes = dict(zip(self.of, self.values.shape, strict=True))
        return self.values.reshape([sizes.get(place, 1) for place in of])


Size: TypeAlias = "int | Table"


def choices_of(units: int, align: int) -> tuple[int, ...]:
    """Widths of a structure of so many units: multiples of ``align``, and all."""
    return (*range(align, units, align), units)


class Shapes:
    """Shapes of the values and constants of a graph for all choices of widths.

    Args:
        graph: the model.
        structures: what is thinned out.
        choices: widths of each.
        input_shapes: by input; sizes that are open besides are suggested.

    Raises:
        UsageError: a shape does not fit the model.
    """

    def __init__(
        self,
        graph: Graph,
        structures: Sequence[Structure],
        choices: Choices,
        input_shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.names = tuple(dict.fromkeys(one.name for one in structures))
        self._whole = _inferred(graph, input_shapes)
        self._values: dict[VariableNode, dict[int, Table]] = {}
        self._weights: dict[tuple[OperatorNode, int], dict[int, Table]] = {}
        groups: dict[ChannelGroup, dict[int, Array]] = {}
        for one in structures:
            place = self.names.index(one.name)
            for group, kept in _kept(one, choices[one.name]).items():
                masks = groups.setdefault(group, {})
                masks[place] = kept & masks.get(place, True)
        for group, masks in groups.items():
            self._add(group, masks)
        for node in graph.walk():
            self._inherit(node)

    def of(self, node: OperatorNode) -> dict[VariableNode, tuple[Size, ...]]:
        """Sizes of what ``node`` reads and writes, as far as they are known."""
        found = {}
        for index, value in enumerate(node.inputs):
            if value is not None:
                weight = self._weights.get((node, index), {})
                found[value] = self._shape(value, weight if value.is_constant else None)
        for value in node.outputs:
            found[value] = self._shape(value)
        return {value: shape for value, shape in found.items() if shape is not None}

    def _shape(
        self, value: VariableNode, tables: Mapping[int, Table] | None = None
    ) -> tuple[Size, ...] | None:
        whole = value.constant.shape if value.constant is not None else self._whole.get(value)
        if whole is None:
            return None
        tables = self._values.get(value, {}) if tables is None else tables
        return tuple(tables.get(axis, size) for axis, size in enumerate(whole))

    def _add(self, group: ChannelGroup, masks: Mapping[int, Array]) -> None:
        """Note the sizes of all that has channels of ``group``."""
        of = tuple(sorted(masks))
        kept = np.ones((1,) * len(of) + (group.size,), bool)
        for place, mask in masks.items():
            shape = [len(mask) if each == place else 1 for each in of]
            kept = kept & mask.reshape(*shape, group.size)
        keep_some(group, kept)
        known: dict[int, list[Table]] = {}
        everywhere: tuple[Site | Member, ...] = (*group.sites, *group.members)
        for at in everywhere:
            key = id(at.numbers)
            if key not in known:
                known[key] = _lengths(of, kept[..., group.channels_of(at)])
        for site in group.sites:
            tables = zip(site.axes, known[id(site.numbers)], strict=True)
            self._values.setdefault(site.value, {}).update(tables)
        for member in group.members:
            tables = zip(member.axes, known[id(member.numbers)], strict=True)
            self._weights.setdefault((member.node, member.index), {}).update(tables)

    def _inherit(self, node: OperatorNode) -> None:
        """Scores have heads, though no channels: those were summed over."""
        if node.op_type not in ELEMENTWISE and node.op_type != "MatMul":
            return
        shape = node.output.shape or ()
        axes = range(len(shape) - (2 if node.op_type == "MatMul" else 0))
        for value in node.inputs:
            if value is None or value.rank != len(shape):
                continue
            for axis, table in self._values.get(value, {}).items():
                if axis in axes and shape[axis] == (value.shape or ())[axis]:
                    self._values.setdefault(node.output, {}).setdefault(axis, table)


def places(shapes: Iterable[tuple[Size, ...]]) -> tuple[int, ...]:
    """Structures that ``shapes`` depend on, ascending."""
    sizes = (size for shape in shapes for size in shape)
    return tuple(sorted({place for one in sizes if isinstance(one, Table) for place in one.of}))


def spread(shape: tuple[Size, ...], of: Sequence[int]) -> tuple[int | Array, ...]:
    """``shape`` as numbers, and as arrays with an axis for each of the structures ``of``."""
    return tuple(size.over(of) if isinstance(size, Table) else size for size in shape)


def _inferred(
    graph: Graph, input_shapes: Mapping[str, Sequence[int]] | None
) -> dict[VariableNode, tuple[int, ...] | None]:
    """Shapes of all values for inputs of fixed shapes."""
    fixed = infer(graph, input_shapes)
    sizes = suggest_sizes(fixed)
    suggested = {
        value.name: [
            size if isinstance(size, int) else sizes[size or f"{value.name}.{axis}"]
            for axis, size in enumerate(value.shape)
        ]
        for value in fixed.inputs
        if value.shape is not None
    }
    values, others = graph.variables(), infer(fixed, suggested).variables()
    return {
        value: other.static_shape
        for value, other in zip(values, others, strict=True)
        if not value.is_constant
    }


def _kept(one: Structure, choices: Sequence[int]) -> dict[ChannelGroup, Array]:
    """Bool [choices, channels] by group that loses any: whether a channel stays."""
    units = len(one.units)
    if not choices or list(choices) != sorted({*choices}) or choices[-1] != units or choices[0] < 1:
        raise ValueError(f"{one.name}: widths ascend from 1 or more to {units}, not {choices}")
    gone = [np.concatenate([[], *one.units[: units - width]]) for width in choices]
    rows = [removal(one.group, channels.astype(np.int64)) for channels in gone]
    groups = dict.fromkeys(group for row in rows for group, kept in row.items() if not kept.all())
    return {
        group: np.array([row.get(group, np.ones(group.size, bool)) for row in rows])
        for group in groups
    }


def _lengths(of: tuple[int, ...], there: Array) -> list[Table]:
    """How long each axis is of an array in which some entries stay: it stays where any does."""
    axes = range(len(of), there.ndim)
    return [
        Table(of, there.any(axis=tuple(a for a in axes if a != axis)).sum(axis=-1)) for axis in axes
    ]
