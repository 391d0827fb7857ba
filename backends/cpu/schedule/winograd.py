"""Convolutions of 3x3 taps by Winograd's minimal filtering, in one pass over tiles.

A tile is ``m x m`` adjacent outputs, of which ``n x n = E`` products are needed for each input and
output channel (`backends/kernels/winograd.py`). A task computes some output channels (columns) of
some tiles, with all that lies between in memory of its own:

    data[e, tile, channel] <- transform of the inputs
    for each block of columns, for each chunk of channels:
        kernel[e, channel, column] <- transform of the packed weights
        for each e, for each few tiles:                                           # a register tile
            sums[e, tile, column] += data[e, tile, :] @ kernel[e, :, column]
        once complete: transform the sums, apply the epilogue, store

Weights are transformed in every run. That takes less than reading transformed ones, four times as
many bytes, from memory; and kernels of either kind read the same packed weights.
"""

from collections.abc import Callable, Sequence

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Buffer, BufferLoad, BufferStore, ForKind, PrimFunc, Stmt
from tvm.tirx.stmt import AllocBuffer

from burnish.backends.cpu.schedule.arithmetic import SINGLE
from burnish.backends.cpu.schedule.build import (
    Index,
    Registers,
    Views,
    bind,
    index,
    lanes,
    loop,
    sequence,
    splat,
    unravel,
    when,
)
from burnish.backends.cpu.schedule.constant_matrix import in_two_dimensions
from burnish.backends.cpu.schedule.epilogue import Epilogue, Position, Store
from burnish.backends.cpu.schedule.fused import Fused
from burnish.backends.cpu.schedule.prefetch import prefetch
from burnish.backends.cpu.schedule.tiling import Columns, Space, Span, TileConfig
from burnish.backends.cpu.schedule.winograd_layer import Layer, describe, spread
from burnish.backends.kernels.winograd import KERNEL, transforms
from burnish.target import Target


def build(fused: Fused, target: Target, config: TileConfig) -> PrimFunc:
    """The loops of a convolution, one that `winograd_layer.applies` to, and of its epilogue.

    Raises:
        ScheduleMiss: what follows the anchor is not elementwise.
    """
    return fused.with_body(_Builder(fused, describe(fused, target, config)).build(target.threads))


class _Builder:
    """Writes the statements of a layer."""

    def __init__(self, fused: Fused, layer: Layer) -> None:
        self.layer = layer
        self.views = Views()
        self.epilogue = Epilogue(fused, self.views)
        source, weights = (load.source for load in fused.operands())
        self.source, self.weights = self.views.of(source), self.views.of(weights)
        self.pitch = int(source.shape[-1])
        """Elements from one input position to the next."""
        self.dtype = str(self.source.dtype)
        self.transforms = transforms(layer.outputs)
        self.space = Space(layer.axes, 1, layer.columns, layer.width, False, lambda *_: ())
        self.row = layer.side * layer.width
        """Columns of a register tile."""
        self.data_row = spread(layer.depth)
        self.data, self.data_pitch = self._memory("data", layer.block * self.data_row)
        self.kernel, self.kernel_pitch = self._memory("kernel", layer.chunk * self.row)
        self.sums, self.sums_pitch = self._memory("sums", layer.held * self.row)

    def _memory(self, name: str, elements: int) -> tuple[Buffer, int]:
        """Memory of a task for `elements` of each product, and their pitch."""
        pitch = spread(elements)
        shape = (self.layer.products * pitch,)
        return tirx.decl_buffer(shape, self.dtype, name=name, scope="global"), pitch

    def build(self, threads: int) -> Stmt:
        """All tasks."""
        layer = self.layer
        size = layer.config.column_block

        def task(number: Expr) -> Stmt:
            row, column = unravel(number, (layer.row_tasks, layer.column_tasks))
            tiles = Span.number(row, layer.block, layer.tiles)
            start = column * size
            count: Index = min(size, layer.blocks)
            if layer.blocks % count:
                count = tirx.min(size, layer.blocks - start)
            blocks = loop(count, lambda i: self._columns(tiles, start + i), name="block")
            memory = [AllocBuffer(buffer) for buffer in (self.data, self.kernel, self.sums)]
            return sequence([*memory, self._inputs(tiles), blocks])

        kind = ForKind.PARALLEL if threads > 1 else ForKind.SERIAL
        tasks = layer.row_tasks * layer.column_tasks
        return self.views.declare([loop(tasks, task, kind, "task")])

    # Inputs

    def _inputs(self, tiles: Span) -> Stmt:
        """Transform the inputs of some tiles."""
        layer = self.layer

        def tile(t: Expr) -> Stmt:
            statements: list[Stmt] = []
            image, *place = unravel(tiles.first + t, layer.grid)
            corner: list[Index] = [bind(image, statements, "image")]
            inside: Expr | bool = True
            for number, axis in zip(place, layer.axes[1:], strict=True):
                start = bind(number * layer.outputs - axis.pad, statements, "start")
                corner.append(start)
                if axis.pad:
                    inside = _both(inside, index(start) >= 0)
                last = -(-axis.outputs // layer.outputs) * layer.outputs + KERNEL - 1 - axis.pad
                if last > axis.inputs:
                    inside = _both(inside, start + layer.size <= axis.inputs)
            patch = self._patch(t, corner, False)
            if inside is not True:
                patch = tirx.IfThenElse(inside, patch, self._patch(t, corner, True))
            return sequence([*statements, patch])

        return loop(layer.block, tile, name="tile")

    def _patch(self, t: Expr, corner: list[Index], guarded: bool) -> Stmt:
        """Transform the inputs of tile `t` from (image, y, x) on; zeros are beyond the border."""
        layer = self.layer
        image, *starts = corner
        _, height, width = layer.axes
        statements: list[Stmt] = []
        places: list[list[Index]] = []
        present: list[list[Expr | bool]] = []
        pitches = (width.inputs * self.pitch, self.pitch)
        for axis, start, pitch in zip((height, width), starts, pitches, strict=True):
            rows = [start + i for i in range(layer.size)]
            present.append([])
            if guarded:
                held = [bind(tirx.And(r >= 0, r < axis.inputs), statements, "has") for r in rows]
                present[-1] += held
                rows = [tirx.max(0, tirx.min(r, axis.inputs - 1)) for r in rows]
            places.append([bind(r * pitch, statements, "place") for r in rows])
        origin = bind(image * (height.inputs * width.inputs * self.pitch), statements, "origin")

        def vector(i: Expr) -> Stmt:
            inner: list[Stmt] = []
            channel = bind(Span.number(i, layer.lanes, layer.depth).first, inner, "channel")

            def element(r: int, c: int) -> Expr:
                place = origin + places[0][r] + places[1][c] + channel
                value = BufferLoad(self.source, [lanes(place, layer.lanes)])
                if not guarded:
                    return value
                exists = splat(tirx.And(present[0][r], present[1][c]), layer.lanes)
                return tirx.Select(exists, value, splat(tirx.const(0, self.dtype), layer.lanes))

            found = in_two_dimensions(self.transforms.data, element, inner)
            at = t * self.data_row + channel
            return sequence([*inner, *_scatter(found, layer.lanes, self.data, at, self.data_pitch)])

        vectors = -(-layer.depth // layer.lanes)
        return sequence([*statements, loop(vectors, vector, name="vector")])

    # Products

    def _columns(self, tiles: Span, block: Expr) -> Stmt:
        """A block of columns of some tiles."""
        layer = self.layer
        columns = Columns(self.space, index(0), Span.number(block, layer.side, layer.vectors))
        if layer.chunk == layer.depth:

            def group(number: Expr) -> Stmt:
                part = Span.number(number, layer.held, layer.block)
                products = self._products(part.first, index(0), layer.depth)
                return sequence([products, self._results(tiles, part.first, columns)])

            groups = loop(-(-layer.block // layer.held), group, name="group")
            return sequence([self._weights(columns, index(0), layer.depth), groups])

        def chunk(number: Expr) -> Stmt:
            first = number * layer.chunk
            depth: Index = layer.chunk
            if layer.depth % layer.chunk:
                depth = tirx.min(layer.chunk, layer.depth - first)
            weights = self._weights(columns, first, depth)
            return sequence([weights, self._products(0, first, depth, columns)])

        chunks = loop(-(-layer.depth // layer.chunk), chunk, name="chunk")
        return sequence([chunks, self._results(tiles, 0, columns)])

    def _weights(self, columns: Columns, first: Expr, depth: Index) -> Stmt:
        """Transform the weights of some columns, for `depth` channels from `first` on."""
        width, pitch = self.layer.width, self.layer.depth * self.layer.width

        def vector(j: Expr) -> Stmt:
            statements: list[Stmt] = []
            block = (columns.span.first + j) * (KERNEL**2 * pitch)
            base = bind(block + first * width, statements, "base")

            def channel(k: Expr) -> Stmt:
                inner: list[Stmt] = []

                def element(r: int, c: int) -> Expr:
                    place = base + (r * KERNEL + c) * pitch + k * width
                    return SINGLE.vector(self.weights, place, width)

                found = in_two_dimensions(self.transforms.kernel, element, inner)
                at = k * self.row + j * width
                return sequence(
                    [*inner, *_scatter(found, width, self.kernel, at, self.kernel_pitch)]
                )

            return sequence([*statements, loop(depth, channel, name="channel")])

        # One vector after the other: fewer places in memory are read at a time.
        return loop(self.layer.side, vector, name="vector")

    def _products(
        self, start: Index, first: Expr, depth: Index, columns: Columns | None = None
    ) -> Stmt:
        """Products of the held tiles, from `start` on, and their sums over some channels.

        With ``columns``, the weights that follow those are fetched meanwhile.
        """
        whole, rest = divmod(self.layer.held, self.layer.rows)

        def each(e: Expr) -> Stmt:
            def tile(at: Index, rows: int) -> Stmt:
                data = e * self.data_pitch + (start + at) * self.data_row + first
                return self._tile(e, data, at * self.row, rows, first, depth)

            size = self.layer.rows
            parts = [loop(whole, lambda g: tile(g * size, size), name="rows")]
            if columns is not None:
                parts.insert(0, self._fetch(columns, first, e))
            if rest:
                parts.append(tile(whole * size, rest))
            return sequence(parts)

        return loop(self.layer.products, each, name="e")

    def _fetch(self, columns: Columns, first: Expr, e: Expr) -> Stmt:
        """The share of product `e` in fetching the weights that follow those of a chunk.

        They come from memory in most runs, and would be waited for.
        """
        layer, taps = self.layer, KERNEL**2
        is_last = first + layer.chunk >= layer.depth
        vector = columns.span.first + tirx.Select(is_last, index(layer.side), index(0))
        channel = tirx.Select(is_last, index(0), first + layer.chunk)
        parts = layer.products // taps
        count = -(-layer.chunk // parts)
        statements: list[Stmt] = []
        place = (vector * taps + tirx.floormod(e, taps)) * layer.depth
        place = place + channel + tirx.floordiv(e, taps) * count
        base = bind(place * layer.width, statements, "next")

        def fetch(k: Expr) -> Stmt:
            pitch = taps * layer.depth * layer.width
            places = [base + k * layer.width + j * pitch for j in range(layer.side)]
            return sequence([prefetch(self.weights, place, near=False) for place in places])

        fetches = loop(count, fetch, name="channel")
        return when(e < taps * parts, sequence([*statements, fetches]))

    def _tile(
        self, e: Expr, data: Index, sums: Index, rows: int, first: Expr, depth: Index
    ) -> Stmt:
        """A register tile: products of some tiles at `data`, added to what is at `sums`."""
        layer, width = self.layer, self.layer.width
        totals = Registers(rows, layer.side, width, self.dtype)
        slots = [(row, j) for row in range(rows) for j in range(layer.side)]
        statements: list[Stmt] = [AllocBuffer(totals.buffer)]
        data = bind(data, statements, "data")
        kernel = bind(e * self.kernel_pitch, statements, "kernel")
        sums = bind(e * self.sums_pitch + sums, statements, "sums")

        def place(row: int, j: int) -> Expr:
            return lanes(sums + row * self.row + j * width, width)

        empty = sequence(totals.fill(tirx.const(0, self.dtype)))
        if layer.chunk < layer.depth:
            before = [totals.write(*s, BufferLoad(self.sums, [place(*s)])) for s in slots]
            empty = tirx.IfThenElse(tirx.EQ(first, index(0)), empty, sequence(before))

        def channel(k: Expr) -> Stmt:
            inner: list[Stmt] = []
            weights = []
            for j in range(layer.side):
                column = lanes(kernel + k * self.row + j * width, width)
                weights.append(bind(BufferLoad(self.kernel, [column]), inner, "w"))
            for row in range(rows):
                element = BufferLoad(self.data, [index(data + row * self.data_row + k)])
                value = bind(element, inner, "x")
                for j, weight in enumerate(weights):
                    total = totals.read(row, j) + splat(value, width) * weight
                    inner.append(totals.write(row, j, total))
            return sequence(inner)

        results = [BufferStore(self.sums, totals.read(*s), [place(*s)]) for s in slots]
        return sequence([*statements, empty, loop(depth, channel, name="channel"), *results])

    # Results

    def _results(self, tiles: Span, start: Index, columns: Columns) -> Stmt:
        """Transform the sums of the held tiles, from `start` on, and store what they become."""
        layer = self.layer
        m = layer.outputs
        _, height, width = (axis.outputs for axis in layer.axes)

        def tile(t: Expr) -> Stmt:
            statements: list[Stmt] = []
            image, *place = unravel(tiles.first + start + t, layer.grid)
            n, y, x = (
                bind(p, statements, "at") for p in (image, *(number * m for number in place))
            )
            row = bind((n * height + y) * width + x, statements, "row")

            def position(i: Index) -> Position:
                down, right = (i // m, i % m)
                exists: Expr | bool = True
                if height % m:
                    exists = _both(exists, y + down < height)
                if width % m:
                    exists = _both(exists, x + right < width)
                lead = (index(n), index(y + down), index(x + right))
                return Position(row + down * width + right, lead, exists)

            for j, stores in enumerate(columns.stores()):
                at = t * self.row + j * layer.width
                statements.append(self._result(at, stores, position))
            return when(tiles.is_fresh(start + t), sequence(statements))

        return loop(layer.held, tile, name="tile")

    def _result(
        self, at: Index, stores: list[Store], position: Callable[[Index], Position]
    ) -> Stmt:
        """The outputs of one tile in one vector of columns, from the sums that begin at `at`."""
        layer = self.layer
        totals = Registers(layer.outputs**2, 1, layer.width, self.dtype)
        statements: list[Stmt] = [AllocBuffer(totals.buffer)]

        def element(r: int, c: int) -> Expr:
            place = at + (r * layer.size + c) * self.sums_pitch
            return BufferLoad(self.sums, [lanes(place, layer.width)])

        found = in_two_dimensions(self.transforms.result, element, statements)
        statements += [totals.write(i, 0, value) for i, value in enumerate(found)]
        return sequence([*statements, *self.epilogue.finish(totals, [stores], position)])


def _scatter(
    values: Sequence[Expr], width: int, memory: Buffer, start: Index, pitch: int
) -> list[Stmt]:
    """Store vectors at a distance of `pitch` from each other."""
    return [
        BufferStore(memory, value, [lanes(start + e * pitch, width)])
        for e, value in enumerate(values)
    ]


def _both(one: Expr | bool, other: Expr) -> Expr:
    return other if one is True else tirx.And(one, other)
