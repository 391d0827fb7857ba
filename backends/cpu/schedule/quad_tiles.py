"""Windows of bytes: each channel's own, four positions of one axis multiplied and added at once.

rows:    four lines of the input, a vector of channels from each position
weave:   the bytes of one channel side by side; shared by all outputs that read the position
sums:    one instruction for four positions of each of a quarter of the channels
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Buffer, BufferLoad, Stmt

from burnish.backends.cpu.schedule.build import (
    Index,
    Registers,
    Views,
    bind,
    constant,
    index,
    lanes,
    loop,
    ravel,
    ravel_line,
    sequence,
    splat,
)
from burnish.backends.cpu.schedule.convolution import lead_of
from burnish.backends.cpu.schedule.epilogue import Epilogue, Store
from burnish.backends.cpu.schedule.fused import Fused
from burnish.backends.cpu.schedule.tiling import Columns, Space, Tile
from burnish.backends.cpu.schedule.woven_order import WovenStore, copied
from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.integer_window import AXIS, OUTSIDE, SHIFT
from burnish.backends.kernels.quads import SIZE as QUAD
from burnish.backends.kernels.quads import dot
from burnish.backends.kernels.weaving import weave

_SIGN = 0x80
_UNROLLED_DOTS = 400
"""Instructions of a tile up to which all positions of its windows are written out."""


@dataclass(frozen=True)
class QuadWindow:
    """What a kernel computes of each window."""

    space: Space
    source: Buffer
    weights: Buffer
    """Quads, as int32."""
    zero: Buffer | None
    outside: int | None
    """What positions outside the input count as, where that is known."""
    shift: int
    quad: int
    """The axis along which positions are taken together."""
    in_order: bool = True
    """Whether sums of channels follow each other as channels do; else they are in woven order, and
    so are weights."""

    @cached_property
    def kernel(self) -> list[int]:
        """Extents of the kernel, by quads along one axis."""
        return [
            -(-axis.kernel // QUAD) if i == self.quad else axis.kernel
            for i, axis in enumerate(self.space.axes)
        ]

    def woven(self) -> tuple["QuadWindow", list[Stmt]]:
        """The same in woven order, and what copies the weights."""
        space = self.space
        weights, copies = copied(self.weights, prod(self.kernel), space.columns, space.width)
        return replace(self, weights=weights, in_order=False), copies

    def weight(self, position: Sequence[Index], vector: Index, column: Index) -> Index:
        """Where the weights of a vector of channels begin at a position of the kernel."""
        place = ravel(position, self.kernel)
        if self.in_order:
            return place * self.space.columns + column
        return (vector * prod(self.kernel) + place) * self.space.width

    def write(self, tile: Tile, epilogue: Epilogue) -> Stmt:
        """The statements of one tile."""
        columns = tile.columns
        parts = _Parts if self.in_order else _WovenParts
        tile = replace(tile, columns=parts(columns.space, columns.group, columns.span))
        vectors = columns.span.size * QUAD
        totals = Registers(len(tile.rows.steps), vectors, self.space.width // QUAD, "int32")
        writer = _TileWriter(self, tile, totals)
        fill = totals.fill(tirx.const(0, "int32"))
        return tile.finish(totals, [*fill, *writer.window()], epilogue)


class _Parts(Columns):
    """Columns whose sums are held in `QUAD` vectors for each vector of bytes."""

    def stores(self) -> list[list[Store]]:
        """Which lanes of each vector of sums to store, and when."""
        part = self.space.width // QUAD
        found = []
        for choices in super().stores():
            for number in range(QUAD):
                begin = number * part
                cut = []
                for store in choices:
                    low = max(begin, store.lane)
                    high = min(begin + part, store.lane + store.width)
                    if low < high:
                        column = store.column + (low - store.lane)
                        cut.append(Store(store.condition, column, low - begin, high - low))
                found.append(cut)
        return found


class _WovenParts(Columns):
    """The same in woven order: vectors are stored whole, though the last one overlaps another."""

    def stores(self) -> list[list[Store]]:
        """What to store of each vector of sums."""
        part = self.space.width // QUAD
        found: list[list[Store]] = []
        for number, start in enumerate(self.starts()):
            woven = (self.span.first + number) * self.space.width
            found += [
                [WovenStore(True, start + at, 0, part, woven + at, start)]
                for at in range(0, self.space.width, part)
            ]
        return found


def describe(fused: Fused, views: Views, width: int) -> QuadWindow:
    """The work of an anchor with the role `QUADS`, by vectors of ``width`` channels."""
    source, weights, *zero = dict.fromkeys(load.source for load in fused.operands())
    axes = tuple(Axis.decode(values) for values in fused.attrs["burnish.axes"])
    space = Space(axes, 1, fused.anchor.extents[-1], width, True, lead_of(fused))
    outside = fused.attrs.get(OUTSIDE)
    return QuadWindow(
        space,
        views.of(source),
        views.of(weights, "int32", QUAD),
        views.of(zero[0]) if zero else None,
        None if outside is None else int(outside),
        int(fused.attrs[SHIFT]),
        int(fused.attrs[AXIS]),
    )


@dataclass(frozen=True)
class _Line:
    """Where the elements of one line of the input are, and whether they exist."""

    start: Index
    mask: Expr | None
    """All bits where the line exists, none where not; None if it always does."""
    flip: Expr | None
    """What bytes are combined with: the sign that is to be removed, or what a line that does not
    exist counts as."""


@dataclass(frozen=True)
class _TileWriter:
    work: QuadWindow
    tile: Tile
    totals: Registers

    @cached_property
    def _parts(self) -> int:
        return self.work.space.width // QUAD

    def window(self) -> list[Stmt]:
        """All kernel positions."""
        return self._outer(())

    def _outer(self, taps: tuple[Index, ...]) -> list[Stmt]:
        """Kernel positions of all axes but the last, by quads along one of them."""
        axis, phases = len(taps), self.tile.phases
        if axis == len(phases) - 1:
            return self._last(taps)
        count = phases[axis].taps.count
        if axis == self.work.quad:
            count = -(-count // QUAD)
        if count == 1 or self._size <= _UNROLLED_DOTS:
            return [s for tap in range(count) for s in self._outer((*taps, index(tap)))]
        return [loop(count, lambda tap: sequence(self._outer((*taps, tap))), name="tap")]

    @cached_property
    def _size(self) -> int:
        """Instructions of a tile."""
        size = self.totals.rows * self.totals.vectors
        for axis, phase in enumerate(self.tile.phases):
            size *= -(-phase.taps.count // (QUAD if axis == self.work.quad else 1))
        return size

    def _last(self, taps: tuple[Index, ...]) -> list[Stmt]:
        """All kernel positions of the last axis."""
        statements: list[Stmt] = []
        lines = self._lines(taps, statements)
        for j, column in enumerate(self.tile.columns.starts()):
            statements += self._sums(taps, lines, j, bind(column, statements, "channel"))
        return [sequence(statements)]

    def _lines(self, taps: tuple[Index, ...], statements: list[Stmt]) -> list[_Line]:
        """The lines that positions `taps` of the outer axes read: four, or one."""
        quad = self.work.quad
        if quad == len(self.tile.phases) - 1:
            return [self._line(taps, statements)]
        found = []
        count = self.tile.phases[quad].taps.count
        for i in range(QUAD):
            place = list(taps)
            place[quad] = taps[quad] * QUAD + i
            exact = constant(place[quad])
            if exact is not None and exact >= count:
                break
            found.append(self._line(tuple(place), statements))
        return found

    def _line(self, taps: tuple[Index, ...], statements: list[Stmt]) -> _Line:
        """The line at positions `taps` of the outer axes."""
        tile, axes = self.tile, self.work.space.axes
        position = tile.source((*taps, 0))
        exists: list[Expr] = []
        for axis, tap in enumerate(taps):
            phase, inputs = tile.phases[axis], axes[axis].inputs
            if phase.interior(inputs) != (0, phase.count):
                exists += [position[axis] >= 0, position[axis] < inputs]
                position[axis] = tirx.max(0, tirx.min(position[axis], inputs - 1))
            elif axis == self.work.quad and constant(tap) is None:
                # The last quad reaches beyond the kernel, where weights are zero.
                position[axis] = tirx.min(position[axis], inputs - 1)
        inputs_ = [axis.inputs for axis in axes]
        start = bind(ravel_line(position, inputs_) * self._pitch, statements, "line")
        sign = _SIGN if self.work.shift else 0
        if not exists:
            return _Line(start, None, self._bytes(index(sign)) if sign else None)
        condition = bind(tirx.all(*exists), statements, "exists")
        mask = self._everywhere(tirx.Select(condition, index(-1), index(0)), statements, "mask")
        if self.work.outside == 0 and not sign:
            return _Line(start, mask, None)
        quads = tirx.Select(condition, index(_repeated(sign)), self._outside_quad())
        return _Line(start, mask, self._everywhere(quads, statements, "flip"))

    def _outside_quad(self) -> Expr:
        """What positions outside the input count as, four times side by side."""
        if self.work.outside is not None:
            return index(_repeated(self.work.outside))
        assert self.work.zero is not None
        zero: Expr = BufferLoad(self.work.zero, [index(0)])
        byte = (zero.astype("int32") + self.work.shift).astype("uint32")
        return tirx.reinterpret("int32", byte * tirx.const(0x01010101, "uint32"))

    def _everywhere(self, quad: Expr, statements: list[Stmt], name: str) -> Expr:
        """A vector of bytes from four of them."""
        vector = splat(bind(quad, statements, name), self._parts)
        return bind(tirx.reinterpret(f"uint8x{self.work.space.width}", vector), statements, name)

    def _bytes(self, value: Expr) -> Expr:
        return splat(value.astype("uint8"), self.work.space.width)

    @cached_property
    def _pitch(self) -> int:
        return self.work.space.columns

    def _sums(
        self, taps: tuple[Index, ...], lines: Sequence[_Line], vector: int, column: Index
    ) -> list[Stmt]:
        """Products of all positions of the last axis, for one vector of channels."""
        statements: list[Stmt] = []
        woven: dict[int, list[Expr]] = {}
        for offset, row, tap in sorted(self._reads()):
            if offset not in woven:
                rows = self._rows(lines, offset, column, statements)
                width, in_order = self.work.space.width, self.work.in_order
                parts = [weave(rows, part, width, in_order) for part in range(QUAD)]
                woven[offset] = [bind(part, statements, "quads") for part in parts]
            number = self.tile.columns.span.first + vector
            place = self.work.weight((*taps, tap), number, column)
            for part, quads in enumerate(woven[offset]):
                weight = BufferLoad(
                    self.work.weights, [lanes(place + part * self._parts, self._parts)]
                )
                number = vector * QUAD + part
                total = dot(self.totals.read(row, number), quads, weight, self._parts)
                statements.append(self.totals.write(row, number, total))
        return statements

    def _reads(self) -> Iterator[tuple[int, int, int]]:
        """Which rows need what positions of the last axis, as distances from the first, for taps.

        Taps are counted by quads where the last axis is the one that is taken by quads.
        """
        tile, phase = self.tile, self.tile.phases[-1]
        by_quads = self.work.quad == len(tile.phases) - 1
        count, step = phase.taps.count, phase.taps.step
        for row in range(self.totals.rows):
            for tap in range(0, count, QUAD if by_quads else 1):
                yield tile.input_step(row) + tap * step, row, tap // QUAD if by_quads else tap

    def _rows(
        self, lines: Sequence[_Line], offset: int, column: Index, statements: list[Stmt]
    ) -> list[Expr]:
        """Four vectors of bytes that are multiplied together."""
        last = len(self.tile.phases) - 1
        step = self.tile.phases[-1].taps.step
        if self.work.quad == last:
            places = [offset + i * step for i in range(QUAD)]
            # What only weights beyond the kernel would multiply may not exist.
            found = [
                self._row(lines[0], place, column, statements)
                for place in places if place <= self._furthest
            ]  # fmt: skip
        else:
            found = [self._row(line, offset, column, statements) for line in lines]
        return found

    def _row(self, line: _Line, offset: int, column: Index, statements: list[Stmt]) -> Expr:
        width = self.work.space.width
        if not self._is_inside(offset):
            if self.work.outside is not None:
                return self._bytes(index(self.work.outside))
            vector = splat(self._outside_quad(), self._parts)
            return tirx.reinterpret(f"uint8x{width}", vector)
        place = line.start + column + offset * self._pitch
        value: Expr = BufferLoad(self.work.source, [lanes(place, width)])
        if self.work.shift:
            value = tirx.reinterpret(f"uint8x{width}", value)
        if line.mask is not None:
            value = value & line.mask
        if line.flip is not None:
            value = value ^ line.flip
        return bind(value, statements, "row")

    @cached_property
    def _furthest(self) -> int:
        """The last position of the last axis that is read, counted from the first."""
        taps = self.tile.phases[-1].taps
        steps = map(self.tile.input_step, range(self.totals.rows))
        return max(steps) + (taps.count - 1) * taps.step

    def _is_inside(self, offset: int) -> bool:
        """Whether a position of the last axis exists, counted from the first that is read."""
        first = constant(self.tile.rows.first)
        if first is None:
            return True
        inputs = self.work.space.axes[-1].inputs
        phase = self.tile.phases[-1]
        place = first * phase.input_step + phase.taps.offset + offset
        return 0 <= place < inputs


def _repeated(byte: int) -> int:
    """A byte four times, as int32."""
    word = byte * 0x01010101
    return word - (1 << 32) if word >= 1 << 31 else word
