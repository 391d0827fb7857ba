"""Depthwise convolutions of bytes, four positions of a window multiplied and added at once."""

from dataclasses import replace

from tvm.tirx import PrimFunc, Stmt

from burnish.backends.cpu.schedule.build import (
    Views,
)
from burnish.backends.cpu.schedule.choices import for_window
from burnish.backends.cpu.schedule.epilogue import Epilogue
from burnish.backends.cpu.schedule.fused import Fused
from burnish.backends.cpu.schedule.nests import nests
from burnish.backends.cpu.schedule.quad_tiles import describe
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.backends.cpu.schedule.woven_order import WovenEpilogue
from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.quads import with_instructions
from burnish.backends.kernels.weaving import with_weaving
from burnish.target import Target

_MOST_ROWS = 7
"""Rows of a tile whose sums fit the registers of four vectors each."""
_CHOICES = 4
"""Heights of tiles to try."""
_SUMS, _WEAVES, _TILE = 18, 7, 10
"""Cycles of the sums of a row, of interleaving one position, and of what a tile takes beside."""
_PASSES = {64: 2.0, 32: 1.1, 16: 1.0}
"""What a vector of so many bytes costs: the widest ones pass through a unit of half their width
twice on some processors."""


def build(fused: Fused, target: Target, config: TileConfig) -> PrimFunc:
    """The loops of a depthwise convolution of bytes and of its epilogue.

    Raises:
        ScheduleMiss: what follows the anchor is not elementwise.
    """
    views, width = Views(), 16 * config.vectors
    narrow = replace(target, vector_bits=8 * width)
    work, epilogue = describe(fused, views, width), Epilogue(fused, views, narrow)
    prepare: list[Stmt] = []
    if WovenEpilogue.fits(fused, narrow, width):
        epilogue = woven = WovenEpilogue(fused, views, narrow, width)
        work, copies = work.woven()
        prepare = [*woven.prepare, *copies]
    body = nests(
        work.space, replace(config, vectors=1), target.threads,
        lambda tile: work.write(tile, epilogue),
    )  # fmt: skip
    whole = with_weaving(views.declare([*prepare, body]), width)
    return fused.with_body(epilogue.around(with_instructions(whole, target)))


def candidates(fused: Fused, target: Target) -> list[TileConfig]:
    """Ways to build a kernel, best guess first; ``vectors`` counts those of 16 channels."""
    channels = fused.anchor.extents[-1]
    widths = [16 * n for n in (4, 2, 1) if 16 * n <= min(channels, target.vector_bits // 8)]
    widths.sort(key=lambda width: -(-channels // width) * _PASSES[width])
    found: list[TileConfig] = []
    for width in widths[:2]:
        space = describe(fused, Views(), width).space
        for rows in _heights(space.axes[-1])[:_CHOICES]:
            (config,) = for_window(space, target, ((rows, 1),))
            found.append(replace(config, rows=rows, vectors=width // 16))
    return found


def _heights(axis: Axis) -> list[int]:
    """Rows of tiles, best guess first: as many as whole lines have, and share what they read."""
    (phase,) = axis.phases()
    low, high = phase.interior(axis.inputs)
    inside = high - low
    if axis.outputs == 1:
        return [1]

    def cost(rows: int) -> int:
        reach = (rows - 1) * axis.stride + axis.dilation * (axis.kernel - 1) + 1
        read = min(rows * axis.kernel, reach)
        return -(-inside // rows) * (_SUMS * rows + _WEAVES * read + _TILE)

    return sorted(range(1, min(_MOST_ROWS, max(1, inside)) + 1), key=cost)
