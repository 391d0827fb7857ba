"""Standard operators that ONNX itself defines by other operators, expanded to those."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import FunctionProto, ModelProto, helper

from burnish.analysis import ValueType
from burnish.analysis.schema_inference import node_message, schema_of
from burnish.ir import Graph, OperatorNode
from burnish.passes.cleanup.upgrade_opset import NEWEST_OPSET, UpgradeOpset
from burnish.pipeline import PassContext
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule

DOMAIN = "burnish.function"
"""Where the definition of an operator lives while it is expanded."""

EXPANDED = (
    "AffineGrid", "BlackmanWindow", "Celu", "CenterCropPad", "DynamicQuantizeLinear",
    "HammingWindow", "HannWindow", "LinearAttention", "MeanVarianceNormalization",
    "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", "Swish",
)  # fmt: skip
"""Operators with a definition that are rare enough for it to do."""


def definition(node: OperatorNode) -> FunctionProto | Miss:
    """The function that defines ``node``, in the newest opset that the model is not older than."""
    assert node.graph is not None
    opset = node.graph.opset
    # onnx's own annotations leave out what concerns functions.
    schema: Any = schema_of(node.op_type, node.domain, opset)
    if schema is None:
        return Miss(f"opset {opset} has no {node.op_type}", node)
    context = schema.has_context_dependent_function
    offered = (
        schema.context_dependent_function_opset_versions if context
        else schema.function_opset_versions
    )  # fmt: skip
    versions = [version for version in offered if version <= opset]
    if not versions:
        return Miss(f"{node.op_type} has no definition in opset {opset}: use --opset", node)
    version = max(versions)
    if not context:
        return _parsed(schema.get_function_with_opset_version(version))
    types = [
        b"" if value is None else ValueType.of(value).to_message().SerializeToString()
        for value in node.inputs
    ]
    message = node_message(node, schema).SerializeToString()
    found = schema.get_context_dependent_function_with_opset_version(version, message, types)
    if not found:
        return Miss(f"{node.op_type} has no definition for these inputs", node)
    return _parsed(found)


def _parsed(serialized: bytes) -> FunctionProto:
    function = FunctionProto()
    function.ParseFromString(serialized)
    return function


def body_of(node: OperatorNode, function: FunctionProto) -> Graph:
    """The operators of ``function``, called as ``node`` is, in the opset of its graph.

    Inputs of the body are the inputs of ``node`` that are given, its results the outputs whose type
    is known, in order.
    """
    assert node.graph is not None
    schema = schema_of(node.op_type, node.domain, node.graph.opset)
    assert schema is not None
    function.domain, function.name = DOMAIN, node.op_type
    call = node_message(node, schema)
    call.domain = DOMAIN
    given = {attribute.name for attribute in call.attribute}
    for name in function.attribute:
        default = schema.attributes[name].default_value
        if name not in given and default.type:
            call.attribute.append(default)
    call.output[:] = [
        f"o{index}" if value.dtype else "" for index, value in enumerate(node.outputs)
    ]
    inputs = [
        helper.make_value_info(f"i{index}", ValueType.of(value).to_message())
        for index, value in enumerate(node.inputs)
        if value is not None
    ]
    outputs = [
        helper.make_value_info(f"o{index}", ValueType.of(value).to_message())
        for index, value in enumerate(node.outputs)
        if value.dtype
    ]
    opsets = [*function.opset_import, helper.make_opsetid(DOMAIN, 1)]
    model = ModelProto(ir_version=onnx.IR_VERSION, opset_import=opsets, functions=[function])
    model.graph.CopyFrom(helper.make_graph([call], "body", inputs, outputs))
    body = Graph.from_onnx(model)
    if body.opset < node.graph.opset <= NEWEST_OPSET:
        UpgradeOpset(node.graph.opset).run(body, PassContext())
    return body


def _guard(match: Match) -> FunctionProto | Miss:
    values = [value for value in match.root.inputs if value is not None]
    values += [value for value in match.root.outputs if value.uses]
    if not all(ValueType.of(value).is_known for value in values):
        return Miss("the types of its inputs or results are not known", match.root)
    if match.root.op_type == "Celu" and not match.root.output.rank:
        return Miss("its definition gives a number an axis", match.root)
    return definition(match.root)


def _expand(rewriter: Rewriter, match: Match, function: FunctionProto) -> None:
    node = match.root
    body = body_of(node, function)
    for inner in body.walk():
        inner.provenance = node.provenance
    results = rewriter.splice(body, node, [value for value in node.inputs if value is not None])
    for value, result in zip((v for v in node.outputs if v.dtype), results, strict=True):
        if value.uses:
            rewriter.replace(value, result)


def expansion(op_type: str) -> Rule:
    """The rule that writes the definition of ``op_type``."""
    return Rule(f"expand-{op_type.lower()}", Op(op_type), _expand, _guard)


FUNCTION_RULES = tuple(expansion(op_type) for op_type in EXPANDED)
