"""Convolutions of 3x3 taps with stride 1: their sizes, and how minimal filtering cuts them up."""

from dataclasses import dataclass
from math import prod

from burnish.backends.cpu.schedule.fused import Fused
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.winograd import KERNEL, OUTPUTS
from burnish.target import Target

_LINE = 16
"""Elements of a cache line."""
_HELD = 32
"""Tiles whose sums are kept at a time where nothing asks for more."""


@dataclass(frozen=True)
class Layer:
    """A convolution, and the tiles, tasks and chunks of one way to compute it."""

    axes: tuple[Axis, ...]
    """Batch, height and width."""
    depth: int
    """Input channels."""
    columns: int
    """Output channels."""
    width: int
    """Output channels of a vector."""
    lanes: int
    """Input channels of a vector."""
    config: TileConfig
    room: int
    """Bytes for transformed weights."""

    @property
    def outputs(self) -> int:
        """Outputs of a tile along each axis."""
        return self.config.tile

    @property
    def size(self) -> int:
        """Inputs of a tile along each axis."""
        return self.outputs + KERNEL - 1

    @property
    def products(self) -> int:
        """Products of a tile, for each input and output channel."""
        return self.size**2

    @property
    def grid(self) -> tuple[int, int, int]:
        """Images, and tiles along each axis of one."""
        batch, height, width = (axis.outputs for axis in self.axes)
        return batch, -(-height // self.outputs), -(-width // self.outputs)

    @property
    def tiles(self) -> int:
        """Tiles of all images."""
        return prod(self.grid)

    @property
    def block(self) -> int:
        """Tiles of a task."""
        return min(self.config.row_block, self.tiles)

    @property
    def rows(self) -> int:
        """Tiles of a register tile."""
        return min(self.config.rows, self.block)

    @property
    def vectors(self) -> int:
        """Vectors of output channels."""
        return -(-self.columns // self.width)

    @property
    def side(self) -> int:
        """Vectors of output channels of a register tile."""
        return min(self.config.vectors, self.vectors)

    @property
    def blocks(self) -> int:
        """Register tiles side by side."""
        return -(-self.vectors // self.side)

    @property
    def column_tasks(self) -> int:
        """Tasks that share tiles."""
        return -(-self.blocks // self.config.column_block)

    @property
    def row_tasks(self) -> int:
        """Tasks that share output channels."""
        return -(-self.tiles // self.block)

    @property
    def chunk(self) -> int:
        """Channels that are summed before their transformed weights leave the cache."""
        most = self.room // (self.products * self.side * self.width * 4)
        return -(-self.depth // -(-self.depth // max(most, self.lanes)))

    @property
    def held(self) -> int:
        """Tiles whose sums are kept until they are transformed: all of a task, or a few."""
        if self.chunk < self.depth:
            return self.block
        most = max(1, min(_HELD, self.block) // self.rows)
        sizes = [self.rows * count for count in range(1, most + 1)]
        return min(sizes, key=lambda size: (-self.block % size, -size))


def spread(elements: int) -> int:
    """A pitch of at least ``elements``: an odd number of cache lines, so that sets differ."""
    return (-(-elements // _LINE) | 1) * _LINE


def applies(fused: Fused, target: Target) -> bool:
    """Whether an anchor may be computed so: lowering allows it, and vectors of inputs are full."""
    if int(fused.attrs.get("burnish.winograd", 1)) < min(OUTPUTS):
        return False
    return int(fused.operands()[1].source.shape[-2]) >= target.lanes("float32")


def describe(fused: Fused, target: Target, config: TileConfig) -> Layer:
    """The work of an anchor for which `applies` holds."""
    _, weights = (load.source for load in fused.operands())
    axes = tuple(Axis.decode(values) for values in fused.attrs["burnish.axes"])
    depth, width = int(weights.shape[-2]), int(weights.shape[-1])
    columns = fused.anchor.extents[-1]
    return Layer(axes, depth, columns, width, target.lanes("float32"), config, target.l2 // 4)
