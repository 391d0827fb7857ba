"""Tensors of numbers that are stored in another type than the one they are read as."""

from collections.abc import Callable, Sequence
from typing import Any

from tvm import te
from tvm.ir import Expr


class Decoded:
    """A tensor whose elements are decoded to float32 as they are read."""

    dtype = "float32"

    def __init__(self, stored: te.Tensor, decode: Callable[[Expr, Sequence[Any]], Expr]) -> None:
        """Read ``stored``; ``decode`` takes an element of it and its index."""
        self.stored = stored
        self.shape = stored.shape
        self.decode = decode

    def __call__(self, *index: Any) -> Expr:
        """The value at ``index``."""
        return self.decode(self.stored(*index), index)
