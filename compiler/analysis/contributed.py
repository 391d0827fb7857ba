"""Types of what ONNX Runtime's own operators make."""

from __future__ import annotations

from burnish.analysis.schema_inference import InferenceFailed, infer_outputs
from burnish.analysis.value_type import ValueType
from burnish.analysis.values import Scene
from burnish.ir import DType, OperatorNode, VariableNode

PRESERVING = frozenset({
    "BiasAdd", "BiasGelu", "BiasSoftmax", "FastGelu", "Gelu", "GroupNorm", "Inverse",
    "LayerNormalization", "QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax", "QuickGelu",
    "RotaryEmbedding", "SimplifiedLayerNormalization",
    "SkipGroupNorm", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "Trilu",
})  # fmt: skip
"""Operators whose first output has the type of their first input."""

SUMS = {"SkipGroupNorm": 1, "SkipLayerNormalization": 3, "SkipSimplifiedLayerNormalization": 3}
"""Which output has that type as well: what is added before normalizing."""

STANDARD: dict[str, tuple[str, tuple[int, ...], tuple[str, ...]]] = {
    "FusedConv": ("Conv", (0, 1, 2), (
        "auto_pad", "dilations", "group", "kernel_shape", "pads", "strides",
    )),
    "FusedGemm": ("Gemm", (0, 1, 2), ("alpha", "beta", "transA", "transB")),
    "GemmFastGelu": ("MatMul", (0, 1), ()),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1), ()),
    "MatMulIntegerToFloat": ("MatMul", (0, 1), ()),
}  # fmt: skip
"""Operators of which a standard one makes the same shapes: its name, its inputs, attributes."""


def contributed(scene: Scene) -> list[ValueType] | None:
    """Types of the outputs of an operator of ONNX Runtime, None where no rule knows it."""
    node, first = scene.node, scene.type(0)
    count = len(node.outputs)
    if node.op_type in PRESERVING:
        same = (0, SUMS.get(node.op_type, 0))
        return [first if index in same else ValueType() for index in range(count)]
    if node.op_type in ("FusedMatMul", "TransposeMatMul"):
        return [_product(scene)]
    if node.op_type in STANDARD:
        return [_as_standard(scene)]
    if node.op_type == "QAttention":
        return _attention(scene)
    if node.op_type in ("EmbedLayerNormalization", "QEmbedLayerNormalization"):
        return _embeddings(scene)
    if node.op_type == "MatMulNBits":
        return [_of_blocks(scene)]
    if node.op_type == "DequantizeLinear":
        return [ValueType(scene.type(1).dtype, first.shape)]
    if node.op_type == "QuantizeLinear":
        zero = scene.type(2).dtype if scene.has_input(2) else DType.UINT8
        return [ValueType(zero, first.shape)]
    return None


def _attention(scene: Scene) -> list[ValueType]:
    """Weights [inputs, 3 * hidden] make queries, keys and values of rows [batch, length, inputs].

    What is kept for the next step comes second.
    """
    rows, weights = scene.type(0).shape, scene.type(1).shape
    found = ValueType(scene.type(3).dtype)
    if rows is not None and weights is not None and len(rows) == 3 and len(weights) == 2:
        width = weights[1]
        if isinstance(width, int) and isinstance(rows[1], int):
            found = ValueType(found.dtype, (*rows[:2], width // 3))
    return [found, *(ValueType(found.dtype) for _ in scene.node.outputs[1:])]


def _embeddings(scene: Scene) -> list[ValueType]:
    """Rows of tables for numbers [batch, length]; the length of each text comes second."""
    words, table = scene.type(0).shape, scene.type(2)
    quantized = scene.node.op_type == "QEmbedLayerNormalization"
    dtype = scene.type(8).dtype if quantized else table.dtype
    rows, counts = ValueType(dtype), ValueType(DType.INT32)
    if words is not None and len(words) == 2:
        counts = ValueType(DType.INT32, words[:1])
        if table.shape is not None and len(table.shape) == 2:
            rows = ValueType(dtype, (*words, table.shape[1]))
    return [rows, counts, rows][: len(scene.node.outputs)]


def _of_blocks(scene: Scene) -> ValueType:
    """A product with [N, K] weights that are stored in blocks of a few bits."""
    rows, width = scene.type(0), scene.node.attribute("N")
    known = rows.shape is not None and len(rows.shape) > 0 and isinstance(width, int)
    return ValueType(rows.dtype, (*rows.shape[:-1], width) if known and rows.shape else None)


def _product(scene: Scene) -> ValueType:
    """A product of operands that may be transposed first."""
    kinds = []
    for index, name in ((0, "transA"), (1, "transB")):
        kind = scene.type(index)
        if scene.node.attribute(name, 0) and kind.shape is not None and len(kind.shape) > 1:
            kind = ValueType(kind.dtype, (*kind.shape[:-2], kind.shape[-1], kind.shape[-2]))
        kinds.append(kind)
    batched = any(scene.node.attribute(name, 0) for name in ("transBatchA", "transBatchB"))
    plain = ValueType(kinds[0].dtype)
    return plain if batched else _inferred("MatMul", kinds, {}, scene.opset) or plain


def _as_standard(scene: Scene) -> ValueType:
    kind, indices, names = STANDARD[scene.node.op_type]
    attributes = {n: v for n, v in scene.node.attributes.items() if n in names}
    inputs = [scene.type(index) for index in indices if scene.has_input(index)]
    dtype = scene.type(0).dtype
    if scene.node.op_type == "MatMulIntegerToFloat":
        dtype = scene.type(2).dtype
    if kind == "MatMul":
        # What is quantized differs in type from what is not; only shapes matter here.
        inputs = [ValueType(DType.FLOAT, entry.shape) for entry in inputs]
    found = _inferred(kind, inputs, attributes, scene.opset)
    return ValueType(dtype, None if found is None else found.shape)


def _inferred(
    op_type: str, types: list[ValueType], attributes: dict[str, object], opset: int
) -> ValueType | None:
    """What onnx says of a standard operator, None where it says nothing."""
    node = OperatorNode(op_type, [VariableNode() for _ in types], [VariableNode()], attributes)
    try:
        found = infer_outputs(node, types, [None] * len(types), {"": opset})
    except InferenceFailed:
        return None
    return found[0] if found else None
