"""Heads of attentions: which channels are inside each of them, and what goes along with what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from burnish.analysis.axis_graph import ChannelGroup, Tie
from burnish.ir import Array


def removal(group: ChannelGroup, indices: Sequence[int] | Array) -> dict[ChannelGroup, Array]:
    """What is left of each group, bool [size], if channels ``indices`` of ``group`` go.

    A head that has lost all queries and keys, or all values, loses the rest too, and so does an
    axis of heads, as that of a mask.
    """
    kept = {group: np.ones(group.size, bool)}
    kept[group][np.asarray(indices, np.int64)] = False
    pending = [group]
    while pending:
        for tie in pending.pop().ties:
            heads = kept.setdefault(tie.group, np.ones(tie.group.size, bool))
            inside = kept.setdefault(tie.inside, np.ones(tie.inside.size, bool))
            gone = ~(inside[tie.channels].any(axis=1) & heads[tie.heads])
            for other, mask, channels in (
                (tie.group, heads, tie.heads[gone]),
                (tie.inside, inside, tie.channels[gone]),
            ):
                if mask[channels].any():
                    mask[channels] = False
                    pending.append(other)
    return kept


def heads_of(group: ChannelGroup) -> list[Array] | None:
    """The channels of ``group`` that each head takes along, None if it has no heads.

    Each array is in order of the places within the head: queries and keys, then values, where
    ``group`` has both. ``group`` may also be that of the heads themselves, one channel each.
    """
    if not group.ties:
        return None
    found: dict[tuple[int, int], list[Array]] = {}
    for tie in group.ties:
        for head, channels in zip(tie.heads.tolist(), tie.channels, strict=True):
            own = np.array([head]) if tie.group is group else channels
            found.setdefault((id(tie.group), head), []).append(own)
    return [
        np.fromiter(dict.fromkeys(np.concatenate(a).tolist()), np.int64) for a in found.values()
    ]


def inner_ties(group: ChannelGroup) -> list[Tie]:
    """Heads whose channels are in ``group``, each set of channels once."""
    found = {tie.channels.tobytes(): tie for tie in group.ties if tie.inside is group}
    return list(found.values())
