"""What a way to tile a contraction costs, from arithmetic about registers, caches and threads.

Sums run at the pace of the vector units; meanwhile operands travel from where they lie. What takes
longer counts in full, the other one in part.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from burnish.backends.cpu.schedule.contraction import Contraction
from burnish.backends.cpu.schedule.epilogue import INLINE_LIMIT
from burnish.backends.cpu.schedule.nests import Lines
from burnish.backends.cpu.schedule.tiling import Space, TileConfig
from burnish.backends.kernels.geometry import Phase
from burnish.backends.machine import LAUNCH, MEMORY
from burnish.target import Target

LATENCY = 4
"""Cycles from one multiply-add to the next that needs it."""
_WIDE = 16
"""Lanes of vectors half of which take half the time."""
_SPARE = 5
"""Registers beside accumulators below which code slows down, by the factor `_CROWDED`."""
_SPARE_IN_WINDOW = 8
"""The same where tiles at borders need code of their own."""
_CROWDED = 1.1
_PAGE = 4096
"""Bytes after which addresses fall into the same set of a first-level cache."""
_WAYS = 8
"""Lines of one such set: as many rows at this distance evict each other."""
_CONFLICT = 1.3
_TILE_OVERHEAD = 20
"""Cycles around the innermost loops of a tile."""
_SLOT_OVERHEAD = 3
"""Cycles to clear, finish and store an accumulator."""
_FINISH = 0.7
"""Cycles of one operation of what follows the sums."""
_UNROLLED_ROWS = 8
"""Rows up to which the compiler unrolls the loop that finishes them."""
_LOOPED = 25
"""Cycles that an accumulator takes through memory if that loop stays one."""
_TASK_OVERHEAD = 100
"""Cycles around a task."""
_L1, _L2, SHARED = 64, 28, 14
"""Bytes that reach a core in a cycle, by where they lie; from memory `MEMORY`."""
_SHARED_BYTES = 16 * 1024**2
"""Size of the caches that cores share."""
_APART = 0.15
"""Cycles for each byte of what is read beside the results, if neighbouring columns follow only
after many other rows: it and they come from afar in pieces that lie apart."""
_FILL = 0.6
"""Part of a cache that a kernel can count on."""
_EXPOSED = 0.25
"""Part of the shorter one of arithmetic and memory time that the longer one does not hide."""


def cost(work: Contraction, target: Target, config: TileConfig) -> float:
    """Estimated cycles of the slowest thread."""
    sizes = sizes_of(work, target, config.rows, config.vectors)
    row_tasks = -(-sizes.units // config.row_block)
    tasks = row_tasks * -(-sizes.blocks // config.column_block)
    most = -(-tasks // target.threads) * config.row_block * config.column_block
    share = max(1 / target.threads, min(1.0, most / (sizes.units * sizes.blocks)))
    arithmetic = sizes.cycles
    memory = _memory(sizes, target, config, row_tasks)
    cycles = max(arithmetic, memory) + _EXPOSED * min(arithmetic, memory)
    launch = LAUNCH if tasks > 1 and target.threads > 1 else 0
    cycles += _APART * work.beside * (not _is_by_rows(work, target, sizes, config))
    return share * (cycles + tasks * _TASK_OVERHEAD) + launch


def _is_by_rows(work: Contraction, target: Target, sizes: "Sizes", config: TileConfig) -> bool:
    """Whether whole rows are finished tile by tile, or all lie near however they are finished."""
    results_too = 2 * work.beside
    if results_too <= target.l2 or sizes.blocks == 1:
        return True
    return config.row_block == 1 and config.column_block == sizes.blocks


def pays_in_parallel(cycles: float, target: Target) -> bool:
    """Whether work of so many cycles is done sooner by all threads than by one."""
    return cycles > LAUNCH + cycles / target.threads


@dataclass(frozen=True)
class Sizes:
    """Extents of a contraction under one register tile."""

    units: int
    """Row units, as `nests.Lines` counts them."""
    blocks: int
    """Tiles side by side, over all groups."""
    tiles: int
    """Tiles one below the other, over all units."""
    groups: int
    inputs: int
    """Bytes of the input."""
    weights: int
    """Bytes of weights."""
    cycles: float
    """Of all tiles, were memory free."""


@lru_cache(256)
def sizes_of(work: Contraction, target: Target, rows: int, vectors: int) -> Sizes:
    """The extents of ``work`` in tiles of ``rows`` by ``vectors``."""
    space = work.space
    lines = Lines(space, rows, target.threads)
    outer = prod(axis.outputs for axis in space.axes[:-1])
    phases = space.axes[-1].phases()
    heights = [_heights(phase, space.axes[-1].inputs, rows) for phase in phases]
    taps = prod(axis.taps for axis in space.axes)
    return Sizes(
        units=lines.units,
        blocks=-(-space.vectors // vectors) * space.groups,
        tiles=outer * sum(sum(h.values()) for h in heights),
        groups=space.groups,
        inputs=prod(axis.inputs for axis in space.axes) * work.depth * space.groups * 4,
        weights=space.vectors * space.width * space.groups * taps * work.depth * 4,
        cycles=_cycles(work, target, rows, vectors),
    )


def _memory(sizes: Sizes, target: Target, config: TileConfig, row_tasks: int) -> float:
    """Cycles in which operands arrive, on a single thread."""
    sweeps = sizes.blocks // sizes.groups
    origin = _pace(sizes.inputs, target)
    block = sizes.weights / sizes.blocks
    if config.columns_slow:
        # All rows pass by for every block of columns, whose weights stay.
        rows = sizes.inputs * sweeps / origin
        weights = sizes.weights / MEMORY
    else:
        held = sizes.inputs / sizes.groups / row_tasks + block
        rows = sizes.inputs / origin + sizes.inputs * (sweeps - 1) / _pace(held, target)
        again = sizes.weights * (row_tasks - 1) / _pace(sizes.weights + held, target)
        weights = sizes.weights / MEMORY + again
    # Each tile reads the weights of its columns, if they do not lie in the nearest cache anyway.
    tiles = sizes.tiles * sizes.weights / sizes.groups / _pace(block, target)
    # What comes from far and what comes from near overlap.
    return max(rows + weights, tiles)


def _pace(footprint: float, target: Target) -> int:
    """Bytes that arrive in a cycle of what is read again after ``footprint`` bytes."""
    if footprint <= target.l1 * _FILL:
        return _L1
    if footprint <= target.l2 * _FILL:
        return _L2
    return SHARED if footprint <= _SHARED_BYTES * _FILL else MEMORY


def _cycles(work: Contraction, target: Target, rows: int, vectors: int) -> float:
    """Cycles of all tiles, were memory free."""
    space = work.space
    # Shorter vectors than the longest: two in the time of one.
    pace = max(1, min(2, target.lanes() // space.width))
    blocks = -(-space.vectors // vectors) * space.groups
    pitch = work.source.position_pitch * 4
    outer = prod(axis.outputs for axis in space.axes[:-1])
    outer_taps = prod(
        axis.kernel / (axis.stride if axis.transposed else 1) for axis in space.axes[:-1]
    )
    total = 0.0
    # What a short last vector saves.
    short = 0.5 if space.width == _WIDE and space.last(vectors) < _WIDE else 0.0
    for phase in space.axes[-1].phases():
        steps = work.depth * phase.taps.count * outer_taps
        for height, times in _heights(phase, space.axes[-1].inputs, rows).items():
            slots = height * vectors
            sums = work.arithmetic.cycles(height, vectors - short)
            cycles = max(sums, height + vectors, LATENCY * pace) / pace + vectors / 4
            if slots > target.registers - (_SPARE_IN_WINDOW if phase.taps.count > 1 else _SPARE):
                cycles *= _CROWDED
            if pitch * phase.input_step % _PAGE == 0 and height >= _WAYS:
                cycles *= _CONFLICT
            finish = _SLOT_OVERHEAD + _FINISH * work.finish
            if work.finish * slots > INLINE_LIMIT and height > _UNROLLED_ROWS:
                finish += _LOOPED
            total += times * (steps * cycles + _TILE_OVERHEAD + finish * slots)
    return total * outer * blocks


def _heights(phase: Phase, inputs: int, rows: int) -> dict[int, int]:
    """How many tiles of each height a line takes."""
    inside = len(range(*phase.interior(inputs)))
    if phase.count <= rows and inside < phase.count:
        return {phase.count: 1}
    found = {min(rows, inside): -(-inside // rows)} if inside else {}
    border = phase.count - inside
    for height, times in ((rows, border // rows), (border % rows, 1)):
        if height and times:
            found[height] = found.get(height, 0) + times
    return found


def widest(space: Space) -> int:
    """Rows of the longest line of one phase."""
    return max(phase.count for phase in space.axes[-1].phases())
