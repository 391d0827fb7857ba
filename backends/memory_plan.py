"""Where every temporary lies in the one arena.

Buffers that are never needed at the same time share bytes: a small arena stays in the caches. No
kernel writes over what it reads: tried on the gates of EfficientNet and PP-OCR's classifier, that
made neither the arena smaller nor the model faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from burnish.backends.program import Buffer, BufferKind, Call, Program

ALIGNMENT = 64
"""Of every buffer, in bytes: kernels load whole vectors."""


@dataclass(frozen=True)
class MemoryPlan:
    """The arena of a program."""

    offsets: dict[Buffer, int]
    """Start in the arena, in bytes, of each TEMPORARY that is not an alias."""
    arena_bytes: int


@dataclass(eq=False)
class _Block:
    """When a temporary needs its bytes."""

    buffer: Buffer
    size: int
    first: int
    """The call that first writes it."""
    last: int
    """The last call that needs it."""

    def meets(self, other: _Block) -> bool:
        return self.first <= other.last and other.first <= self.last


def plan_memory(program: Program) -> MemoryPlan:
    """Give each temporary of `program` a place in the arena; the same program, the same places.

    Raises:
        ValueError: a temporary is read before it is written, or an alias leaves its owner.
    """
    blocks = _live_ranges(program)
    placements = [_place(sorted(blocks, key=key)) for key in _ORDERS]
    best = min(placements, key=_extent)
    return MemoryPlan({block.buffer: at for block, at in best.items()}, _extent(best))


def _round_up(size: int) -> int:
    return -(-max(size, 1) // ALIGNMENT) * ALIGNMENT


def _live_ranges(program: Program) -> list[_Block]:
    """Find which calls each temporary has to survive."""
    blocks: dict[Buffer, _Block] = {}
    for index, call in enumerate(program.calls):
        for buffer in call.reads:
            owner = _owner(buffer)
            if owner is None:
                continue
            if owner not in blocks:
                raise ValueError(f"{call.kernel} reads {buffer.name} before anything writes it")
            blocks[owner].last = index
        for buffer in call.writes:
            owner = _owner(buffer)
            if owner is None:
                continue
            block = blocks.setdefault(owner, _Block(owner, _round_up(owner.nbytes), index, index))
            block.last = index
    _outlast(program, blocks)
    return list(blocks.values())


def _outlast(program: Program, blocks: dict[Buffer, _Block]) -> None:
    """Keep what is needed beyond the call that reads it last."""
    for counter in (output.count.buffer for output in program.outputs if output.count):
        # It is read when everything has run.
        blocks[counter].last = len(program.calls)
    for head, end in _loops(program.calls):
        for block in blocks.values():
            # The next round needs what came from before the loop.
            if block.first < head <= block.last < end:
                block.last = end


def _loops(calls: Sequence[Call]) -> list[tuple[int, int]]:
    """The first and the last call of each loop, inner loops before outer ones."""
    jumps = [(c.jump, i) for i, c in enumerate(calls) if c.jump is not None and c.jump <= i]
    return sorted(jumps, key=lambda loop: loop[1] - loop[0])


def _owner(buffer: Buffer) -> Buffer | None:
    """Return the temporary that holds the bytes of `buffer`, None if the arena does not."""
    owner, offset = buffer.root()
    if owner.kind is not BufferKind.TEMPORARY or not owner.is_static:
        return None
    if offset < 0 or offset + buffer.span > owner.nbytes:
        raise ValueError(f"{buffer.name} sees bytes outside {owner.name}")
    return owner


def _place(blocks: Iterable[_Block]) -> dict[_Block, int]:
    """Put each block, in the order given, into the tightest gap that is free while it lives."""
    places: dict[_Block, int] = {}
    for block in blocks:
        taken = sorted((at, at + other.size) for other, at in places.items() if other.meets(block))
        places[block] = _tightest_gap(taken, block.size)
    return places


def _tightest_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    end, best, best_room = 0, None, None
    for start, stop in taken:
        room = start - end
        if room >= size and (best_room is None or room < best_room):
            best, best_room = end, room
        end = max(end, stop)
    return end if best is None else best


def _extent(places: dict[_Block, int]) -> int:
    return max((at + block.size for block, at in places.items()), default=0)


_ORDERS: tuple[Callable[[_Block], tuple[int, int]], ...] = (
    lambda block: (-block.size, block.first),
    lambda block: (block.first, -block.size),
)
"""Largest first and earliest first: neither is always the better, so both are tried."""
