"""What each call of an artifact does: its arithmetic, its memory, and the operators it stands for.

Kept in a file of the artifact's own, `calls.json`, which only profiling reads. The file holds
`{"format": 1, "entries": [[call, ...], ...]}`, and a call has the fields of `CallSpec`; operands
are lists of the fields of `Operand`. Artifacts made before there was one lack it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

from burnish.errors import InvalidInput

NAME = "calls.json"
FORMAT = 1
SPACES = ("input", "output", "weights", "arena")
MOST = 1 << 62
"""Largest count in the file."""
KERNEL, JUMP, REGION = KINDS = ("kernel", "jump", "region")


@dataclass(frozen=True)
class Operand:
    """The memory of one argument of a call."""

    space: str
    """``input``, ``output`` (of the model), ``weights`` or ``arena``."""
    start: int
    """Bytes from the start of the weights or the arena; the number of an input or output."""
    size: int
    """Bytes."""
    touched: int
    """Bytes of these that the call must read or write: a lookup reads few rows of a table."""
    written: bool

    @property
    def place(self) -> tuple[str, int]:
        """Where it starts."""
        return self.space, self.start

    def overlaps(self, other: Operand) -> bool:
        """Whether the two share bytes."""
        if self.space != other.space:
            return False
        if self.space in ("input", "output"):
            return self.start == other.start
        return self.start < other.start + other.size and other.start < self.start + self.size


@dataclass(frozen=True)
class CallSpec:
    """One call of an entry."""

    kernel: str
    flops: int
    """Operations, a multiplication with an addition as two, by `burnish.analysis.cost`; those of a
    convolution on its padding do not count."""
    arithmetic: str
    """The dtype that is multiplied: its peak bounds the call."""
    operators: tuple[str, ...]
    """Types of the operators that it computes, in the order in which it does."""
    sources: tuple[str, ...]
    """Names of the nodes of the ONNX model that these came from."""
    operands: tuple[Operand, ...]
    kind: str = KERNEL
    """``kernel``, ``jump``, or ``region`` if ONNX Runtime runs it."""
    repeats: bool = False
    """Whether it is in a loop, so that one run may call it more than once or never."""

    @property
    def bytes(self) -> int:
        """Bytes that it must at least read and write."""
        return sum(operand.touched for operand in self.operands)


def pack_calls(entries: Sequence[Sequence[CallSpec]]) -> bytes:
    """Return the text of the file, the same for equal calls."""
    rows = [
        [asdict(call) | {"operands": [astuple(o) for o in call.operands]} for call in calls]
        for calls in entries
    ]
    data = {"format": FORMAT, "entries": rows}
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def unpack_calls(data: bytes) -> list[list[CallSpec]]:
    """Read what `pack_calls` wrote.

    Raises:
        InvalidInput: it is something else.
    """
    try:
        root = json.loads(data)
        if root["format"] != FORMAT:
            raise InvalidInput(
                f"{NAME} has format {root['format']!r}, and this burnish reads format {FORMAT}; "
                "compile the model again"
            )
        return [[_call(row) for row in rows] for rows in root["entries"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"{NAME} holds no calls: {error}") from error


def _call(row: Mapping[str, Any]) -> CallSpec:
    operands = tuple(_operand(*fields) for fields in row["operands"])
    kernel, arithmetic = row["kernel"], row["arithmetic"]
    operators, sources = tuple(row["operators"]), tuple(row["sources"])
    kind = KINDS[KINDS.index(row["kind"])]
    if not all(isinstance(text, str) for text in (kernel, arithmetic, *operators, *sources)):
        raise TypeError("a name is no text")
    return CallSpec(
        kernel,
        _count(row["flops"]),
        arithmetic,
        operators,
        sources,
        operands,
        kind,
        bool(row["repeats"]),
    )


def _operand(space: str, start: int, size: int, touched: int, written: bool) -> Operand:
    if space not in SPACES:
        raise ValueError(f"there is no space {space!r}")
    return Operand(space, _count(start), _count(size), _count(touched), bool(written))


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MOST:
        raise ValueError(f"a count is not within 0 to {MOST}")
    return value
