"""How a value is quantized: scale, zero point and axis, as operators state them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.ir import Array, DType, OperatorNode, VariableNode
from burnish.rewrite import Rewriter

BYTES = (DType.INT8, DType.UINT8)
"""Types that integer kernels multiply."""


def limits(dtype: DType) -> tuple[int, int]:
    """The least and the greatest integer of ``dtype``."""
    info = np.iinfo(dtype.numpy.name)
    return int(info.min), int(info.max)


@dataclass(frozen=True)
class Parameters:
    """``real = (integer - zero) * scale``."""

    scale: VariableNode
    """float32 or another float, of one element or a vector."""
    zero: VariableNode | None
    """Of the type of the integers and the shape of the scale; None stands for 0."""
    axis: int
    """Along which a vector lies, as the operator says it; of no meaning for one element."""

    @classmethod
    def of(cls, node: OperatorNode) -> Parameters | None:
        """Those of a QuantizeLinear or DequantizeLinear; None for blocks and unknown shapes."""
        scale = node.input(1)
        if scale is None or scale.static_shape is None or len(scale.static_shape) > 1:
            return None
        if node.attribute("block_size", 0):
            return None
        return cls(scale, node.input(2), int(node.attribute("axis", 1)))

    @property
    def is_single(self) -> bool:
        """Whether all elements have the same scale."""
        return self.size == 1

    @property
    def size(self) -> int:
        """How many scales there are."""
        return int(np.prod(self.scale.static_shape or ()))

    @property
    def is_constant(self) -> bool:
        """Whether scale and zero point are known."""
        return self.scale.is_constant and (self.zero is None or self.zero.is_constant)

    def scales(self) -> Array:
        """The scales, which are constant: a number, or a vector."""
        assert self.scale.constant is not None
        array = self.scale.constant.numpy()
        return array.reshape(()) if array.size == 1 else array

    def zeros(self) -> Array:
        """The zero points, which are constant, as int32: a number, or a vector."""
        if self.zero is None:
            return np.zeros((), np.int32)
        assert self.zero.constant is not None
        array = self.zero.constant.numpy().astype(np.int32)
        return array.reshape(()) if array.size == 1 else array

    def same_as(self, other: Parameters) -> bool:
        """Whether both are known to mean the same."""
        if self.size != other.size or (not self.is_single and self.axis != other.axis):
            return False
        if self.scale is not other.scale and not _equal(self, other):
            return False
        if self.zero is other.zero:
            return True
        if not (self.is_constant and other.is_constant):
            return False
        return bool(np.all(self.zeros() == other.zeros()))


def _equal(one: Parameters, other: Parameters) -> bool:
    if one.scale.constant is None or other.scale.constant is None:
        return False
    return bool(np.array_equal(one.scales(), other.scales()))


@dataclass(frozen=True)
class Dequantized:
    """A value that a DequantizeLinear makes of integers."""

    node: OperatorNode
    integers: VariableNode
    parameters: Parameters


def dequantized(value: VariableNode | None) -> Dequantized | None:
    """How ``value`` comes from integers of 8 bits; None if it does not, or not to float32."""
    node = None if value is None else value.producer
    if node is None or value is None or not node.is_op("DequantizeLinear"):
        return None
    integers, parameters = node.input(0), Parameters.of(node)
    if integers is None or parameters is None or integers.dtype not in BYTES:
        return None
    return Dequantized(node, integers, parameters) if value.dtype is DType.FLOAT else None


def dequantize(
    rw: Rewriter, integers: VariableNode, parameters: Parameters, like: VariableNode,
    axis: int | None = None,
) -> VariableNode:  # fmt: skip
    """``integers`` as floats of the type and shape of ``like``."""
    return rw.op("DequantizeLinear", _inputs(integers, parameters),
                 _attributes(parameters, axis), like=like)  # fmt: skip


def quantize(
    rw: Rewriter, floats: VariableNode, parameters: Parameters, like: VariableNode,
    axis: int | None = None,
) -> VariableNode:  # fmt: skip
    """``floats`` as integers of the type and shape of ``like``."""
    attributes = _attributes(parameters, axis)
    if parameters.zero is None and like.dtype is not DType.UINT8:
        attributes["output_dtype"] = int(like.dtype)
    return rw.op("QuantizeLinear", _inputs(floats, parameters), attributes, like=like)


def _inputs(value: VariableNode, parameters: Parameters) -> list[VariableNode]:
    given = [value, parameters.scale, parameters.zero]
    return [each for each in given if each is not None]


def _attributes(parameters: Parameters, axis: int | None) -> dict[str, int]:
    return {} if parameters.is_single else {"axis": parameters.axis if axis is None else axis}


def shaped(rw: Rewriter, value: VariableNode, shape: tuple[int, ...]) -> VariableNode:
    """``value`` with axes of size 1 added or taken away; -1 stands for what there is."""
    if value.constant is not None:
        if value.shape == shape:
            return value
        return rw.constant(value.constant.numpy().reshape(shape))
    size = int(np.prod(value.static_shape or (1,)))
    result = VariableNode("", value.dtype, tuple(size if n == -1 else n for n in shape))
    if value.shape == result.shape:
        return value
    return rw.op("Reshape", [value, rw.constant(np.array(shape, np.int64))], like=result)
