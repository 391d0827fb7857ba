"""Models with fewer channels, whatever they answer: what they cost can be measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from burnish.analysis.axis_graph import AxisGraph, ChannelGroup, axis_graph
from burnish.analysis.axis_graph_edits import delete_together
from burnish.analysis.axis_graph_sizes import keep_some
from burnish.ir import Array, Graph
from burnish.pipeline import copy_of
from burnish.pruning.shapes import Structure, Widths
from burnish.rewrite import Rewriter


def thinned(
    graph: Graph, axes: AxisGraph, structures: Sequence[Structure], widths: Widths
) -> Graph:
    """A copy of ``graph`` with ``widths`` and nothing in place of what is gone.

    Where all channels of one of several values that are joined would go, one stays.

    Args:
        graph: the model.
        axes: its axis graph, which the groups of ``structures`` are of.
        structures: what is thinned out.
        widths: units of each that stay: the last ones.

    Raises:
        ValueError: channels of a group cannot be deleted.
    """
    copy = copy_of(graph)
    gone: dict[ChannelGroup, Array] = {}
    for group, same in zip(axes.groups, axis_graph(copy).groups, strict=True):
        kept = np.ones(group.size, bool)
        for one in structures:
            if one.group is group:
                for channels in one.units[: len(one.units) - widths.get(one.name, len(one.units))]:
                    kept[channels] = False
        keep_some(group, kept)
        if not kept.all():
            gone[same] = np.flatnonzero(~kept)
    delete_together(Rewriter(copy), gone)
    return copy
