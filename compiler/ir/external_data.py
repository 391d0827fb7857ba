"""Tensors in files: checked before anything is allocated, read when first used.

A model names its external data by a path, an offset and a length, all of them untrusted. The path
must stay inside the model's folder, the bytes inside the file, and the declared shape must need
exactly the bytes that are there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto, numpy_helper

from burnish.errors import InvalidInput
from burnish.ir.constant import Array, Constant
from burnish.ir.dtype import ELEMENT_TYPES, DType

MAX_ELEMENTS = 1 << 48
"""No tensor of any real model comes near; a shape beyond this is an error or an attack."""

TYPED_FIELDS = {
    DType.FLOAT: "float_data",
    DType.COMPLEX64: "float_data",
    DType.DOUBLE: "double_data",
    DType.COMPLEX128: "double_data",
    DType.INT64: "int64_data",
    DType.UINT32: "uint64_data",
    DType.UINT64: "uint64_data",
    DType.STRING: "string_data",
}
"""Field that holds the elements of a tensor without raw bytes; ``int32_data`` for the others."""


@dataclass(frozen=True, slots=True)
class ExternalBytes:
    """A checked range of bytes of a file."""

    path: Path
    offset: int
    length: int

    def read(self, dtype: DType, shape: tuple[int, ...]) -> Array:
        """Map the bytes as an array; pages are read when they are touched.

        Raises:
            InvalidInput: the file shrank or vanished since it was checked.
        """
        if not self.length:
            return np.empty(shape, dtype.numpy)
        try:
            mapped = np.memmap(self.path, np.uint8, "r", self.offset, (self.length,))
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"cannot read external data {self.path}: {error}; was it changed after loading?"
            ) from error
        return _decode(np.asarray(mapped), dtype, shape)


def is_external(tensor: TensorProto) -> bool:
    """Whether the elements of ``tensor`` lie in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def read_constant(tensor: TensorProto, folder: Path | None) -> Constant:
    """Describe ``tensor`` after checking it; elements in another file are fetched on first use.

    Args:
        tensor: the tensor as ONNX stores it.
        folder: where the model lies, None for a model in memory.

    Raises:
        InvalidInput: the type is unknown, the shape is absurd, the data does not fit the shape, or
            the external file is missing, too short or outside ``folder``.
    """
    dtype, shape = _header(tensor)
    if is_external(tensor):
        source = _locate(tensor, folder, _byte_count(shape, dtype))
        return Constant(shape, dtype, lambda: source.read(dtype, shape))
    _check_inline(tensor, dtype, shape)
    return Constant(shape, dtype, _inline(tensor, dtype, shape))


def to_message(constant: Constant, name: str = "") -> TensorProto:
    """The tensor as ONNX stores it, with its elements inside."""
    tensor = TensorProto(name=name, data_type=int(constant.dtype), dims=constant.shape)
    put(tensor, constant)
    return tensor


def put(tensor: TensorProto, constant: Constant) -> None:
    """Store the elements of ``constant`` in ``tensor``, which already has its type and shape."""
    if constant.dtype is DType.STRING:
        items = constant.numpy().reshape(-1).tolist()
        tensor.string_data.extend(i.encode() if isinstance(i, str) else bytes(i) for i in items)
    else:
        tensor.raw_data = stored(constant).tobytes()


def stored(constant: Constant) -> Array:
    """The elements of ``constant`` as ONNX stores them: little-endian bytes, small types packed.

    This is a view where possible, so that a tensor on disk is not read into memory at once.
    """
    array = np.ascontiguousarray(constant.numpy())
    if constant.dtype.bits < 8:
        return np.frombuffer(numpy_helper.from_array(array).raw_data, np.uint8)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return little.reshape(-1).view(np.uint8)


def _header(tensor: TensorProto) -> tuple[DType, tuple[int, ...]]:
    """The type and shape that ``tensor`` declares, if they make sense."""
    name, dims = tensor.name, tuple(tensor.dims)
    if tensor.data_type not in ELEMENT_TYPES or tensor.data_type == DType.UNDEFINED:
        raise InvalidInput(
            f"tensor {name!r} has element type {tensor.data_type}, which ONNX does not define; "
            "export the model again"
        )
    if min(dims, default=0) < 0 or math.prod(max(d, 1) for d in dims) > MAX_ELEMENTS:
        raise InvalidInput(f"tensor {name!r} declares the impossible shape {dims}")
    return DType(tensor.data_type), dims


def _byte_count(shape: tuple[int, ...], dtype: DType) -> int:
    return (math.prod(shape) * dtype.bits + 7) // 8


def _check_inline(tensor: TensorProto, dtype: DType, shape: tuple[int, ...]) -> None:
    """Refuse a tensor whose data is not what its shape asks for."""
    if tensor.HasField("raw_data"):
        have, want, unit = len(tensor.raw_data), _byte_count(shape, dtype), "bytes"
        if dtype is DType.STRING:
            raise InvalidInput(f"tensor {tensor.name!r} stores strings as raw bytes")
    else:
        have = len(getattr(tensor, TYPED_FIELDS.get(dtype, "int32_data")))
        want, unit = math.prod(shape), "elements"
        if dtype.name.startswith("COMPLEX"):
            want *= 2
        elif 0 < dtype.bits < 8:
            want, unit = _byte_count(shape, dtype), "packed elements"
    if have != want:
        raise InvalidInput(
            f"tensor {tensor.name!r} of shape {shape} and type {dtype} needs {want} {unit} but "
            f"has {have}; the model is damaged, export it again"
        )


def _inline(tensor: TensorProto, dtype: DType, shape: tuple[int, ...]) -> Array:
    """The elements, on their own: a message is freed with all of its tensors, or not at all."""
    if dtype is DType.STRING:
        return _strings(tensor).reshape(shape)
    if tensor.HasField("raw_data"):
        return _decode(np.frombuffer(tensor.raw_data, np.uint8), dtype, shape)
    return numpy_helper.to_array(tensor)


def _strings(tensor: TensorProto) -> Array:
    """String elements: text where it is UTF-8, else bytes."""
    array = np.empty(len(tensor.string_data), object)
    for index, item in enumerate(tensor.string_data):
        try:
            array[index] = item.decode()
        except UnicodeDecodeError:
            array[index] = item
    return array


def _decode(data: Array, dtype: DType, shape: tuple[int, ...]) -> Array:
    """Elements from their stored bytes, without a copy unless they are packed."""
    if dtype.bits < 8:
        packed = TensorProto(data_type=int(dtype), dims=shape, raw_data=data.tobytes())
        return numpy_helper.to_array(packed)
    return data.view(dtype.numpy.newbyteorder("<")).reshape(shape)


def _locate(tensor: TensorProto, folder: Path | None, nbytes: int) -> ExternalBytes:
    """The file range that holds ``nbytes`` of ``tensor``, after every check."""
    name = tensor.name
    fields = {entry.key: entry.value for entry in tensor.external_data}
    location = fields.get("location", "")
    if folder is None:
        raise InvalidInput(
            f"tensor {name!r} keeps its data in the file {location!r}, but the model was given in "
            "memory; pass the path of the model file instead"
        )
    path = _inside(folder, location, name)
    offset, length = _number(fields, "offset", 0, name), _number(fields, "length", nbytes, name)
    if length != nbytes:
        raise InvalidInput(
            f"tensor {name!r} needs {nbytes} bytes but declares {length} in {location!r}; "
            "the model is damaged, export it again"
        )
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InvalidInput(
            f"external data {location!r} of tensor {name!r} is missing; "
            f"put it beside the model in {folder}"
        ) from error
    if not path.is_file():
        raise InvalidInput(f"external data {location!r} of tensor {name!r} is not a file")
    if offset + length > size:
        raise InvalidInput(
            f"tensor {name!r} ends at byte {offset + length} of {location!r}, which has only "
            f"{size}; the data file is truncated or belongs to another model"
        )
    return ExternalBytes(path, offset, length)


def _inside(folder: Path, location: str, name: str) -> Path:
    """The real path of ``location``, refused if it leads out of ``folder``."""
    root = folder.resolve()
    hostile = not location or "\0" in location or "\\" in location or Path(location).is_absolute()
    if not hostile:
        path = (root / location).resolve()
        if path.is_relative_to(root) and path != root and ".." not in Path(location).parts:
            return path
    raise InvalidInput(
        f"tensor {name!r} refers to external data at {location!r}, which is not a path inside the "
        "model's folder; refused for safety, save the model with its data beside it"
    )


def _number(fields: dict[str, str], key: str, default: int, name: str) -> int:
    text = fields.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidInput(f"tensor {name!r} has {key} {text!r}, which is not a size in bytes")
    return int(text)
