"""Types of values: from ONNX messages to dtype and shape, and back."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import TypeProto

from burnish.ir.dtype import ELEMENT_TYPES, DType
from burnish.ir.graph import Dim, Shape, VariableNode

UNKNOWN_SIZES = frozenset({"", "?", "*", "-1", "None"})
"""Spellings by which exporters say that a size is not known; no two of them are the same size."""


def dim(size: int | str | None, least: int = 1) -> Dim:
    """A size as we keep it: a number from ``least`` on, a symbol that is the same everywhere, None.

    Exporters write -1 and "?" for what they do not know, and 0 for that of computed values. An
    input that is declared with 0 elements has none: no runtime takes any other.
    """
    if isinstance(size, str):
        return None if size.strip() in UNKNOWN_SIZES else size
    return size if size is not None and size >= least else None


def shape(sizes: Iterable[int | str | None] | None, least: int = 1) -> Shape:
    """Sizes as we keep them, None if not even the rank is known."""
    return None if sizes is None else tuple(dim(size, least) for size in sizes)


def describe(value: VariableNode, message: TypeProto, is_input: bool = False) -> None:
    """Give ``value`` the type that ``message`` declares."""
    if not message.HasField("tensor_type"):
        value.onnx_type = message if message.ByteSize() else None
        return
    tensor = message.tensor_type
    if tensor.elem_type in ELEMENT_TYPES:
        value.dtype = DType(tensor.elem_type)
    if tensor.HasField("shape"):
        value.shape = shape(
            (
                entry.dim_param if entry.HasField("dim_param")
                else entry.dim_value if entry.HasField("dim_value")
                else None
                for entry in tensor.shape.dim
            ),
            least=0 if is_input else 1,
        )  # fmt: skip


def message(value: VariableNode) -> TypeProto | None:
    """The ONNX type of ``value``, None if nothing is known about it."""
    if value.onnx_type is not None:
        kept: TypeProto = value.onnx_type
        return kept
    if value.dtype is DType.UNDEFINED:
        return None
    result = TypeProto()
    result.tensor_type.elem_type = int(value.dtype)
    if value.shape is not None:
        result.tensor_type.shape.SetInParent()
        for size in value.shape:
            entry = result.tensor_type.shape.dim.add()
            if isinstance(size, int):
                entry.dim_value = size
            elif size is not None:
                entry.dim_param = size
    return result
