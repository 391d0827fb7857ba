"""Element types: ONNX's own codes with their numpy counterparts."""

from __future__ import annotations

from enum import IntEnum
from functools import cached_property

import numpy as np
import onnx
from onnx import TensorProto, helper

SUB_BYTE_BITS = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}


class DType(IntEnum):
    """An ONNX tensor element type; values are those of ``TensorProto.DataType``."""

    UNDEFINED = TensorProto.UNDEFINED
    FLOAT = TensorProto.FLOAT
    UINT8 = TensorProto.UINT8
    INT8 = TensorProto.INT8
    UINT16 = TensorProto.UINT16
    INT16 = TensorProto.INT16
    INT32 = TensorProto.INT32
    INT64 = TensorProto.INT64
    STRING = TensorProto.STRING
    BOOL = TensorProto.BOOL
    FLOAT16 = TensorProto.FLOAT16
    DOUBLE = TensorProto.DOUBLE
    UINT32 = TensorProto.UINT32
    UINT64 = TensorProto.UINT64
    COMPLEX64 = TensorProto.COMPLEX64
    COMPLEX128 = TensorProto.COMPLEX128
    BFLOAT16 = TensorProto.BFLOAT16
    FLOAT8E4M3FN = TensorProto.FLOAT8E4M3FN
    FLOAT8E4M3FNUZ = TensorProto.FLOAT8E4M3FNUZ
    FLOAT8E5M2 = TensorProto.FLOAT8E5M2
    FLOAT8E5M2FNUZ = TensorProto.FLOAT8E5M2FNUZ
    UINT4 = TensorProto.UINT4
    INT4 = TensorProto.INT4
    FLOAT4E2M1 = TensorProto.FLOAT4E2M1
    FLOAT8E8M0 = TensorProto.FLOAT8E8M0
    UINT2 = TensorProto.UINT2
    INT2 = TensorProto.INT2

    @classmethod
    def from_numpy(cls, dtype: np.dtype[np.generic]) -> DType:
        """The element type that stores numpy ``dtype``."""
        if dtype.kind in "OUS":
            return cls.STRING
        return cls(helper.np_dtype_to_tensor_dtype(dtype))

    @cached_property
    def numpy(self) -> np.dtype[np.generic]:
        """The numpy dtype of unpacked elements (``ml_dtypes`` for what numpy lacks)."""
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(int(self)))

    @cached_property
    def bits(self) -> int:
        """Bits that one element takes in a file; 0 for strings."""
        if self in (DType.STRING, DType.UNDEFINED):
            return 0
        return SUB_BYTE_BITS.get(self.name) or 8 * self.numpy.itemsize

    @cached_property
    def is_floating(self) -> bool:
        """Whether values are floating-point (double, float, half, bfloat16, float8, float4)."""
        return self is DType.DOUBLE or "FLOAT" in self.name

    @cached_property
    def is_integer(self) -> bool:
        """Whether values are integers; bool is not."""
        return "INT" in self.name

    def __str__(self) -> str:
        """ONNX's lower-case name: ``float``, ``int64``, ``bfloat16``."""
        return self.name.lower()


ELEMENT_TYPES = frozenset(DType)
"""Every code that ONNX defines."""
