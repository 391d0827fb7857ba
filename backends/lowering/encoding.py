"""How values are kept in fewer bytes than their type has.

Who reads such a value reads what is stored and decodes each number on the way. What makes it, a
Cast from bfloat16 or a DequantizeLinear, costs nothing then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import tvm.tirx as tx
from tvm import te

from burnish.backends.kernels.bfloat16 import Widened
from burnish.backends.kernels.decoded import Decoded
from burnish.backends.kernels.quantization import dequantized
from burnish.backends.lowering.elementwise import Expr, numpy_name, uniform_scalar
from burnish.backends.lowering.layout import Layout, factor
from burnish.ir import DType, OperatorNode, VariableNode
from burnish.passes.quantization.conversions import parameter_axis, stays

if TYPE_CHECKING:
    from burnish.backends.lowering.emitter import KernelBuilder


class Encoding(Protocol):
    """How the float32 numbers of a value are stored; equal ones decode alike."""

    @property
    def stored(self) -> str:
        """The type that they are stored as."""
        ...

    def decoded(self, builder: KernelBuilder, stored: te.Tensor, layout: Layout) -> Decoded:
        """What is ``stored`` in ``layout`` as float32 numbers, for the kernel of ``builder``."""
        ...

    def transposed(self, order: Sequence[int]) -> Encoding:
        """That of the value with its axes in ``order``."""
        ...

    def reshaped(self, before: Sequence[int], after: Sequence[int]) -> Encoding | None:
        """That of the value in another shape; None if there is none."""
        ...


@dataclass(frozen=True)
class Rounded:
    """Numbers that are all bfloat16 ones, as such."""

    stored: str = "bfloat16"

    def decoded(self, builder: KernelBuilder, stored: te.Tensor, layout: Layout) -> Decoded:
        """See `Encoding`."""
        return Widened(stored)

    def transposed(self, order: Sequence[int]) -> Rounded:
        """See `Encoding`."""
        return self

    def reshaped(self, before: Sequence[int], after: Sequence[int]) -> Rounded:
        """See `Encoding`."""
        return self


@dataclass(frozen=True)
class Quantized:
    """Integers ``q`` that stand for ``(q - zero) * scale``, or for themselves without a scale."""

    stored: str
    scale: VariableNode | None
    zero: VariableNode | None
    axis: int | None = None
    """Along which there is a scale for each position; None if there is one for all."""

    def decoded(self, builder: KernelBuilder, stored: te.Tensor, layout: Layout) -> Decoded:
        """See `Encoding`."""
        place = None if self.axis is None else layout.index(self.axis)
        if self.scale is None:
            return Decoded(stored, lambda element, _: element.astype("float32"))
        scale = parameter(builder, self.scale, place)
        zero = None if self.zero is None else parameter(builder, self.zero, place)

        def decode(element: Expr, index: Sequence[Expr]) -> Expr:
            return dequantized(element, scale(index), None if zero is None else zero(index))

        return Decoded(stored, decode)

    def transposed(self, order: Sequence[int]) -> Quantized:
        """See `Encoding`."""
        return self if self.axis is None else replace(self, axis=list(order).index(self.axis))

    def reshaped(self, before: Sequence[int], after: Sequence[int]) -> Quantized | None:
        """See `Encoding`; the axis has to stay one."""
        if self.axis is None:
            return self
        for old, new in factor(before, after) or ():
            if [axis for axis in old if before[axis] != 1] == [self.axis]:
                kept = [axis for axis in new if after[axis] != 1]
                return replace(self, axis=kept[0]) if len(kept) == 1 else None
        return None


def parameter(
    builder: KernelBuilder, value: VariableNode, place: int | None
) -> Callable[[Sequence[Any]], Expr]:
    """A scale or zero point at an index: its only element, or that at ``index[place]``."""
    uniform = uniform_scalar(value)
    if uniform is not None:
        return lambda index: uniform
    tensor = builder.read(value)
    if place is not None:
        return lambda index: tensor(index[place])
    return lambda index: tensor(*[tx.const(0, "int32")] * len(tensor.shape))


def decodes(node: OperatorNode) -> Encoding | None:
    """How the result of ``node`` is kept if it is its operand, decoded; None if it is no such."""
    source = node.input(0)
    if source is None or source.is_constant or node.output.dtype is not DType.FLOAT:
        return None
    if node.is_op("Cast"):
        if source.dtype in (DType.INT8, DType.UINT8):
            return Quantized(numpy_name(source.dtype), None, None)
        return Rounded() if source.dtype is DType.BFLOAT16 else None
    if not node.is_op("DequantizeLinear") or not stays(node):
        return None
    # Sums in 32 bits take as many bytes: what makes them goes on with the result.
    if source.dtype is DType.INT32 and source.producer is not None:
        return None
    scale, zero = node.inputs[1], node.input(2)
    assert scale is not None
    return Quantized(numpy_name(source.dtype), scale, zero, parameter_axis(node, scale))
