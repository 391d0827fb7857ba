"""Windows of one channel each: depthwise convolutions and pooling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Buffer, BufferLoad, PrimFunc, Stmt

from burnish.backends.cpu.schedule.arithmetic import SINGLE
from burnish.backends.cpu.schedule.build import (
    Index,
    Registers,
    Views,
    bind,
    index,
    loop,
    ravel,
    ravel_line,
    sequence,
    splat,
)
from burnish.backends.cpu.schedule.convolution import lead_of
from burnish.backends.cpu.schedule.epilogue import Epilogue
from burnish.backends.cpu.schedule.fused import Fused
from burnish.backends.cpu.schedule.nests import nests
from burnish.backends.cpu.schedule.tiling import Space, Tile, TileConfig
from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.integer_window import OUTSIDE, WIDE
from burnish.backends.kernels.integers import SUMS
from burnish.target import Target

Combine = Callable[[Expr, Expr, Expr | None], Expr]

_INTEGERS = ("int", "uint8")
_UNROLLED_STEPS = 160
"""Elements of a tile's windows along the last axis up to which they are written out."""

COMBINE: dict[str, Combine] = {
    "depthwise": lambda total, value, weight: total + value * weight,
    WIDE: lambda total, value, weight: total + value * weight,
    "sum-pool": lambda total, value, _: total + value,
    "max-pool": lambda total, value, _: tirx.max(total, value),
}
"""How a window takes in one more element, by role."""


def build(fused: Fused, target: Target, config: TileConfig) -> PrimFunc:
    """The loops of a depthwise convolution or pooling window and of its epilogue.

    Raises:
        ScheduleMiss: what follows the anchor is not elementwise.
    """
    views = Views()
    epilogue = Epilogue(fused, views, target)
    work = describe(fused, target, views)
    body = nests(work.space, config, target.threads, lambda tile: work.write(tile, epilogue))
    return fused.with_body(epilogue.around(views.declare([body])))


@dataclass(frozen=True)
class Window:
    """What a kernel computes of each window."""

    space: Space
    source: Buffer
    pitch: int
    """Elements from one position to the next."""
    weights: Buffer | None
    combine: Combine
    initial: Expr
    sums: str
    """The type of sums, which bytes are widened to as they are read."""
    zero: Expr | None = None
    """What is taken from each element."""

    def write(self, tile: Tile, epilogue: Epilogue) -> Stmt:
        """The statements of one tile."""
        totals = Registers(
            len(tile.rows.steps), tile.columns.span.size, self.space.width, self.sums
        )
        window = tile.outer_window(lambda taps: self._line(tile, totals, taps))
        return tile.finish(totals, [*totals.fill(self.initial), *window], epilogue)

    def _read(self, buffer: Buffer, place: Index, width: int) -> Expr:
        """Adjacent elements of an operand, in the type of sums."""
        value = SINGLE.vector(buffer, place, width)
        if not str(buffer.dtype).startswith(_INTEGERS) or str(buffer.dtype) == self.sums:
            return value
        return value.astype(self.sums if width == 1 else f"{self.sums}x{width}")

    def _line(self, tile: Tile, totals: Registers, outer: tuple[Index, ...]) -> list[Stmt]:
        """All kernel positions of the last axis."""
        count = tile.phases[-1].taps.count
        size = count * totals.rows * totals.vectors
        if tile.rows.is_inside and size > _UNROLLED_STEPS:
            return [loop(count, lambda tap: self._taps(tile, totals, (*outer, tap), 1), name="tap")]
        return [self._taps(tile, totals, (*outer, 0), count)]

    def _taps(self, tile: Tile, totals: Registers, taps: tuple[Index, ...], count: int) -> Stmt:
        """`count` kernel positions of the last axis from `taps` on, reading each element once."""
        statements: list[Stmt] = []
        channels, step = self.space.columns, tile.phases[-1].taps.step
        inputs = [axis.inputs for axis in self.space.axes]
        first = ravel_line(tile.source(taps), inputs) * self.pitch
        kernel = ravel(tile.kernel(taps), [axis.kernel for axis in self.space.axes]) * channels
        for j, column in enumerate(tile.columns.starts()):
            element = bind(first + column, statements, "element")
            weight = bind(kernel + column, statements, "weight")
            read: dict[int, Expr] = {}
            for tap in range(count):
                rows = tile.reached(tap)
                factor = None
                if self.weights is not None and rows:
                    factor = self._read(self.weights, weight + tap * channels, totals.width)
                    factor = bind(factor, statements, "w")
                for row in rows:
                    offset = tile.input_step(row) + tap * step
                    if offset not in read:
                        place = element + offset * self.pitch
                        value = self._read(self.source, place, totals.width)
                        if self.zero is not None:
                            value = value - splat(self.zero, totals.width)
                        read[offset] = bind(value, statements, "x")
                    total = self.combine(totals.read(row, j), read[offset], factor)
                    statements.append(totals.write(row, j, total))
        return sequence(statements)


def describe(fused: Fused, target: Target, views: Views) -> Window:
    """The work of an anchor with a role in `COMBINE`."""
    source, *others = dict.fromkeys(load.source for load in fused.operands())
    axes = tuple(Axis.decode(values) for values in fused.attrs["burnish.axes"])
    dtype = str(fused.anchor.out.dtype)
    is_max = fused.role == "max-pool"
    channels = fused.anchor.extents[-1]
    width = min(target.lanes(dtype), channels)
    space = Space(axes, 1, channels, width, True, lead_of(fused))
    *zero, weights = others if others else [None]
    return Window(
        space,
        views.of(source),
        int(source.shape[-1]),
        None if weights is None else views.of(weights),
        COMBINE[fused.role],
        tirx.min_value(dtype) if is_max else tirx.const(0, dtype),
        dtype,
        zero_of(fused, views, zero),
    )


def zero_of(fused: Fused, views: Views, operand: Sequence[Buffer]) -> Expr | None:
    """The number that an anchor of `integer_window` reads outside, or takes from each element.

    None if it is 0. If it is not known it is an ``operand``.
    """
    if operand:
        value: Expr = BufferLoad(views.of(operand[0]), [index(0)])
        return value.astype(SUMS)
    known = int(fused.attrs.get(OUTSIDE, 0))
    return index(known) if known else None
