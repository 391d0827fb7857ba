"""Whether to sum a convolution by Winograd's filtering, and in which tiles, from arithmetic."""

from collections.abc import Iterator, Sequence

from burnish.backends.cpu.schedule.costs import LATENCY, SHARED
from burnish.backends.cpu.schedule.fused import Fused
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.backends.cpu.schedule.winograd_layer import Layer, applies, describe
from burnish.backends.kernels.winograd import KERNEL, OUTPUTS
from burnish.backends.machine import LAUNCH, MEMORY
from burnish.target import Target

LIMIT = 6
"""Most candidates of one kernel."""
_SHAPES = ((8, 2), (14, 1), (7, 2), (12, 2))
"""Rows and vectors of register tiles, for 32 registers, the best of equals first."""
_SHAPES_OF_FEW_REGISTERS = ((5, 2), (6, 2), (4, 2), (4, 3), (10, 1))
_SHAPES_OF_FEW_TILES = ((4, 4), (4, 2))
_FEW_TILES = 4
_MULTIPLY = 1.15
"""Cycles of a multiply-add of vectors in a register tile."""
_DATA, _WEIGHTS, _RESULT = 8, 3, 5
"""Cycles to transform a vector of inputs, weights and sums, for each product of a tile."""
_THROUGH_MEMORY = 2
"""Bytes that a cycle moves through memory: transformed inputs are written there and read again."""
_SHARED_PART = 4
"""Size of the part of a shared cache that a thread may use, in second-level caches."""


def candidates(fused: Fused, target: Target) -> list[tuple[float, TileConfig]]:
    """Ways to do it with estimated cycles of the slowest thread, best guess first."""
    if not applies(fused, target):
        return []
    outputs = max(m for m in OUTPUTS if m <= int(fused.attrs["burnish.winograd"]))
    found = {
        config: _cost(describe(fused, target, config), target)
        for config in _configs(fused, target, outputs)
    }
    best = sorted(found, key=lambda config: found[config])[:LIMIT]
    return [(found[config], config) for config in best]


def _configs(fused: Fused, target: Target, outputs: int) -> Iterator[TileConfig]:
    tiles = describe(fused, target, TileConfig(1, 1, tile=outputs)).tiles
    few = target.registers < 32
    shapes: Sequence[tuple[int, int]] = _SHAPES_OF_FEW_REGISTERS if few else _SHAPES
    for rows, vectors in _SHAPES_OF_FEW_TILES if tiles <= _FEW_TILES else shapes:
        layer = describe(fused, target, TileConfig(rows, vectors, tile=outputs))
        if vectors > layer.vectors:
            continue
        for row_tasks in _divisions(layer.tiles, rows, target.threads):
            block = -(-layer.tiles // row_tasks)
            for column_tasks in (1, min(target.threads, layer.blocks)):
                yield TileConfig(
                    min(rows, block), vectors, row_block=block,
                    column_block=-(-layer.blocks // column_tasks), tile=outputs,
                )  # fmt: skip


def _divisions(tiles: int, rows: int, threads: int) -> Iterator[int]:
    """How many tasks the tiles may be shared among: one, or a multiple of the threads."""
    yield 1
    tasks = max(2, threads)
    while tiles >= tasks * rows:
        yield tasks
        tasks *= 2


def _cost(layer: Layer, target: Target) -> float:
    """Estimated cycles of the slowest thread."""
    per_thread = -(-layer.row_tasks * layer.column_tasks // target.threads)
    blocks = min(layer.config.column_block, layer.blocks)
    vectors = blocks * layer.side
    inputs = layer.block * -(-layer.depth // layer.lanes)
    groups = -(-layer.block // layer.held)
    rows = groups * layer.held * vectors
    steps = groups * blocks * _steps(layer)
    products = layer.depth * steps * _MULTIPLY
    transforms = _DATA * inputs + _WEIGHTS * layer.depth * vectors + _RESULT * rows
    cycles = layer.products * (products + transforms) + _traffic(layer, target, blocks)
    # Weights come from memory once, whatever the number of tasks.
    weights = 4 * KERNEL**2 * layer.depth * vectors * layer.width
    is_shared = layer.row_tasks * layer.column_tasks > 1 and target.threads > 1
    return per_thread * cycles + weights / MEMORY + (LAUNCH if is_shared else 0)


def _traffic(layer: Layer, target: Target, blocks: int) -> float:
    """Cycles to write transformed inputs and to read them for each block of columns."""
    data = 4 * layer.products * layer.block * layer.depth
    if data <= target.l2 * 3 // 4:
        return 0.0
    return data * (blocks + 2) / (SHARED if data <= _SHARED_PART * target.l2 else _THROUGH_MEMORY)


def _steps(layer: Layer) -> int:
    """Cycles of one channel in the register tiles of a group, one below the other."""
    whole, rest = divmod(layer.held, layer.rows)
    tiles = [layer.rows] * whole + [rest] * bool(rest)
    return sum(max(rows * layer.side, rows + layer.side, LATENCY) for rows in tiles)
