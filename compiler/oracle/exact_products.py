"""Products of bytes that no kernel of ONNX Runtime saturates.

On x86 without VNNI it multiplies unsigned bytes by signed ones with VPMADDUBSW, which adds pairs of
products in 16 bits: twice 255 * 127 becomes 32767. Its kernels for two unsigned operands are exact.
So what is signed is moved by 128, with its zero point. ONNX Runtime's own option for that,
``session.x64quantprecision``, is no help: version 1.31 moves constants only, not of all operators,
and fails to load models that share a zero point among products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TypeAlias

import numpy as np
from onnx import helper

from burnish.analysis.shape_inference import infer
from burnish.ir import Constant, DType, Graph, OperatorNode, VariableNode
from burnish.ir.clone import clone
from burnish.onnx_runtime import import_onnx_runtime

Operands: TypeAlias = tuple[int | None, int, int]
"""Inputs: the unsigned operand (None if the operator makes it), the signed one, its zero point."""

_MICROSOFT = "com.microsoft"
PRODUCTS: Mapping[tuple[str, str], tuple[Operands, ...]] = {
    # A convolution multiplies its weights by the data, in this order.
    ("", "ConvInteger"): ((1, 0, 2),),
    ("", "MatMulInteger"): ((0, 1, 3),),
    ("", "QLinearConv"): ((0, 3, 5),),
    ("", "QLinearMatMul"): ((0, 3, 5),),
    (_MICROSOFT, "DynamicQuantizeLSTM"): ((None, 1, 9), (None, 2, 11)),
    (_MICROSOFT, "DynamicQuantizeMatMul"): ((None, 1, 3),),
    (_MICROSOFT, "MatMulIntegerToFloat"): ((0, 1, 5),),
    (_MICROSOFT, "QAttention"): ((0, 1, 7),),
    (_MICROSOFT, "QGemm"): ((0, 3, 5),),
    (_MICROSOFT, "QLinearConv"): ((0, 3, 5),),
}
"""Operators with kernels that saturate."""
_FUSED = ("Conv", "Gemm", "MatMul")
"""What ONNX Runtime's optimizations make such operators of, where both operands are dequantized."""

MIDDLE = 128
"""What moves signed bytes into the range of unsigned ones."""


@cache
def saturates() -> bool:
    """Whether ONNX Runtime's products of bytes saturate on this machine: two of them are tried."""
    values = [("a", DType.UINT8, (1, 2)), ("b", DType.INT8, (2, 1)), ("y", DType.INT32, (1, 1))]
    *given, result = (helper.make_tensor_value_info(*value) for value in values)
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    graph = helper.make_graph([node], "probe", given, [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=5)
    session = import_onnx_runtime().InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feeds = {"a": np.full((1, 2), 255, np.uint8), "b": np.full((2, 1), 127, np.int8)}
    return int(session.run(["y"], feeds)[0].item()) != 2 * 255 * 127


def exact_products(graph: Graph, *, fused: bool = False) -> Graph:
    """``graph``, or a copy with the same results where ONNX Runtime would saturate some.

    What is of unknown type stays as it is.

    Args:
        graph: stays as it is.
        fused: look after products of dequantized numbers and weights as well, which ONNX Runtime
            makes products of bytes unless told otherwise.
    """
    kinds = {*PRODUCTS, *(("", op_type) for op_type in _FUSED if fused)}
    if not any((node.domain, node.op_type) in kinds for node in graph.walk()) or not saturates():
        return graph
    copy, _ = clone(graph)
    mover = _Mover({value: kind.dtype for value, kind in infer(copy).types.items()})
    for node in list(copy.walk()):
        for operands in PRODUCTS.get((node.domain, node.op_type), ()):
            mover.apply(node, operands)
        if fused and node.is_op(*_FUSED):
            mover.apply_between(node)
    return copy


@dataclass(frozen=True)
class _Mover:
    """Replaces signed operands by unsigned ones."""

    types: Mapping[VariableNode, DType]
    constants: dict[VariableNode, VariableNode] = field(default_factory=dict)
    """What those that are known became."""

    def apply(self, node: OperatorNode, operands: Operands) -> None:
        """Move one operand of ``node``, if its kernel would saturate."""
        data, signed, zero = operands
        if data is not None and self._dtype(node.input(data)) is not DType.UINT8:
            return
        value, offset = node.input(signed), node.input(zero)
        if value is None or self._dtype(value) is not DType.INT8:
            return
        node.replace_input(signed, self._moved(node, value))
        node.inputs = (*node.inputs, *(None,) * (zero + 1 - len(node.inputs)))
        # A scale for each channel wants as many zero points.
        scale = node.constant_input(1) if node.is_op("DequantizeLinear") else None
        middle = np.full(() if scale is None else scale.shape, MIDDLE, np.uint8)
        node.replace_input(
            zero,
            VariableNode.of(Constant.of(middle)) if offset is None else self._moved(node, offset),
        )

    def apply_between(self, node: OperatorNode) -> None:
        """Move the weights of a product of dequantized numbers."""
        data, weights = (
            value.producer if (value := node.input(index)) is not None else None
            for index in range(2)
        )
        if data is None or weights is None:
            return
        pair = data.is_op("DequantizeLinear") and weights.is_op("DequantizeLinear")
        known = all(weights.constant_input(index) is not None for index in range(2))
        if pair and known and self._dtype(data.input(0)) is DType.UINT8:
            self.apply(weights, (None, 0, 2))

    def _dtype(self, value: VariableNode | None) -> DType | None:
        return None if value is None else self.types.get(value, value.dtype)

    def _moved(self, node: OperatorNode, value: VariableNode) -> VariableNode:
        """``value`` plus 128, unsigned."""
        if value.constant is None:
            middle = VariableNode.of(Constant.of(np.array(MIDDLE, np.int32)))
            wide = _insert(node, "Cast", value, dtype=DType.INT32)
            return _insert(
                node, "Cast", _insert(node, "Add", wide, middle, dtype=DType.INT32),
                dtype=DType.UINT8,
            )  # fmt: skip
        if value not in self.constants:
            array = value.constant.numpy().view(np.uint8) ^ np.uint8(MIDDLE)
            self.constants[value] = VariableNode.of(Constant.of(np.asarray(array)))
        return self.constants[value]


def _insert(node: OperatorNode, op_type: str, *inputs: VariableNode, dtype: DType) -> VariableNode:
    """A new operator right before ``node``."""
    assert node.graph is not None
    attributes = {"to": int(dtype)} if op_type == "Cast" else {}
    new = OperatorNode(op_type, inputs, [VariableNode("", dtype)], attributes)
    node.graph.insert_before(node, new)
    return new.output
