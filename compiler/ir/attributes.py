"""Attribute values: from ONNX messages and back, with the types that operators declare."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import onnx
from onnx import AttributeProto, helper

from burnish.errors import InvalidInput
from burnish.ir.constant import Constant
from burnish.ir.dtype import DType
from burnish.ir.graph import Attribute, OperatorNode

_KINDS = {
    onnx.defs.OpSchema.AttrType.FLOAT: AttributeProto.FLOAT,
    onnx.defs.OpSchema.AttrType.FLOATS: AttributeProto.FLOATS,
    onnx.defs.OpSchema.AttrType.STRINGS: AttributeProto.STRINGS,
}


def from_message(message: AttributeProto) -> Attribute:
    """An attribute that is no plain number, text, tensor or graph.

    Bytes and empty lists become Python values; anything else stays the message it is.
    """
    if message.type == AttributeProto.STRING:
        return message.s
    if message.type == AttributeProto.STRINGS:
        return tuple(message.strings)
    return message


def to_message(key: str, value: Attribute) -> AttributeProto:
    """The message for an attribute that graphsurgeon cannot hold."""
    if isinstance(value, AttributeProto):
        copy = AttributeProto()
        copy.CopyFrom(value)
        copy.name = key
        return copy
    return helper.make_attribute(key, value, attr_type=AttributeProto.INTS if not value else None)


def fits_graphsurgeon(value: Attribute) -> bool:
    """Whether graphsurgeon can hold and export ``value``."""
    if isinstance(value, tuple):
        return bool(value) and all(fits_graphsurgeon(item) for item in value)
    return isinstance(value, int | float | str | Constant | np.number)


def typed(node: OperatorNode, key: str) -> Attribute:
    """The value of ``key`` with the type its operator declares: floats where it wants floats.

    An empty list says nothing about its type, so it comes back as a message that does.
    """
    value = node.attributes[key]
    opset = 1 if node.graph is None else node.graph.root.opsets.get(node.domain, 1)
    kind = _declared(node.op_type, node.domain, opset).get(key)
    if value == () and isinstance(value, tuple):
        return AttributeProto(name=key, type=kind or AttributeProto.INTS)
    if kind == AttributeProto.FLOAT and isinstance(value, int):
        return float(value)
    if kind == AttributeProto.FLOATS and isinstance(value, tuple):
        return tuple(float(item) for item in value)
    return value


@lru_cache(maxsize=512)
def _declared(op_type: str, domain: str, opset: int) -> Mapping[str, AttributeProto.AttributeType]:
    """Attribute types that matter here, of a standard operator; empty for an unknown one."""
    try:
        schema = onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:
        return {}
    return {
        name: _KINDS[attribute.type]
        for name, attribute in schema.attributes.items()
        if attribute.type in _KINDS
    }


CONSTANT_ATTRIBUTES: Mapping[str, tuple[tuple[type, ...], DType]] = {
    "value_float": ((float, int), DType.FLOAT),
    "value_floats": ((float, int), DType.FLOAT),
    "value_int": ((int,), DType.INT64),
    "value_ints": ((int,), DType.INT64),
    "value_string": ((str, bytes), DType.STRING),
    "value_strings": ((str, bytes), DType.STRING),
}
"""What a Constant node may hold besides a tensor: Python types of the items, and element type."""


def constant_of(key: str, value: Attribute) -> Constant:
    """The tensor that a Constant node with attribute ``key`` stands for.

    Raises:
        InvalidInput: the attribute is none that Constant has.
    """
    if key == "value" and isinstance(value, Constant):
        return value
    kinds, dtype = CONSTANT_ATTRIBUTES.get(key, ((), DType.UNDEFINED))
    items = value if isinstance(value, tuple) else (value,)
    if not kinds or not all(isinstance(item, kinds) for item in items):
        raise InvalidInput(f"a Constant node has an attribute {key!r} that Constant does not have")
    array = np.array(value, object if dtype is DType.STRING else dtype.numpy)
    return Constant(array.shape, dtype, array)
