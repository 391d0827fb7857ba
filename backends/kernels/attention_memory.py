"""What a task of an attention keeps near: copies of its operands, scores, results so far."""

import math
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from tvm import ir, tirx
from tvm.script.ir_builder import tirx as build

from burnish.backends.kernels.attention_operands import Sizes, Tile, View
from burnish.backends.kernels.vectors import each_lane, store, transposed, vector_load, vector_store

Expr: TypeAlias = ir.Expr | int


def hidden() -> Expr:
    """The score of a key that a mask hides."""
    return tirx.const(float("-inf"), "float32")


def zero() -> Expr:
    """What sums start from."""
    return tirx.const(0.0, "float32")


@dataclass(frozen=True)
class Memory:
    """Buffers of one task."""

    keys: tirx.Buffer
    """[panels, D, panel width], the keys of the head with positions contiguous."""
    values: tirx.Buffer | None
    """[panels, keys, panel width]; None if they are read where they are."""
    queries: tirx.Buffer
    """[rows, D], scaled."""
    scores: tirx.Buffer
    """[rows, keys of a block and some, so that rows do not share sets of the cache]."""
    weights: tirx.Buffer | None
    """[rows, pairs of keys of a block and some], exponentials of the scores; None if these hold
    them."""
    total: tirx.Buffer
    """[rows], the sum of the exponentials so far."""
    running: "Running | None"
    """None with a single block of keys."""


@dataclass(frozen=True)
class Running:
    """What passes from one block of keys to the next."""

    largest: tirx.Buffer
    """[rows], what was subtracted from the scores."""
    change: tirx.Buffer
    """[rows], what results so far are to be multiplied with."""
    sums: tirx.Buffer
    """[rows, padded Dv], results so far."""


@dataclass(frozen=True)
class Place:
    """What a block of rows computes."""

    batch: Expr
    head: Expr
    key_head: Expr
    row: Expr
    """First query position."""


@dataclass(frozen=True)
class Operands:
    """Queries, keys and values where they are stored; emits the copies of them."""

    sizes: Sizes
    tile: Tile
    q: View
    k: View
    v: View

    element: ClassVar[str] = "float32"
    """The type of what queries and keys are copied as."""

    @property
    def width(self) -> int:
        """Columns of a panel."""
        return self.tile.vectors * self.tile.lanes

    def memory(self, uses: int) -> Memory:
        """Emit the buffers of a task that goes over all keys `uses` times."""
        sizes, tile = self.sizes, self.tile

        def alloc(*shape: int, dtype: str = "float32") -> tirx.Buffer:
            return build.alloc_buffer(shape, dtype)

        panels = math.ceil(sizes.keys / self.width)
        return Memory(
            keys=alloc(panels, sizes.channels, self.width, dtype=self.element),
            values=self.value_copies(uses),
            queries=alloc(tile.rows, sizes.channels, dtype=self.element),
            scores=alloc(tile.rows, tile.keys + tile.lanes),
            weights=self.weights(),
            total=alloc(tile.rows),
            running=Running(
                alloc(tile.rows), alloc(tile.rows), alloc(tile.rows, self.value_panels * self.width)
            )
            if tile.keys < sizes.keys
            else None,
        )

    @property
    def value_panels(self) -> int:
        """Panels of the channels of values."""
        return math.ceil(self.sizes.value_channels / self.width)

    def value_copies(self, uses: int) -> tirx.Buffer | None:
        """Emit the buffer for copies of values, if they are worth making."""
        if uses <= 1 or self.v.pitch <= self.sizes.value_channels:
            return None
        return build.alloc_buffer((self.value_panels, self.sizes.keys, self.width), "float32")

    def weights(self) -> tirx.Buffer | None:
        """Emit a buffer for exponentials, if they do not take the place of the scores."""
        return None

    def pack_keys(self, keys: tirx.Buffer, batch: Expr, head: Expr) -> None:
        """Emit a copy of the keys of a head with positions contiguous, zero beyond the last."""
        sizes, lanes, width = self.sizes, self.tile.lanes, self.width
        for start, count, size in cover(sizes.keys, width):
            with build.serial(0, count) as step:
                panel = start // width + step
                first = panel * width
                if self.k.channels_last and min(size, sizes.channels) >= lanes:
                    self._turn_squares(keys, panel, size, batch, head)
                else:
                    with build.serial(0, sizes.channels) as d, build.serial(0, size) as j:
                        store(keys, self.k.load(batch, head, first + j, d), panel, d, j)
                if size < width:
                    with build.serial(0, sizes.channels) as d, each_lane(width - size) as j:
                        store(keys, tirx.const(0, self.element), panel, d, j + size)

    def _turn_squares(
        self, keys: tirx.Buffer, panel: Expr, size: int, batch: Expr, head: Expr
    ) -> None:
        """Transpose in registers; the last square of a row or column overlaps the one before."""
        sizes, lanes = self.sizes, self.tile.lanes
        with build.serial(0, math.ceil(sizes.channels / lanes)) as down:
            d = tirx.min(down * lanes, sizes.channels - lanes)
            for j in (min(at, size - lanes) for at in range(0, size, lanes)):
                position = panel * self.width + j
                square = [
                    vector_load(self.k.load(batch, head, position + r, d), lanes)
                    for r in range(lanes)
                ]
                for r, column in enumerate(transposed(square)):
                    vector_store(keys, column, [panel, d + r, j], lanes)

    def pack_values(self, values: tirx.Buffer, batch: Expr, head: Expr) -> None:
        """Emit a copy of the values of a head, a panel of channels at a time."""
        for start, count, size in cover(self.sizes.value_channels, self.width):
            with build.serial(0, count) as step, build.serial(0, self.sizes.keys) as j:
                channel = start + step * size
                with each_lane(size) as lane:
                    element = self.v.load(batch, head, j, channel + lane)
                    store(values, element, start // self.width + step, j, lane)

    def copy_queries(self, queries: tirx.Buffer, place: Place, factor: float | None = None) -> None:
        """Emit a copy of a block of queries, times `factor`."""
        # Vectors said outright: LLVM would exchange the loops and gather.
        with build.serial(0, self.tile.rows) as r:
            for start, count, size in cover(self.sizes.channels, self.tile.lanes):
                with build.serial(0, count) as step, each_lane(size) as lane:
                    d = start + step * size + lane
                    query = self.q.load(place.batch, place.head, place.row + r, d)
                    if factor is not None:
                        query = query * tirx.const(factor, "float32")
                    store(queries, query, r, d)


def cover(extent: int, width: int) -> list[tuple[int, int, int]]:
    """Tiles over `extent`: (start, count, size), the last one narrower."""
    whole, rest = divmod(extent, width)
    tiles = [(0, whole, width)] if whole else []
    return [*tiles, (whole * width, 1, rest)] if rest else tiles
