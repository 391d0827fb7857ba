"""Sparse tensors of a model, made dense when it is loaded."""

from __future__ import annotations

import math

import numpy as np
from onnx import SparseTensorProto, TensorProto, numpy_helper

from burnish.errors import InvalidInput, UnsupportedModel

MAX_ELEMENTS = 1 << 28
"""A sparse tensor with a larger dense form is refused: a few bytes could ask for all memory."""


def to_dense(tensor: SparseTensorProto) -> TensorProto:
    """The same values as an ordinary tensor.

    Raises:
        InvalidInput: indices are out of range or do not fit the values.
        UnsupportedModel: the dense form has too many elements.
    """
    name, dims = tensor.values.name, tuple(tensor.dims)
    size = math.prod(dims)
    if min(dims, default=0) < 0 or size > MAX_ELEMENTS:
        raise UnsupportedModel(
            f"sparse tensor {name!r} of shape {dims} has over {MAX_ELEMENTS} elements when dense; "
            "store it dense or split it"
        )
    values = numpy_helper.to_array(tensor.values)
    indices = numpy_helper.to_array(tensor.indices).astype(np.int64)
    if indices.ndim == 2 and indices.shape == (values.size, len(dims)):
        fits = bool(np.all((indices >= 0) & (indices < np.array(dims))))
        flat = np.ravel_multi_index(tuple(indices.T), dims) if fits and values.size else indices
    else:
        flat = indices
        fits = flat.shape == (values.size,) and bool(np.all((flat >= 0) & (flat < size)))
    if not fits:
        raise InvalidInput(f"sparse tensor {name!r} has indices that do not fit shape {dims}")
    dense = np.zeros(size, values.dtype)
    dense[flat.reshape(-1)[: values.size]] = values.reshape(-1)
    return numpy_helper.from_array(dense.reshape(dims), name)
