"""Tensors of numbers that are stored in another type than the one they are read as."""

from collections.abc import Callable, Sequence
from typing import Any

from tvm import te
from tvm.ir import Expr


class Decoded:
    """A tensor whose elements are decoded as they are read."""

    def __init__(
        self,
        stored: te.Tensor,
        decode: Callable[[Expr, Sequence[Any]], Expr],
        dtype: str = "float32",
    ) -> None:
        """Read ``stored``; ``decode`` takes an element of it and its index, and makes ``dtype``."""
        self.stored, self.dtype = stored, dtype
        self.shape = stored.shape
        self.decode = decode

    def __call__(self, *index: Any) -> Expr:
        """The value at ``index``."""
        return self.decode(self.stored(*index), index)
