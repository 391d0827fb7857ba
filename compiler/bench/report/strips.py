"""A graph as strips: columns by depth from left to right, going on in the next strip as text does.

A strip is as wide as a phone. Wider pages show several side by side, so that the same drawing
serves both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from burnish.bench.document import Node
from burnish.bench.report.palette import family
from burnish.bench.report.text import operator
from burnish.wording import visible

PITCH = 16
"""Between columns and between lanes, in CSS pixels."""
COLUMNS = 19
"""Of a strip."""
LANES = 8
"""Nodes of one depth that stand in one column; more go to further columns."""
DRAWN = 3000
"""Operators that are drawn; a larger graph is drawn up to there."""


@dataclass(frozen=True)
class Mark:
    """How an operator is drawn."""

    is_filled: bool
    is_ringed: bool
    title: str


def edges(nodes: Sequence[Node]) -> list[tuple[int, int]]:
    """Pairs of numbers of nodes, the first of which writes what the second reads; each once."""
    writers: dict[str, int] = {}
    for number, node in enumerate(nodes):
        for name in node.outputs:
            if name:
                writers.setdefault(name, number)
    found = {
        (writers[name], number): None
        for number, node in enumerate(nodes)
        for name in node.inputs
        if name in writers and writers[name] != number
    }
    return list(found)


def depths(nodes: Sequence[Node]) -> list[int]:
    """Operators on the longest path to each, itself not counted, in whatever order they are.

    What is in a circle counts as if nothing led to it.
    """
    readers: list[list[int]] = [[] for _ in nodes]
    waits = [0] * len(nodes)
    for writer, reader in edges(nodes):
        readers[writer].append(reader)
        waits[reader] += 1
    found = [0] * len(nodes)
    ready = [number for number, left in enumerate(waits) if not left]
    for writer in ready:
        for reader in readers[writer]:
            found[reader] = max(found[reader], found[writer] + 1)
            waits[reader] -= 1
            if not waits[reader]:
                ready.append(reader)
    return found


def places(nodes: Sequence[Node]) -> list[tuple[int, int]]:
    """Column and lane of each node: by depth, near the lanes of what it reads."""
    sources: dict[int, list[int]] = {}
    for writer, reader in edges(nodes):
        sources.setdefault(reader, []).append(writer)
    found: dict[int, tuple[int, int]] = {}
    column = -1
    for layer in _layers(nodes):
        # The nearest lane to the top that it reads from: the main path stays straight.
        wanted = {
            n: min((found[s][1] for s in sources.get(n, ()) if s in found), default=0)
            for n in layer
        }
        layer.sort(key=lambda number: (wanted[number], number))
        for start in range(0, len(layer), LANES):
            column += 1
            taken: set[int] = set()
            for number in layer[start : start + LANES]:
                free = (lane for lane in range(LANES) if lane not in taken)
                lane = min((abs(lane - wanted[number]), lane) for lane in free)[1]
                taken.add(lane)
                found[number] = column, lane
    return [found[number] for number in range(len(nodes))]


def _layers(nodes: Sequence[Node]) -> list[list[int]]:
    by_depth: dict[int, list[int]] = {}
    for number, depth in enumerate(depths(nodes)):
        by_depth.setdefault(depth, []).append(number)
    return [by_depth[depth] for depth in sorted(by_depth)]


def strips(nodes: Sequence[Node], marks: Sequence[Mark], prefix: str) -> list[Markup]:
    """One SVG for each strip.

    Args:
        nodes: of the graph, in order.
        marks: how to draw each of them.
        prefix: of the anchors that nodes lead to; their numbers follow.
    """
    nodes = nodes[:DRAWN]
    at = places(nodes)
    count = max((column for column, _ in at), default=-1) // COLUMNS + 1
    inside: list[list[int]] = [[] for _ in range(count)]
    for number, (column, _) in enumerate(at):
        inside[column // COLUMNS].append(number)
    lines: list[list[str]] = [[] for _ in range(count)]
    for writer, reader in edges(nodes):
        _connect(lines, at[writer], at[reader])
    return [
        _strip(members, paths, at, nodes, marks, prefix)
        for members, paths in zip(inside, lines, strict=True)
    ]


def _strip(
    members: Sequence[int],
    paths: Sequence[str],
    at: Sequence[tuple[int, int]],
    nodes: Sequence[Node],
    marks: Sequence[Mark],
    prefix: str,
) -> Markup:
    lanes = max((at[number][1] for number in members), default=0) + 1
    width, height = COLUMNS * PITCH, lanes * PITCH + PITCH // 2
    drawn = [_node(number, at[number], nodes[number], marks[number], prefix) for number in members]
    return Markup(
        f'<svg class="strip" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'aria-hidden="true"><path class="wires" d="{"".join(paths)}"/>{"".join(drawn)}</svg>'
    )  # fmt: skip


def _node(number: int, at: tuple[int, int], node: Node, mark: Mark, prefix: str) -> str:
    x, y = _point(at)
    classes = " ".join([FAMILY_CLASSES[family(node.op_type)], *(["on"] if mark.is_filled else [])])
    ring = f'<circle class="ring" cx="{x}" cy="{y}" r="7.6"/>' if mark.is_ringed else ""
    return (
        f'<a href="#{prefix}{number}" tabindex="-1"><title>{escape(mark.title)}</title>{ring}'
        f'<use href="#{classes.split()[0]}" class="{classes}" x="{x}" y="{y}"/></a>'
    )


def _point(at: tuple[int, int]) -> tuple[int, int]:
    column, lane = at
    return (column % COLUMNS) * PITCH + PITCH // 2, lane * PITCH + PITCH // 2 + PITCH // 4


def _connect(lines: list[list[str]], start: tuple[int, int], end: tuple[int, int]) -> None:
    """A line between two places; from one strip to another only its two ends."""
    (x, y), (u, v) = _point(start), _point(end)
    first, last = start[0] // COLUMNS, end[0] // COLUMNS
    if first != last:
        lines[first].append(f"M{x} {y}h{min(PITCH, COLUMNS * PITCH - x)}")
        lines[last].append(f"M{u} {v}h{-min(PITCH, u)}")
    elif y == v and u - x > PITCH:
        # Around the nodes between.
        lines[first].append(f"M{x} {y}C{x + PITCH} {y + PITCH} {u - PITCH} {v + PITCH} {u} {v}")
    else:
        half = (x + u) // 2
        lines[first].append(f"M{x} {y}C{half} {y} {half} {v} {u} {v}")


FAMILY_CLASSES: Mapping[str, str] = {
    "convolution": "k-conv", "product": "k-prod", "normalization": "k-norm",
    "element-wise": "k-elem", "reduction": "k-redu", "moves data": "k-move", "other": "k-other",
}  # fmt: skip
"""Class of a node, and the identifier of its shape in the page."""


def describe(node: Node) -> str:
    """Name and type of an operator."""
    name = visible(node.name) or "without a name"
    return f"{operator(node.op_type)} {name}"
