"""Operands of an attention: sizes, where each is stored, how the work is cut."""

import math
from dataclasses import dataclass
from typing import TypeAlias

from tvm import ir, tirx

from burnish.target import Target

Expr: TypeAlias = ir.Expr | int


@dataclass(frozen=True)
class Layout:
    """Where element (batch, head, position, channel) of a logical 4-D operand is stored.

    `order` names the axes of the stored tensor, one letter each: `b` batch, `h` head,
    `s` position, `d` channel, `r` batch and position merged, `c` head and channel merged,
    `n` a fixed index. "bsc" with an offset is a slice of a fused projection.
    """

    order: str = "bhsd"
    offset: int = 0
    """First merged channel of the operand, for `c`."""
    head_stride: int | None = None
    """Merged channels from one head to the next, for `c`; the head size if None."""
    slot: int = 0
    """The fixed index, for `n`."""


@dataclass(frozen=True)
class Sizes:
    """Logical sizes of an attention: queries [B, H, Sq, D], keys and values [B, Hk, Sk, D]."""

    batch: int
    heads: int
    key_heads: int
    queries: int
    keys: int
    channels: int
    value_channels: int

    @property
    def group(self) -> int:
        """Query heads that share a key head."""
        return self.heads // self.key_heads


@dataclass(frozen=True)
class Tile:
    """How the work is cut: register tile, vector width, row shares per head."""

    rows: int
    vectors: int
    lanes: int
    shares: int
    """Parallel tasks per batch and key head, over the query rows."""
    keys: int
    """Keys whose scores are computed at a time."""

    @classmethod
    def choose(cls, sizes: Sizes, target: Target, score_bytes: int = 4) -> "Tile":
        """Fill the registers with accumulators while wasting few rows; balance the threads.

        Args:
            sizes: logical ones.
            target: has the registers and caches.
            score_bytes: what is kept near for each score of a block.
        """
        lanes = target.lanes("float32")
        vectors = 2
        most = min(sizes.queries, (target.registers - 4) // vectors)
        least = max(1, most * 2 // 3)
        rows = min(
            range(most, least - 1, -1), key=lambda r: math.ceil(sizes.queries / r) * (r + 1.0)
        )
        blocks = math.ceil(sizes.queries / rows)
        shares = _shares(sizes, blocks, target.threads)
        block = _key_block(sizes.keys, rows * score_bytes, vectors * lanes, target)
        return cls(rows, vectors, lanes, shares, block)


def _key_block(keys: int, key_bytes: int, width: int, target: Target) -> int:
    """Keys whose scores fill most of the first-level cache, in equal blocks of whole panels."""
    most = max(width, target.l1 * 7 // 8 // key_bytes // width * width)
    blocks = math.ceil(keys / most)
    return math.ceil(keys / blocks / width) * width


def _shares(sizes: Sizes, blocks: int, threads: int) -> int:
    """Fewest row shares per head that keep the threads busy nine tenths of the time."""
    heads = sizes.batch * sizes.key_heads
    for shares in range(1, min(blocks, 2 * threads) + 1):
        rounds = math.ceil(heads * shares / threads)
        if heads * shares >= 0.9 * rounds * threads:
            return shares
    return 1


@dataclass(frozen=True)
class View:
    """Loads from a stored operand by logical position."""

    buffer: tirx.Buffer
    layout: Layout
    width: int
    """Channels of a head."""
    batch: int

    @property
    def pitch(self) -> int:
        """Elements from one position to the next, where channels are neighbours."""
        order = self.layout.order
        position = next(i for i, axis in enumerate(order) if axis in "sr")
        return math.prod(int(extent) for extent in self.buffer.shape[position + 1 :])

    @property
    def channels_last(self) -> bool:
        """Whether neighbouring channels are neighbours in memory."""
        return self.layout.order[-1] in "dc"

    def load(self, b: Expr, h: Expr, s: Expr, d: Expr) -> ir.TensorLoad:
        """Element (batch, head, position, channel)."""
        layout = self.layout
        stride = self.width if layout.head_stride is None else layout.head_stride
        index: dict[str, Expr] = {"b": b, "h": h, "s": s, "d": d, "n": layout.slot}
        index["c"] = h * stride + d + layout.offset
        if "r" in layout.order:
            rows = int(self.buffer.shape[layout.order.index("r")])
            index["r"] = b * (rows // self.batch) + s
        return tirx.BufferLoad(self.buffer, [index[axis] for axis in layout.order])
