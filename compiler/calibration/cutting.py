"""Cuts what data sources give into the samples that a graph takes.

Whoever writes files puts many items into one, along the first axis; a model may take one at a time,
or exactly as many as its batch has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

from burnish.errors import UsageError
from burnish.ir import Array, Graph
from burnish.npz import LABELS

NAMELESS = ""
"""The name of an array that came without one."""


class Cut(Enum):
    """What the first axes of the arrays of a sample are."""

    NEVER = "never"
    """What the model says that they are."""
    TO_BATCH = "to the batch"
    """A batch, which may be several times that of a model with a fixed one."""
    TO_ITEMS = "to items"
    """Items, of which a model takes one if it leaves the size open."""


def samples_of(
    graph: Graph,
    feeds: Mapping[str, Any],
    cut: Cut,
    left_out: Callable[[int, int], None] | None = None,
) -> Iterator[Mapping[str, Any]]:
    """``feeds`` in parts that have the batch of ``graph``; as they are where that is not clear.

    Of a batch that does not come out even, the rest is left out, and ``left_out`` is called with
    how many items that is and how many make a sample. Arrays of files lose labels, and one without
    a name gets that of the input.

    Raises:
        UsageError: an array has no name, and the model several inputs.
    """
    if cut is Cut.NEVER:
        yield feeds
        return
    if cut is Cut.TO_ITEMS:
        feeds = _named(graph, feeds)
    size, extra = _batch(graph, feeds, cut)
    if size is None:
        yield feeds
        return
    count = min(len(array) for array in feeds.values())
    for start in range(0, count - size + 1, size):
        yield {
            name: array[start] if extra else array[start : start + size]
            for name, array in feeds.items()
        }
    if left_out is not None and count % size:
        left_out(count % size, size)


def _named(graph: Graph, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
    names = [value.name for value in graph.inputs]
    if LABELS not in names:
        feeds = {name: array for name, array in feeds.items() if name != LABELS}
    if list(feeds) != [NAMELESS]:
        return feeds
    if len(names) != 1:
        raise UsageError(
            f"an .npy file holds one array, and the model takes {', '.join(names)}: write .npz "
            "files with numpy.savez, arrays by input name"
        )
    return {names[0]: feeds[NAMELESS]}


def _batch(graph: Graph, feeds: Mapping[str, Array], cut: Cut) -> tuple[int | None, bool]:
    """How many items make a sample, None for all; and whether items come without that axis."""
    inputs = [value for value in graph.inputs if value.name in feeds]
    if not inputs or len(inputs) != len(feeds) or any(value.rank is None for value in inputs):
        return None, False
    ranks = [(value.rank or 0, feeds[value.name].ndim) for value in inputs]
    counts = {len(feeds[value.name]) for value in inputs if feeds[value.name].ndim}
    if len(counts) != 1:
        return None, False
    if cut is Cut.TO_ITEMS and all(given == own + 1 for own, given in ranks):
        return 1, True
    if any(given != own for own, given in ranks):
        return None, False
    fixed = {size for value in inputs if isinstance(size := (value.shape or (None,))[0], int)}
    if len(fixed) > 1 or 0 in fixed:
        return None, False
    if fixed:
        return (next(iter(fixed)), False) if next(iter(fixed)) < counts.pop() else (None, False)
    # The only axis of a signal or of a sentence is no batch.
    is_open = cut is Cut.TO_ITEMS and all(own > 1 for own, _ in ranks)
    return (1 if is_open else None), False
