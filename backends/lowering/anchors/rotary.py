"""RotaryEmbedding: channels turned in pairs by the angle of their position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import tvm.tirx as tx
from tvm import te

from burnish.backends.lowering.elementwise import Expr
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.plan import shape_of
from burnish.ir import DType, OperatorNode

Angle: TypeAlias = Callable[[Expr, Expr, Expr], Expr]
"""Cosine or sine at (batch, position, pair)."""


def declines(node: OperatorNode) -> str | None:
    """Why the kernel does not fit ``node``, None if it does."""
    x = node.input(0)
    if x is None or x.rank not in (3, 4):
        return "RotaryEmbedding is compiled for data of three or four axes"
    if x.rank == 3 and not node.attribute("num_heads", 0):
        return "RotaryEmbedding of three axes needs num_heads"
    if x.dtype not in (DType.FLOAT, DType.FLOAT16, DType.DOUBLE):
        return f"RotaryEmbedding is not compiled for {x.dtype}"
    return None


@dataclass(frozen=True)
class _Turn:
    """Which channels turn together: pair p has the channels first(p) and second(p)."""

    channels: int
    """Of a head."""
    pairs: int
    interleaved: bool

    @property
    def split(self) -> tuple[int, ...]:
        """The axis of the channels, as two where all of them turn: loops over it stay vectors."""
        if self.pairs * 2 < self.channels:
            return (self.channels,)
        return (self.pairs, 2) if self.interleaved else (2, self.pairs)

    def place(self, inner: Sequence[Expr]) -> tuple[Expr, Expr, Expr, Expr]:
        """Channel, its pair, whether it is the second of it, and whether it turns at all."""
        if len(inner) == 2:
            pair, second = inner if self.interleaved else reversed(inner)
            return inner[0] * self.split[1] + inner[1], pair, second, tx.const(1, "bool")
        channel, inside = inner[0], inner[0] < self.pairs * 2
        width = 2 if self.interleaved else self.pairs
        parts = tx.indexdiv(channel, width), tx.indexmod(channel, width)
        pair, second = parts if self.interleaved else reversed(parts)
        return channel, tx.Select(inside, pair, 0), tx.Select(inside, second, 0), inside

    def other(self, pair: Expr, second: Expr) -> Expr:
        """The other channel of a pair."""
        first = 1 - second
        return pair * 2 + first if self.interleaved else pair + first * self.pairs


def rotary(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """RotaryEmbedding (opset 23): x [B, H, S, D] or [B, S, H * D], caches [B, S, pairs]."""
    x = node.input(0)
    assert x is not None
    shape, layout = shape_of(x), builder.layout(node.output)
    heads = int(node.attribute("num_heads", 0)) if len(shape) == 3 else 1
    channels = shape[-1] // heads
    turned = int(node.attribute("rotary_embedding_dim", 0)) or channels
    turn = _Turn(channels, turned // 2, bool(node.attribute("interleaved", 0)))
    data, cos, sin = builder.read(x, layout), _angle(builder, node, 1), _angle(builder, node, 2)
    outer = [shape[axis] for axis in layout[:-1]]
    minus, plus = (tx.const(sign, data.dtype) for sign in (-1.0, 1.0))

    def element(*index: Expr) -> Expr:
        rows, head, inner = index[: len(outer)], index[len(outer)], index[len(outer) + 1 :]
        channel, pair, second, inside = turn.place(inner)
        at = dict(zip(layout, rows, strict=False))
        angle = (at[0], at[1 if len(shape) == 3 else 2], pair)
        own = data(*rows, head * channels + channel)
        partner = data(*rows, head * channels + turn.other(pair, second))
        sign = tx.Select(tx.EQ(second, 0), minus, plus)
        result = own * cos(*angle) + sign * partner * sin(*angle)
        return result if len(inner) == 2 else tx.Select(inside, result, own)

    return [te.compute([*outer, heads, *turn.split], element, name="rotary")]


def _angle(builder: KernelBuilder, node: OperatorNode, index: int) -> Angle:
    """The cache at input ``index``, by batch and position or by the position's number."""
    value = node.input(index)
    assert value is not None
    cache, sizes = builder.read(value), shape_of(value)
    if node.input(3) is not None:
        numbers = builder.read(node.input(3))
        return lambda b, s, pair: cache(numbers(b, s).astype("int32"), pair)
    # One entry may stand for all of the batch.
    return lambda b, s, pair: cache(0 if sizes[0] == 1 else b, s, pair)
