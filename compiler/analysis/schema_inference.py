"""Type and shape of one node's results as ONNX's own operator schemas infer them.

Models repeat themselves, and passes ask again: answers are remembered by everything they depend on.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import SupportsInt, TypeAlias, cast

import onnx
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from burnish.analysis.value_type import ValueType
from burnish.ir import Array, Attribute, Constant, OperatorNode

IR_VERSION = 10
REMEMBERED = 1 << 14
"""Answers kept; then memory starts over."""

TYPES_SUFFICE = frozenset(
    {
        "Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast",
        "CastLike", "Ceil", "Clip", "Concat", "Conv", "ConvTranspose", "Cos", "DequantizeLinear",
        "Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Flatten", "Floor", "GRU", "Gather",
        "GatherElements", "Gelu", "Gemm", "GlobalAveragePool", "Greater", "GreaterOrEqual",
        "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LSTM",
        "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "MatMul", "Max",
        "MaxPool", "Min", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "QuantizeLinear",
        "RMSNormalization", "RNN", "Reciprocal", "Relu", "Round", "Selu", "Shape", "Sigmoid",
        "Sign", "Sin", "Size", "Softmax", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tan",
        "Tanh", "Transpose", "Where", "Xor",
    }
)  # fmt: skip
"""Standard operators whose result types never depend on the values of their inputs."""


class InferenceFailed(ValueError):
    """The inputs of a node contradict its operator."""


Answer: TypeAlias = "list[ValueType] | InferenceFailed"
_answers: dict[Hashable, Answer] = {}


@lru_cache(maxsize=4096)
def schema_of(op_type: str, domain: str, version: int) -> onnx.defs.OpSchema | None:
    """The schema of an operator at an opset version, None if onnx knows none."""
    try:
        return onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


def infer_outputs(
    node: OperatorNode,
    types: Sequence[ValueType | None],
    data: Sequence[Array | None],
    opsets: Mapping[str, int],
) -> list[ValueType] | None:
    """Types of the outputs of ``node``, None where onnx has no schema or an input has no type.

    Args:
        node: one without subgraphs.
        types: of the inputs, None for those left out.
        data: values of the inputs that are known and small.
        opsets: versions by domain.

    Raises:
        InferenceFailed: onnx refuses the inputs.
    """
    version = opsets.get(node.domain, 1)
    schema = schema_of(node.op_type, node.domain, version)
    if schema is None or schema.deprecated:
        return None
    if any(kind is not None and not kind.is_known for kind in types):
        return None
    if node.domain == "" and node.op_type in TYPES_SUFFICE:
        data = ()
    key = _key(node, version, types, data, opsets)
    answer = None if key is None else _answers.get(key)
    if answer is None:
        answer = _ask(node, schema, types, data, opsets)
        if key is not None:
            if len(_answers) >= REMEMBERED:
                _answers.clear()
            _answers[key] = answer
    if isinstance(answer, InferenceFailed):
        raise answer
    return list(answer)


def _key(
    node: OperatorNode,
    version: int,
    types: Sequence[ValueType | None],
    data: Sequence[Array | None],
    opsets: Mapping[str, int],
) -> Hashable | None:
    """Everything that the types of the outputs depend on, None where that cannot be compared."""
    values = tuple(
        (index, array.dtype.str, array.shape, array.tobytes())
        for index, array in enumerate(data)
        if array is not None and array.dtype.kind != "O"
    )
    key = (
        node.op_type, node.domain, version, opsets.get("", 1), len(node.outputs), tuple(types),
        values, tuple(node.attributes.items()),
    )  # fmt: skip
    try:
        hash(key)
    except TypeError:  # a message among the attributes
        return None
    return key


def _ask(
    node: OperatorNode,
    schema: onnx.defs.OpSchema,
    types: Sequence[ValueType | None],
    data: Sequence[Array | None],
    opsets: Mapping[str, int],
) -> Answer:
    """What onnx infers."""
    message = node_message(node, schema)
    by_name = {
        f"i{index}": kind.to_message() for index, kind in enumerate(types) if kind is not None
    }
    known = {
        f"i{index}": tensor_message(array) for index, array in enumerate(data) if array is not None
    }
    try:
        found = onnx.shape_inference.infer_node_outputs(
            schema, message, by_name, known,
            opset_imports=_opset_messages(tuple(sorted(opsets.items()))), ir_version=IR_VERSION,
        )  # fmt: skip
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        return InferenceFailed(_reason(error))
    return [
        ValueType.from_message(found[name]) if name in found else ValueType()
        for name in (f"o{index}" for index in range(len(node.outputs)))
    ]


def node_message(node: OperatorNode, schema: onnx.defs.OpSchema) -> NodeProto:
    """``node`` as a message with inputs ``i0``, ``i1``, ... and outputs ``o0``, ..."""
    message = NodeProto(op_type=node.op_type, domain=node.domain)
    message.input.extend(f"i{n}" if v is not None else "" for n, v in enumerate(node.inputs))
    message.output.extend(f"o{index}" for index in range(len(node.outputs)))
    for name, value in node.attributes.items():
        declared = schema.attributes.get(name)
        kind = None if declared is None else int(cast(SupportsInt, declared.type))
        message.attribute.append(attribute_message(name, value, kind))
    return message


def attribute_message(name: str, value: Attribute, kind: int | None) -> AttributeProto:
    """An attribute of the IR as a message; ``kind`` is its type in the schema, if known."""
    if isinstance(value, AttributeProto):
        return value
    if isinstance(value, Constant):
        value = tensor_message(value.numpy())
    elif isinstance(value, tuple):
        value = list(value)
    return helper.make_attribute(name, value, attr_type=kind)


def tensor_message(array: Array) -> TensorProto:
    """A numpy array as an ONNX tensor."""
    return numpy_helper.from_array(array)


@lru_cache(maxsize=16)
def _opset_messages(opsets: tuple[tuple[str, int], ...]) -> list[onnx.OperatorSetIdProto]:
    return [helper.make_opsetid(domain, version) for domain, version in opsets]


def _reason(error: Exception) -> str:
    """The one useful line of an inference error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else "its inputs do not fit").removeprefix("[ShapeInferenceError] ")
