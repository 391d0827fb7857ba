"""What of a graph can be thinned out: groups of channels, and which of them go together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from burnish.analysis.axis_graph import AxisGraph, ChannelGroup
from burnish.analysis.axis_graph_heads import heads_of, inner_ties
from burnish.analysis.axis_graph_sites import Member
from burnish.analysis.axis_graph_sizes import cannot_delete
from burnish.analysis.symmetry import Transform
from burnish.calibration import geometry_of
from burnish.ir import Array
from burnish.passes.folding.redundancy import ACROSS, PRODUCTS, unsuitable
from burnish.passes.folding.weights import shared_elsewhere
from burnish.passes.quantization.weighted import layer_name

CHANNELS, HEADS, WIDTH = "channels", "heads", "width of heads"
"""Kinds of structures: what a unit is. The last one's are places within heads, of all heads."""
_OF_HEADS, _OF_WIDTH = ":heads", ":width"
"""Behind the names of structures of the layers that make heads."""
ROWS = 8192
"""Numbers that a reader multiplies with its weights at once, at most: moments of more take more
than half a gigabyte."""


@dataclass(frozen=True, eq=False)
class Structure:
    """A channel group, and its units: channels that are kept or deleted together."""

    name: str
    """Of the first layer that writes it, unlike that of any other structure."""
    kind: str
    group: ChannelGroup
    units: tuple[Array, ...]
    """Channels of the group."""
    reason: str = ""
    """Why it is left as it is; empty if it can be thinned out."""

    @cached_property
    def layers(self) -> frozenset[str]:
        """What it goes by: its own name, and those of every layer that writes it."""
        nodes = {member.node for member in self.group.writers}
        named = {name for node in nodes for name in (node.name, *node.provenance, layer_name(node))}
        return frozenset({self.name, *named} - {""})

    @property
    def readers(self) -> tuple[Member, ...]:
        """Weights that contract the channels."""
        return self.group.readers

    @cached_property
    def unit_of(self) -> Array:
        """Int [size of the group]: the unit that each channel belongs to, -1 for none."""
        found = np.full(self.group.size, -1)
        for number, unit in enumerate(self.units):
            found[unit] = number
        return found

    def rows(self, reader: Member) -> Array:
        """Int [inputs of the reader's matrix]: the unit of each, as `matrices` orders them."""
        places = self.unit_of[self.group.channels_of(reader).reshape(-1)]
        return np.repeat(places, taps(reader))

    def channels(self, units: Array) -> Array:
        """The channels of ``units``."""
        found: Array = np.concatenate([self.units[unit] for unit in units])
        return found


def structures(axes: AxisGraph) -> list[Structure]:
    """The structures of a graph in its order, also those that have to stay as they are."""
    found, names = [], dict[str, int]()
    for group in axes.groups:
        writers = [member for member in group.writers if member.node.is_op(*PRODUCTS)]
        if group.size < 2 or not writers:
            continue
        name = layer_name(writers[0].node)
        names[name] = names.get(name, 0) + 1
        if names[name] > 1:
            name = f"{name}:{names[name]}"
        heads = heads_of(group)
        if heads is None:
            units = tuple(np.arange(group.size).reshape(-1, 1))
            found.append(Structure(name, CHANNELS, group, units, _obstacle(group)))
            continue
        if group.readers:
            found.append(
                Structure(name + _OF_HEADS, HEADS, group, tuple(heads), _fixed_heads(group))
            )
        found.append(Structure(name + _OF_WIDTH, WIDTH, group, _places(group), _fixed_width(group)))
    return found


def _places(group: ChannelGroup) -> tuple[Array, ...]:
    """The channels at each place within the heads."""
    ties = [tie.channels for tie in inner_ties(group)]
    if len({channels.shape[1] for channels in ties}) != 1:
        return (np.arange(group.size),)
    return tuple(np.concatenate([channels[:, place] for channels in ties])
                 for place in range(ties[0].shape[1]))  # fmt: skip


def _fixed_heads(group: ChannelGroup) -> str:
    """Why no head can go, empty if heads can."""
    heads = heads_of(group) or []
    return cannot_delete(group, heads[0]) or _unreadable(group) or ""


def _fixed_width(group: ChannelGroup) -> str:
    """Why heads cannot get narrower, empty if they can."""
    units = _places(group)
    if len(units) < 2:
        return "its heads have queries and values of different widths"
    for part in group.parts:
        for bound in part.bounds:
            if bound.node is not None and bound.node.op_type in ACROSS - {"Softmax"}:
                return f"{bound.node.op_type} looks at all channels of a head together"
            if bound.allowed is Transform.ROTARY:
                return "channels turn in pairs"
    return cannot_delete(group, units[-1]) or _unreadable(group) or ""


def _obstacle(group: ChannelGroup) -> str:
    """Why channels of ``group`` cannot go one by one, empty if they can."""
    return cannot_delete(group) or unsuitable(group) or _unreadable(group) or ""


def _unreadable(group: ChannelGroup) -> str | None:
    """Why weights that read the channels cannot be fitted, None if they can."""
    for reader in group.readers:
        data = reader.node.input(0)
        if reader.node.graph is None or reader.node.graph.owner is not None:
            return f"{reader.node.op_type} reads it inside the body of another operator"
        if not reader.node.is_op("Conv", "ConvTranspose") and reader.value.rank != 2:
            return f"{reader.node.op_type} reads it with weights that are no matrix"
        if reader.index != 1 or data is None or geometry_of(reader.node, data) is None:
            return f"{reader.node.op_type} reads it otherwise than a product with its weights does"
        if reader.node.is_op("Conv", "ConvTranspose") and reader.node.attribute("group", 1) != 1:
            return "a convolution in groups reads it"
        if reader.numbers.size * taps(reader) > ROWS:
            return f"{reader.node.op_type} multiplies more than {ROWS} numbers of it at once"
    return _shared(group)


def _shared(group: ChannelGroup) -> str | None:
    """Why its weights are others' as well, None if they are not.

    Each layer that is fitted gets weights of its own, so that the model would grow.
    """
    if any(len(member.value.uses) > 1 for member in (*group.writers, *group.readers)):
        return "its weights are used more than once"
    shared = shared_elsewhere(group.members)
    return None if shared is None else shared.reason


def taps(reader: Member) -> int:
    """Places of the kernel whose inputs a reader multiplies at once."""
    constant = reader.value.constant
    assert constant is not None
    return math.prod(constant.shape[2:]) if reader.node.is_op("Conv") else 1
