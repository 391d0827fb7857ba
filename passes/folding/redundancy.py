"""Finds channels that a model can do without: read by nobody, always the same, or said twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from burnish.analysis.axis_graph import ChannelGroup
from burnish.analysis.axis_graph_edits import copies
from burnish.analysis.axis_graph_sites import Member, Variance
from burnish.analysis.symmetry import Transform
from burnish.ir import Array, Constant, Graph, VariableNode

ACROSS = frozenset({
    "LayerNormalization", "RMSNormalization", "GroupNormalization", "Softmax", "LogSoftmax",
    "LpNormalization",
})  # fmt: skip
"""Operators whose result at one channel depends on the others."""

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose weights write hidden channels."""

PROBES = 3
"""Elements of a row that are compared before the others are looked at."""

ABSENT = 12345.0
"""Stands for a probe that is not there; a number that meets it is told apart by its whole row."""

Multiples: TypeAlias = Literal["any", "positive", "equal"]
"""Which multiples of a channel can take its place."""


@dataclass(frozen=True)
class Twin:
    """Channel ``other`` is always ``factor`` times channel ``kept``."""

    kept: int
    other: int
    factor: float


def worth_looking(graph: Graph) -> bool:
    """Whether some product has rows that start with zeros or like others: few elements tell."""
    seen: set[VariableNode] = set()
    for node in graph.walk():
        if not node.is_op(*PRODUCTS):
            continue
        for value in node.inputs[:2]:
            if value is None or value.constant is None or value in seen:
                continue
            seen.add(value)
            if _starts_alike(value.constant, node.op_type):
                return True
    return False


def _starts_alike(weight: Constant, op_type: str) -> bool:
    if len(weight.shape) < 2 or not weight.size:
        return False
    array = weight.numpy()
    for axis in (-1, -2) if op_type == "MatMul" else (0, 1):
        rows = np.moveaxis(array, axis, 0)
        places = range(0, rows[0].size, max(rows[0].size // PROBES, 1))
        probes = np.stack([_column(rows, place) for place in places][:PROBES], axis=1)
        keys = _normalized(probes.astype(np.float64), "any")
        if not np.any(keys, axis=1).all() or len({key.tobytes() for key in keys + 0.0}) < len(keys):
            return True
    return False


def _column(rows: Array, place: int) -> Array:
    """One element of every row, counted as they lie; nothing is copied."""
    for size in reversed(rows.shape[1:]):
        place, inner = divmod(place, size)
        rows = rows[..., inner]
    return rows


def unsuitable(group: ChannelGroup) -> str | None:
    """Why channels of ``group`` say nothing one by one, None if they do."""
    if not group.readers or not group.writers:
        return "nothing with weights writes or reads the channels"
    for part in group.parts:
        for passage in part.passages:
            if passage.dual:
                return "the channels meet in a product"
        for bound in part.bounds:
            if bound.node is not None and bound.node.op_type in ACROSS:
                return f"{bound.node.op_type} looks at all channels together"
            if bound.node is not None and bound.allowed is Transform.ROTARY:
                return "channels turn in pairs"
    nodes = {p.node.op_type for part in group.parts for p in part.passages}
    across = sorted(nodes & (ACROSS | {"RotaryEmbedding"}))
    return f"{across[0]} looks at all channels together" if across else None


@dataclass(frozen=True)
class _Rows:
    """The rows of a constant, one for each place of a channel."""

    member: Member
    channels: Array
    rows: Array
    """[places, ...], a view."""

    @classmethod
    def of(cls, group: ChannelGroup, member: Member) -> _Rows:
        constant = member.value.constant
        assert constant is not None
        rows = np.moveaxis(constant.numpy(), member.axes[0], 0)
        return cls(member, group.channels_of(member).reshape(-1), rows)

    def probe(self, size: int) -> Array:
        """[size, PROBES]: the first elements at the first place of each channel, NaN if none."""
        first = copies(self.channels) == 0
        result = np.full((size, PROBES), np.nan)
        row = self.rows[0]
        for index in range(min(PROBES, row.size)):
            at = np.unravel_index(index * (row.size // PROBES or 1) % row.size, row.shape)
            result[self.channels[first], index] = self.rows[(first, *at)]
        return result

    def all_of(self, channel: int) -> Array:
        """Every element of a channel, in one line."""
        found: Array = self.rows[self.channels == channel].astype(np.float64).reshape(-1)
        return found


def _single(group: ChannelGroup, members: Iterable[Member]) -> list[_Rows] | None:
    if any(len(member.axes) != 1 for member in members):
        return None
    return [_Rows.of(group, member) for member in members]


def zero_channels(group: ChannelGroup, members: Iterable[Member]) -> Array:
    """[size], bool: where all of ``members`` are zero; weights are read only where they may be."""
    found = _single(group, tuple(members))
    result = np.zeros(group.size, bool)
    if not found:
        return result
    maybe = np.ones(group.size, bool)
    for rows in found:
        probe = rows.probe(group.size)
        maybe &= ~np.any(np.nan_to_num(probe) != 0, axis=1)
    for channel in np.flatnonzero(maybe):
        result[channel] = not any(rows.all_of(int(channel)).any() for rows in found)
    return result


def twins(group: ChannelGroup, left_out: Array) -> list[Twin]:
    """Channels that are multiples of others, among those that are not ``left_out``."""
    members = [*group.writers, *group.riders]
    found = _single(group, members)
    if not found:
        return []
    moving = [rows for rows in found if rows.member.variance is Variance.COVARIANT]
    still = [rows for rows in found if rows.member.variance is not Variance.COVARIANT]
    multiples = _factors(group)
    result = []
    for bucket in _buckets(group.size, moving, still, multiples, left_out):
        kept: dict[bytes, list[tuple[int, Array]]] = {}
        for channel in bucket:
            line = np.concatenate([rows.all_of(channel) for rows in moving])
            rest = np.concatenate([np.zeros(0), *(rows.all_of(channel) for rows in still)])
            alike = kept.setdefault(_key(line, rest, multiples), [])
            for other, other_line in alike:
                factor = _multiple(line, other_line, multiples)
                if factor is not None:
                    result.append(Twin(other, channel, factor))
                    break
            else:
                if line.any():
                    alike.append((channel, line))
    return result


def _key(line: Array, rest: Array, multiples: Multiples) -> bytes:
    """What multiples have in common: where numbers are above and below zero.

    Sparse weights agree in all probes, and pairs of them are too many to compare.
    """
    # Adding zero makes -0.0 and 0.0 the same key.
    if multiples == "equal":
        return (line + 0.0).tobytes() + (rest + 0.0).tobytes()
    signs = (line > 0).astype(np.int8) - (line < 0)
    if multiples == "any" and signs.any():
        signs = signs * signs[np.flatnonzero(signs)[0]]
    return bytes(signs.tobytes() + (rest + 0.0).tobytes())


def _factors(group: ChannelGroup) -> Multiples:
    """Which multiples all operators on the way keep: equal ones, positive ones, or any."""
    if len(group.parts) != 1 or any(sign < 0 for sign in group.parts[0].signs.values()):
        return "equal"
    symmetry = group.parts[0].symmetry
    if symmetry >= Transform.DIAGONAL:
        return "any"
    return "positive" if symmetry >= Transform.POSITIVE else "equal"


def _buckets(
    size: int, moving: list[_Rows], still: list[_Rows], multiples: Multiples, left_out: Array
) -> Iterator[list[int]]:
    """Channels whose probes agree, by twos and more."""
    probes = np.concatenate([rows.probe(size) for rows in moving], axis=1)
    rest = [rows.probe(size) for rows in still]
    if multiples != "equal":
        probes = _normalized(probes, multiples)
    # Adding zero makes -0.0 and 0.0 the same key.
    keys = np.nan_to_num(np.concatenate([probes, *rest], axis=1), nan=ABSENT) + 0.0
    buckets: dict[bytes, list[int]] = {}
    for channel in np.flatnonzero(~left_out):
        buckets.setdefault(keys[channel].tobytes(), []).append(int(channel))
    yield from (bucket for bucket in buckets.values() if len(bucket) > 1)


def _normalized(probes: Array, multiples: Multiples) -> Array:
    """Multiples of one another made equal, to four digits."""
    known = np.nan_to_num(probes)
    at = np.abs(known).argmax(axis=1)[:, None]
    largest = np.take_along_axis(known, at, axis=1)
    if multiples == "positive":
        largest = np.abs(largest)
    scaled = known / np.where(largest == 0, 1, largest)
    result: Array = np.where(np.isnan(probes), np.nan, np.round(scaled, 4))
    return result


def _multiple(line: Array, other: Array, multiples: Multiples) -> float | None:
    """The factor that makes ``line`` out of ``other``, None if there is none."""
    if line.shape != other.shape:
        return None
    if np.array_equal(line, other):
        return 1.0
    at = int(np.abs(other).argmax()) if other.size else 0
    if multiples == "equal" or not other.size or other[at] == 0:
        return None
    factor = float(line[at] / other[at])
    if factor == 0 or (multiples == "positive" and factor < 0) or not np.isfinite(factor):
        return None
    # The rounding of single precision is all that may differ.
    return factor if np.allclose(line, factor * other, rtol=3e-7, atol=0) else None
