"""Sums of products of bytes without saturation, whatever processor the oracle runs on.

Where x86 has no VNNI, ONNX Runtime adds two products of an unsigned and a signed byte in 16 bits
(``vpmaddubsw``), which clips what is larger. Products of two unsigned bytes, or of two signed ones,
are exact. The same numbers, stored by 128 higher or lower with such a zero point, are.
"""

from __future__ import annotations

import numpy as np

from burnish.ir import Constant, DType, Graph, OperatorNode, VariableNode
from burnish.ir.clone import clone

_CONTRIBUTED = "com.microsoft"
_WEIGHTS = {
    ("", "ConvInteger"): (2, [(1, 3)]),
    ("", "MatMulInteger"): (2, [(1, 3)]),
    **{("", name): (2, [(3, 5)]) for name in ("QLinearConv", "QLinearMatMul")},
    **{(_CONTRIBUTED, name): (2, [(3, 5)]) for name in ("QGemm", "QLinearConv")},
    (_CONTRIBUTED, "DynamicQuantizeLSTM"): (0, [(1, 9), (2, 11)]),
    (_CONTRIBUTED, "DynamicQuantizeMatMul"): (0, [(1, 3)]),
    (_CONTRIBUTED, "MatMulIntegerToFloat"): (4, [(1, 5)]),
    (_CONTRIBUTED, "QAttention"): (6, [(1, 7)]),
}
"""Operators that sum up products of bytes: which input is the zero point of the data, if these are
not quantized within, and which ones are weights and their zero points."""
_HALF = 128


def exact(graph: Graph) -> Graph:
    """``graph``, or a copy that answers the same and whose sums do not saturate."""
    if not any(_saturating(node) for node in graph.walk()):
        return graph
    copy, _ = clone(graph)
    for node in list(copy.walk()):
        for weights, zero in _saturating(node):
            _shift(node, weights, zero)
    return copy


def _saturating(node: OperatorNode) -> list[tuple[int, int]]:
    """Weights of ``node`` whose products saturate, and their zero points, by number of input."""
    zero, places = _WEIGHTS.get((node.domain, node.op_type), (0, []))
    # Data that are quantized within become unsigned, and so are most of which nothing is known.
    is_signed = DType.INT8 in (_dtype(node, 0), _dtype(node, zero))
    # It multiplies weights by data, and so saturates the other way round.
    wrong = DType.UINT8 if node.is_op("ConvInteger") else DType.INT8
    if is_signed is not (wrong is DType.UINT8):
        return []
    return [place for place in places if _dtype(node, place[0]) is wrong]


def _dtype(node: OperatorNode, index: int) -> DType | None:
    value = node.input(index)
    return None if value is None else value.dtype


def _shift(node: OperatorNode, weights: int, zero: int) -> None:
    """Let ``node`` read both with the other sign."""
    inputs = [*node.inputs, *[None] * (zero + 1 - len(node.inputs))]
    value = inputs[weights]
    assert value is not None
    to = DType.UINT8 if value.dtype is DType.INT8 else DType.INT8
    start = inputs[zero] or _constant(np.zeros((), value.dtype.numpy))
    inputs[weights], inputs[zero] = _moved(node, value, to), _moved(node, start, to)
    node.inputs = tuple(inputs)


def _moved(node: OperatorNode, value: VariableNode, to: DType) -> VariableNode:
    """``value`` in the bytes of the other sign."""
    by = _HALF if to is DType.UINT8 else -_HALF
    if value.constant is not None:
        numbers = np.asarray(value.constant.numpy().astype(np.int16) + by)
        return _constant(numbers.astype(to.numpy))
    wide = _before(node, "Cast", value, dtype=DType.INT32, to=int(DType.INT32))
    number = _constant(np.array(by, np.int32))
    return _before(
        node, "Cast", _before(node, "Add", wide, number, dtype=DType.INT32), dtype=to, to=int(to)
    )


def _before(
    node: OperatorNode, op_type: str, *inputs: VariableNode, dtype: DType, **attributes: int
) -> VariableNode:
    """A new operator right before ``node``."""
    assert node.graph is not None
    new = OperatorNode(op_type, inputs, [VariableNode("", dtype, inputs[0].shape)], attributes)
    node.graph.insert_before(node, new)
    return new.output


def _constant(array: np.ndarray) -> VariableNode:
    return VariableNode.of(Constant.of(array))
