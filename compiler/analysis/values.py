"""Values of small tensors as far as they are known, and a node with what is known around it.

A known value is a numpy array of the tensor's own type. A partly known one is an array of objects:
integers (or bools), ``Size`` for what depends on named dimensions, None for what is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.analysis.sizes import Amount, Size
from burnish.analysis.value_type import ValueType
from burnish.ir import Array, DType, OperatorNode

MAX_ELEMENTS = 4096
"""Larger tensors are no shapes, index ranges or masks of shapes."""

MAX_PARTIAL = 256
"""Larger partly known tensors cost more than they tell."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A node with what is known about its inputs."""

    node: OperatorNode
    opset: int
    types: Sequence[ValueType | None]
    values: Sequence[Array | None]
    """By input: the value if at least partly known."""

    def type(self, index: int) -> ValueType:
        """The type of input ``index``; all unknown if there is no such input."""
        found = self.types[index] if index < len(self.types) else None
        return found or ValueType()

    def value(self, index: int) -> Array | None:
        """The value of input ``index``, possibly partly known."""
        return self.values[index] if index < len(self.values) else None

    def known(self, index: int) -> Array | None:
        """The value of input ``index`` if it is known entirely."""
        value = self.value(index)
        return None if value is None or is_partial(value) else value

    def integers(self, index: int, attribute: str = "") -> list[int] | None:
        """Input ``index``, or in older opsets ``attribute``, as a list of integers."""
        if attribute and attribute in self.node.attributes:
            found = self.node.attributes[attribute]
            return [found] if isinstance(found, int) else list(found)
        value = self.known(index)
        return None if value is None else [int(v) for v in value.reshape(-1)]

    def has_input(self, index: int) -> bool:
        """Whether input ``index`` is given."""
        return self.node.input(index) is not None


def is_partial(value: Array) -> bool:
    """Whether ``value`` is an array of sizes rather than of plain elements."""
    return value.dtype == object


def settle(value: Array, dtype: DType) -> Array:
    """``value`` as an array of ``dtype`` if every element turned out to be known."""
    if not is_partial(value) or dtype in (DType.UNDEFINED, DType.STRING):
        return value
    if all(isinstance(item, int | np.integer | np.bool_) for item in value.flat):
        return value.astype(dtype.numpy)
    return value


def sizes(value: Array) -> list[Amount]:
    """The elements as sizes."""
    return [item if isinstance(item, Size) or item is None else int(item) for item in value.flat]


def objects(items: Sequence[Any], shape: tuple[int, ...] | None = None) -> Array:
    """A partly known value with ``items`` as its elements."""
    result = np.empty(len(items), dtype=object)
    result[:] = items
    return result if shape is None else result.reshape(shape)
