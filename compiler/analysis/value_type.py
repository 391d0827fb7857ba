"""What is known about a value before it is computed: element type and shape, or an ONNX type."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import TypeProto

from burnish.analysis.sizes import from_dim, to_dim
from burnish.ir import Dim, DType, Shape, VariableNode


@dataclass(frozen=True, slots=True)
class ValueType:
    """Element type and shape of a tensor; ``message`` instead for sequences and optionals."""

    dtype: DType = DType.UNDEFINED
    shape: Shape = None
    message: bytes = b""
    """Serialized ``TypeProto`` of a value that is no tensor."""

    @classmethod
    def of(cls, value: VariableNode) -> ValueType:
        """What ``value`` says about itself, with marks for "unknown" taken as that."""
        if value.onnx_type is not None:
            return cls(message=value.onnx_type.SerializeToString(deterministic=True))
        shape = value.shape
        if shape is None or all(type(dim) is int and dim >= 0 for dim in shape):
            return cls(value.dtype, shape)
        return cls(value.dtype, tuple(to_dim(from_dim(dim)) for dim in shape))

    @classmethod
    def from_message(cls, message: TypeProto) -> ValueType:
        """What an ONNX type message says."""
        if not message.HasField("tensor_type"):
            kind = message.WhichOneof("value")
            return cls(message=message.SerializeToString(deterministic=True) if kind else b"")
        tensor = message.tensor_type
        dtype = DType(tensor.elem_type)
        if not tensor.HasField("shape"):
            return cls(dtype)
        return cls(dtype, tuple(_dim(dim) for dim in tensor.shape.dim))

    def to_message(self) -> TypeProto:
        """The ONNX type message."""
        message = TypeProto()
        if self.message:
            message.ParseFromString(self.message)
            return message
        tensor = message.tensor_type
        tensor.elem_type = int(self.dtype)
        if self.shape is not None:
            tensor.shape.SetInParent()
            for dim in self.shape:
                entry = tensor.shape.dim.add()
                if isinstance(dim, int):
                    entry.dim_value = dim
                elif dim is not None:
                    entry.dim_param = dim
        return message

    @property
    def is_known(self) -> bool:
        """Whether at least the element type, or the kind of value, is known."""
        return bool(self.dtype or self.message)

    @property
    def static_shape(self) -> tuple[int, ...] | None:
        """The shape if every size is a known integer, else None."""
        if self.shape is None or not all(isinstance(dim, int) for dim in self.shape):
            return None
        return tuple(dim for dim in self.shape if isinstance(dim, int))

    def refined(self, other: ValueType) -> ValueType:
        """This, completed by ``other`` where this does not know."""
        if self == other:
            return self
        if self.message or other.message:
            return self if self.message else other if not self.dtype else self
        return ValueType(self.dtype or other.dtype, complete(self.shape, other.shape))

    def common(self, other: ValueType) -> ValueType:
        """What holds for either of two values, as for the two branches of an If."""
        if self == other:
            return self
        if self.message and other.message:
            return self._common_message(other)
        if self.dtype is not other.dtype or self.message or other.message:
            return ValueType(self.dtype if self.dtype is other.dtype else DType.UNDEFINED)
        if self.shape is None or other.shape is None or len(self.shape) != len(other.shape):
            return ValueType(self.dtype)
        dims = tuple(a if a == b else None for a, b in zip(self.shape, other.shape, strict=True))
        return ValueType(self.dtype, dims)

    def _common_message(self, other: ValueType) -> ValueType:
        """For sequences and optionals: the kind of element, of any shape."""
        kinds = [self.to_message(), other.to_message()]
        for kind in kinds:
            _forget_shape(kind)
        return ValueType.from_message(kinds[0]) if kinds[0] == kinds[1] else ValueType()


def _forget_shape(message: TypeProto) -> None:
    kind = message.WhichOneof("value")
    if kind == "tensor_type":
        message.tensor_type.ClearField("shape")
    elif kind in ("sequence_type", "optional_type"):
        _forget_shape(getattr(message, kind).elem_type)


def complete(first: Shape, second: Shape) -> Shape:
    """``first`` with unknown sizes taken from ``second``; integers win over names."""
    if first is None or second is None or len(first) != len(second):
        return second if first is None else first
    return tuple(_better(a, b) for a, b in zip(first, second, strict=True))


def _better(first: Dim, second: Dim) -> Dim:
    if isinstance(first, int) or second is None:
        return first
    return second if first is None or isinstance(second, int) else first


def _dim(dim: object) -> Dim:
    kind = dim.WhichOneof("value")  # type: ignore[attr-defined]
    if kind == "dim_value":
        return int(dim.dim_value) if dim.dim_value >= 0 else None  # type: ignore[attr-defined]
    return str(dim.dim_param) or None if kind else None  # type: ignore[attr-defined]
