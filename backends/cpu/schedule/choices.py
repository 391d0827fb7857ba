"""Which tiles and loop orders to try, the best guess by `costs` first."""

from collections.abc import Iterator, Sequence
from math import prod

from burnish.backends.cpu.schedule.contraction import Contraction
from burnish.backends.cpu.schedule.costs import Sizes, cost, pays_in_parallel, sizes_of, widest
from burnish.backends.cpu.schedule.nests import Lines
from burnish.backends.cpu.schedule.tiling import Space, TileConfig
from burnish.target import Target

LIMIT = 12
"""Most candidates of one kernel."""
_TILE_SHAPES = 8
"""Register tiles that are tried with several loop orders."""
_ORDERS_OF_A_SHAPE = 3
"""Most candidates with the same register tile."""
_MOST_ROWS = 14
_MOST_VECTORS = 8
_FEW_SLOTS = 16
"""Accumulators below which two steps of a sum go into one iteration."""


def for_contraction(work: Contraction, target: Target) -> list[TileConfig]:
    """Ways to tile a contraction, best guess first."""
    shapes = sorted(_tile_shapes(work, target), key=lambda s: sizes_of(work, target, *s).cycles)
    ordered = []
    for rows, vectors in shapes[:_TILE_SHAPES]:
        orders = dict.fromkeys(_orders(work, target, rows, vectors))
        ranked = sorted((cost(work, target, config), i, config) for i, config in enumerate(orders))
        ordered += ranked[:_ORDERS_OF_A_SHAPE]
    return [config for _, _, config in sorted(ordered, key=lambda entry: entry[0])[:LIMIT]]


_WINDOW_TILES = ((8, 1), (4, 2), (4, 1), (12, 1), (2, 4), (6, 2))
"""Rows and vectors of tiles for windows of single channels, best guess first."""
_WINDOW_OVERHEAD = 4
"""Cycles to clear, finish and store a vector of windows."""
_WINDOW_TILES_OF_ONE_ROW = ((1, 4), (1, 2), (1, 8), (1, 1))


def for_window(
    space: Space, target: Target, tiles: Sequence[tuple[int, int]] = _WINDOW_TILES
) -> list[TileConfig]:
    """Ways to tile windows of one channel each, best guess first, by rows and vectors of tiles."""
    vectors_all = -(-space.columns // space.width)
    longest = space.axes[-1].outputs
    is_small = target.threads > 1 and not pays_in_parallel(_window_cycles(space), target)
    found = []
    for rows, vectors in tiles if longest > 1 else _WINDOW_TILES_OF_ONE_ROW:
        rows = _even(min(rows, longest), longest)
        vectors = max(1, min(vectors, vectors_all // target.threads))
        blocks, units = -(-vectors_all // vectors), Lines(space, rows, target.threads).units
        # Few enough that what the first columns read is at hand for the next ones.
        read = prod(axis.inputs for axis in space.axes) * space.columns * 4 // units
        held = max(1, target.l2 // 4 // max(1, read))
        row_block = units if is_small else max(1, min(held, units // (4 * target.threads)))
        # Few lines: channels are shared out as well.
        is_whole = is_small or units >= 4 * target.threads
        column_block = blocks if is_whole else -(-blocks // target.threads)
        config = TileConfig(rows, vectors, 1, row_block, column_block, False)
        if config not in found:
            found.append(config)
    return found


def _window_cycles(space: Space) -> float:
    """Estimated cycles of windows of one channel each on a single thread."""
    taps = prod(axis.kernel for axis in space.axes)
    return prod(axis.outputs for axis in space.axes) * space.vectors * (taps + _WINDOW_OVERHEAD)


def _even(rows: int, longest: int) -> int:
    """Rows of a tile that cuts `longest` into nearly equal pieces."""
    return -(-longest // -(-longest // rows))


def _tile_shapes(work: Contraction, target: Target) -> Iterator[tuple[int, int]]:
    """Register tiles that leave room for a row of weights and one input element."""
    longest = widest(work.space)
    for vectors in range(1, min(work.space.vectors, _MOST_VECTORS) + 1):
        free = target.registers - work.arithmetic.registers(vectors)
        most = min(free // vectors, longest, _MOST_ROWS)
        for rows in range(max(1, most // 2), most + 1):
            yield rows, vectors


def _orders(work: Contraction, target: Target, rows: int, vectors: int) -> Iterator[TileConfig]:
    """Loop orders and task sizes: all at once, columns outside, or rows outside."""
    sizes = sizes_of(work, target, rows, vectors)
    unroll = 2 if rows * vectors < _FEW_SLOTS else 1
    blocks = sizes.blocks // sizes.groups
    if sizes.groups == 1:
        yield TileConfig(rows, vectors, unroll, sizes.units, blocks, True)
    for parts in (1, 2, 4):
        if parts == 1 or sizes.blocks * parts <= 8 * target.threads:
            yield TileConfig(rows, vectors, unroll, -(-sizes.units // parts), 1, True)
    for row_block in _row_blocks(sizes, target):
        yield TileConfig(rows, vectors, unroll, row_block, blocks, False)
    if work.beside and len(work.space.axes) == 1:
        # A tile of rows after the other: what is read beside the sums is read in order.
        yield TileConfig(rows, vectors, unroll, 1, blocks, False)


def _row_blocks(sizes: Sizes, target: Target) -> Iterator[int]:
    """Row units of a task, fewer and fewer until their input fits well into a cache of a core."""
    tasks = target.threads
    while True:
        row_block = -(-sizes.units // tasks)
        yield row_block
        if row_block == 1 or sizes.inputs / tasks <= target.l2 // 8:
            return
        tasks *= 2
