"""What is wrong with calibration data, said before a model is run on it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from burnish.errors import InvalidInput, UsageError
from burnish.ir import Array, DType, Graph, VariableNode
from burnish.suggest import unknown


def checked(graph: Graph, feeds: object, where: str) -> dict[str, Array]:
    """Return a sample as arrays by input name, in the order of the inputs of ``graph``.

    Args:
        graph: what will be run on it.
        feeds: the sample as it was given.
        where: which one it is, for messages: ``sample 3 of the calibration data``.

    Raises:
        UsageError: its names, element types or shapes are not those of the inputs.
        InvalidInput: it is no mapping of arrays, or holds NaN or infinity.
    """
    if not isinstance(feeds, Mapping):
        raise InvalidInput(
            f"{where} is a {type(feeds).__name__}; it has to be a dict of arrays by input name"
        )
    names = [value.name for value in graph.inputs]
    for name in feeds:
        if name not in names:
            raise UsageError(f"{where}: {unknown('input', name, names)}")
    missing = [name for name in names if name not in feeds]
    if missing:
        raise UsageError(
            f"{where} has nothing for input {missing[0]!r}; the model takes {', '.join(names)}"
        )
    return {value.name: _fitting(value, feeds[value.name], where) for value in graph.inputs}


def _fitting(value: VariableNode, given: object, where: str) -> Array:
    """``given`` as an array that the input takes."""
    about = f"{where}, input {value.name!r}"
    array = np.asarray(given)
    if value.dtype is not DType.UNDEFINED and array.dtype != value.dtype.numpy:
        is_text = value.dtype is DType.STRING and array.dtype.kind in "OUS"
        if not is_text:
            raise UsageError(
                f"{about}: the elements are {array.dtype}, and the model takes "
                f"{value.dtype.numpy}; convert them with .astype"
            )
    if value.shape is not None and not _suits(array.shape, value):
        sizes = ", ".join("?" if size is None else str(size) for size in value.shape)
        raise UsageError(f"{about}: the shape is {array.shape}, and the model takes [{sizes}]")
    _require_finite(array, about)
    return array


def _suits(shape: tuple[int, ...], value: VariableNode) -> bool:
    declared = value.shape or ()
    return len(shape) == len(declared) and all(
        not isinstance(want, int) or want == have
        for have, want in zip(shape, declared, strict=True)
    )


def _require_finite(array: Array, about: str) -> None:
    """Refuse what would make every range infinite."""
    if array.dtype.kind not in "fcV" or not array.size:
        return
    # Of bfloat16 and its like numpy knows no kind.
    plain = array.astype(np.float32) if array.dtype.kind == "V" else array
    finite = np.isfinite(plain)
    if finite.all():
        return
    place = np.unravel_index(int(np.argmin(finite)), array.shape)
    raise InvalidInput(
        f"{about}: the element at {[int(index) for index in place]} is {plain[place]}, and "
        f"{array.size - int(finite.sum())} of {array.size} are not finite; leave such samples out"
    )
