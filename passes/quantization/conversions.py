"""Conversions between floats and integers that kernels make as they read and write."""

from __future__ import annotations

import numpy as np

from burnish.ir import DType, OperatorNode, VariableNode

QUANTIZATION = frozenset({"DequantizeLinear", "QuantizeLinear"})
"""Operators that kernels read and write quantized numbers by, where `stays` says so."""


def stays(node: OperatorNode) -> bool:
    """Whether code generation takes a DequantizeLinear or QuantizeLinear as it is.

    It does between float32 and integers of 8 or 16 bits (from 32 bits too) that are computed, with
    one scale or one for each position of an axis.
    """
    x, scale, zero = node.input(0), node.input(1), node.input(2)
    if x is None or scale is None or not node.is_op(*QUANTIZATION) or x.is_constant:
        return False
    takes = (
        (*_NARROW, DType.INT32)
        if node.op_type == "DequantizeLinear"
        else (DType.FLOAT, DType.INT32)
    )
    makes = (DType.FLOAT,) if node.op_type == "DequantizeLinear" else _NARROW
    if x.dtype not in takes or node.output.dtype not in makes or scale.dtype is not DType.FLOAT:
        return False
    if node.attribute("block_size", 0) or node.attribute("precision", 0) not in (0, 1):
        return False
    parameters = [value.static_shape for value in (scale, zero) if value is not None]
    if x.static_shape is None or any(shape is None or len(shape) > 1 for shape in parameters):
        return False
    return len({int(np.prod(shape)) for shape in parameters if shape is not None}) == 1


_NARROW = (DType.INT8, DType.UINT8, DType.INT16, DType.UINT16)


def parameter_axis(node: OperatorNode, value: VariableNode) -> int | None:
    """The axis that ``value`` lies along as a scale or zero point of ``node``; None if it is none.

    None also where it is a single number.
    """
    if not node.is_op(*QUANTIZATION) or value not in node.inputs[1:]:
        return None
    if value.static_shape in ((), (1,)):
        return None
    return int(node.attribute("axis", 1)) % (node.output.rank or 1)
