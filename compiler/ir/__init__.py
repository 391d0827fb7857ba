"""The IR: graphs of operator nodes and variable nodes over ONNX."""

from burnish.ir.constant import Array, Constant
from burnish.ir.dtype import DType
from burnish.ir.graph import (
    REGION_DOMAIN,
    Attribute,
    Dim,
    Graph,
    OperatorNode,
    Shape,
    Use,
    VariableNode,
)

__all__ = [
    "REGION_DOMAIN",
    "Array",
    "Attribute",
    "Constant",
    "DType",
    "Dim",
    "Graph",
    "OperatorNode",
    "Shape",
    "Use",
    "VariableNode",
]
