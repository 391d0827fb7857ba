"""Which tiles and loop orders to try, from arithmetic about registers and caches."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from burnish.backends.cpu.schedule.contraction import Contraction
from burnish.backends.cpu.schedule.tiling import Space, TileConfig
from burnish.backends.kernels.geometry import Phase
from burnish.target import Target

LIMIT = 12
"""Most candidates of one kernel."""
_TILE_SHAPES = 4
"""Register tiles that are tried with several loop orders."""
_MOST_ROWS = 14
_LATENCY = 4
"""Cycles from one multiply-add to the next that needs it."""
_BYTES_PER_CYCLE = {"l1": 64, "l2": 32, "far": 16}
"""What a core reads from each level; `far` stands for shared caches and memory."""
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


def for_contraction(work: Contraction, target: Target) -> list[TileConfig]:
    """Ways to tile a contraction, best guess first."""
    shapes = sorted(_tile_shapes(work, target), key=lambda s: _arithmetic(work, target, *s))
    found: dict[TileConfig, float] = {}
    for rows, vectors in shapes[:_TILE_SHAPES]:
        for config in _orders(work, target, rows, vectors):
            found[config] = cost(work, target, config)
    return sorted(found, key=lambda config: found[config])[:LIMIT]


_WINDOW_TILES = ((8, 1), (4, 2), (4, 1), (12, 1), (2, 4), (6, 2))
"""Rows and vectors of tiles for windows of single channels, best guess first."""
_WINDOW_TILES_OF_ONE_ROW = ((1, 4), (1, 2), (1, 8), (1, 1))


def for_window(space: Space, target: Target) -> list[TileConfig]:
    """Ways to tile windows of one channel each, best guess first."""
    vectors_all = -(-space.columns // space.width)
    lines = prod(axis.outputs for axis in space.axes[:-1])
    longest = space.axes[-1].outputs
    found = []
    for rows, vectors in _WINDOW_TILES if longest > 1 else _WINDOW_TILES_OF_ONE_ROW:
        rows = _even(min(rows, longest), longest)
        vectors = max(1, min(vectors, vectors_all // target.threads))
        blocks = -(-vectors_all // vectors)
        line_block = max(1, lines // (4 * target.threads))
        # Few lines: channels are shared out as well.
        column_block = blocks if lines >= 4 * target.threads else -(-blocks // target.threads)
        config = TileConfig(rows, vectors, 1, line_block, column_block, False)
        if config not in found:
            found.append(config)
    return found


def _even(rows: int, longest: int) -> int:
    """Rows of a tile that cuts `longest` into nearly equal pieces."""
    return -(-longest // -(-longest // rows))


@dataclass(frozen=True)
class _Sizes:
    """Extents of a contraction under one register tile, summed over phases."""

    units: int
    """Row units: tiles along a flat axis, else lines."""
    blocks: int
    """Tiles side by side, over all groups."""
    unit_bytes: int
    """Input that one row unit reads."""
    weight_bytes: int


def _sizes(work: Contraction, rows: int, vectors: int) -> _Sizes:
    last = work.space.axes[-1]
    channels = work.depth * work.space.groups
    if len(work.space.axes) == 1:
        units, unit_bytes = -(-last.outputs // rows), rows * channels * 4
    else:
        units = prod(axis.outputs for axis in work.space.axes[:-1])
        unit_bytes = last.inputs * channels * 4 * prod(a.stride for a in work.space.axes[:-1])
    vectors_all = -(-work.space.columns // work.space.width)
    blocks = -(-vectors_all // vectors) * work.space.groups
    taps = prod(axis.kernel for axis in work.space.axes)
    return _Sizes(
        units,
        blocks,
        unit_bytes,
        vectors_all * work.space.groups * work.space.width * 4 * taps * work.depth,
    )


def _tile_shapes(work: Contraction, target: Target) -> Iterator[tuple[int, int]]:
    """Register tiles that leave room for a row of weights and one input element."""
    vectors_all = -(-work.space.columns // work.space.width)
    longest = max(phase.count for phase in work.space.axes[-1].phases())
    for vectors in range(1, min(vectors_all, 8) + 1):
        most = min((target.registers - 1 - vectors) // vectors, longest, _MOST_ROWS)
        for rows in range(max(1, most // 2), most + 1):
            yield rows, vectors


def _arithmetic(work: Contraction, target: Target, rows: int, vectors: int) -> float:
    """Cycles of all tiles, were memory free."""
    space = work.space
    blocks = -(-space.vectors // vectors) * space.groups
    pitch = work.source.position_pitch * 4
    outer = prod(axis.outputs for axis in space.axes[:-1])
    total = 0.0
    for phase in space.axes[-1].phases():
        steps = work.depth * phase.taps.count * prod(axis.kernel for axis in space.axes[:-1])
        for height, times in _heights(phase, space.axes[-1].inputs, rows).items():
            slots = height * vectors
            cycles = max(slots, height + vectors, _LATENCY) + vectors / 4
            if slots > target.registers - (_SPARE_IN_WINDOW if phase.taps.count > 1 else _SPARE):
                cycles *= _CROWDED
            if pitch * phase.input_step % _PAGE == 0 and height >= _WAYS:
                cycles *= _CONFLICT
            total += times * (steps * cycles + _TILE_OVERHEAD + 3 * slots)
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


def _orders(work: Contraction, target: Target, rows: int, vectors: int) -> Iterator[TileConfig]:
    """Loop orders and task sizes: columns outside, or rows outside."""
    sizes = _sizes(work, rows, vectors)
    unroll = 2 if rows * vectors < 16 else 1
    blocks = sizes.blocks // work.space.groups
    for parts in (1, 2, 4):
        tasks = sizes.blocks * parts
        if parts == 1 or tasks <= 8 * target.threads:
            row_block = -(-sizes.units // parts)
            yield TileConfig(rows, vectors, unroll, row_block, 1, True)
    for parts in (1, 2, 4, 8):
        row_block = -(-sizes.units // (parts * target.threads))
        yield TileConfig(rows, vectors, unroll, row_block, blocks, False)
        if row_block * sizes.unit_bytes <= target.l2 // 2:
            return


def cost(work: Contraction, target: Target, config: TileConfig) -> float:
    """Estimated cycles of the slowest thread."""
    sizes = _sizes(work, config.rows, config.vectors)
    row_tasks = -(-sizes.units // config.row_block)
    column_tasks = -(-sizes.blocks // config.column_block)
    tasks = row_tasks * column_tasks
    most = -(-tasks // target.threads) * config.row_block * config.column_block
    imbalance = max(1.0, most * target.threads / (sizes.units * sizes.blocks))
    cycles = _arithmetic(work, target, config.rows, config.vectors) * imbalance
    inputs = sizes.units * sizes.unit_bytes
    block = sizes.weight_bytes / sizes.blocks
    held = min(inputs, config.row_block * sizes.unit_bytes)
    # Each task reads its rows once per block of columns and its weights once per tile of rows.
    reads_rows = inputs * sizes.blocks / _bandwidth(held, target)
    stays = row_tasks == 1 or config.columns_slow
    held_weights = sizes.weight_bytes if not stays else target.l2 + 1
    reads_weights = sizes.weight_bytes * row_tasks / _bandwidth(held_weights, target)
    last = work.space.axes[-1]
    heights = [_heights(phase, last.inputs, config.rows) for phase in last.phases()]
    lines = prod(axis.outputs for axis in work.space.axes[:-1])
    tiles = lines * sum(sum(h.values()) for h in heights) / len(heights)
    reads_tiles = tiles * sizes.weight_bytes / _bandwidth(block, target)
    return (cycles + 0.5 * (reads_rows + reads_weights) + 0.25 * reads_tiles) / target.threads


def _bandwidth(footprint: float, target: Target) -> float:
    if footprint <= target.l1 // 2:
        return _BYTES_PER_CYCLE["l1"]
    if footprint <= target.l2 // 2:
        return _BYTES_PER_CYCLE["l2"]
    return _BYTES_PER_CYCLE["far"]
