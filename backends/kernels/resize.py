"""Resizing: each output position mixes a few input positions, one axis at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx
from tvm.ir import Expr

Reals = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class AxisTable:
    """Where each output position of an axis reads, and with which weights."""

    indices: NDArray[np.int32]
    """``[outputs, taps]``, all within the input."""
    weights: NDArray[np.float32]
    """``[outputs, taps]``."""
    outside: NDArray[np.float32] | None = None
    """1 for outputs that take the extrapolation value instead, else 0; None if there are none."""

    @property
    def is_selection(self) -> bool:
        """Whether every output is a copy of one input."""
        return self.indices.shape[1] == 1 and self.outside is None

    @property
    def repeats(self) -> int | None:
        """How often each input is repeated, if that is all that happens."""
        outputs = len(self.indices)
        inputs = int(self.indices.max()) + 1
        ratio = outputs // inputs
        if ratio == 0:
            return None
        expected = np.arange(outputs) // ratio
        return ratio if self.is_selection and (self.indices[:, 0] == expected).all() else None


@dataclass(frozen=True)
class Interpolation:
    """How ONNX's Resize maps and mixes positions."""

    mode: str = "nearest"
    """``nearest``, ``linear`` or ``cubic``."""
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic_coefficient: float = -0.75
    exclude_outside: bool = False

    def table(
        self, inputs: int, outputs: int, scale: float, roi: tuple[float, float] = (0.0, 1.0)
    ) -> AxisTable:
        """The table of an axis; ``scale`` is outputs per input as the model states it.

        Positions are computed in float32, as engines do: the nearest of two inputs at the same
        distance hangs on how they round.

        Raises:
            KeyError: a mode is unknown.
        """
        position = np.arange(outputs, dtype=np.float32)
        place = _COORDINATES[self.coordinates]
        source = place(position, inputs, outputs, np.float32(scale), roi).astype(np.float64)
        if self.mode == "nearest":
            taps = _NEAREST[self.nearest](source)[:, None]
            weights = np.ones_like(taps)
        else:
            taps, weights = _MIXES[self.mode](source, self.cubic_coefficient)
        if self.exclude_outside:
            weights = np.where((taps >= 0) & (taps < inputs), weights, 0.0)
            weights = weights / weights.sum(axis=1, keepdims=True)
        outside = None
        if self.coordinates == "tf_crop_and_resize":
            beyond = (source < 0) | (source > inputs - 1)
            outside = beyond.astype(np.float32) if beyond.any() else None
            weights = np.where(beyond[:, None], 0.0, weights)
        indices = np.clip(taps, 0, inputs - 1).astype(np.int32)
        return AxisTable(indices, weights.astype(np.float32), outside)


def repeat(x: te.Tensor, *, repeats: tuple[int, ...]) -> te.Tensor:
    """Repeat each element of ``x`` ``repeats[i]`` times along axis ``i``."""
    shape = [int(extent) * times for extent, times in zip(x.shape, repeats, strict=True)]

    def value(*position: Expr) -> Expr:
        places = zip(position, repeats, strict=True)
        return x(*(i if times == 1 else tirx.floordiv(i, times) for i, times in places))

    return te.compute(shape, value, name="repeat")


def select(x: te.Tensor, indices: te.Tensor, *, axis: int) -> te.Tensor:
    """Copy positions ``indices`` ``[1, outputs]`` of one axis."""
    shape = _resized(x, indices, axis)

    def value(*position: Expr) -> Expr:
        source = indices(0, position[axis])
        return x(*position[:axis], source, *position[axis + 1 :])

    return te.compute(shape, value, name="select")


def mix(x: te.Tensor, indices: te.Tensor, weights: te.Tensor, *, axis: int) -> te.Tensor:
    """Weighted sums of positions of one axis: `AxisTable`'s arrays, transposed.

    So neighbouring outputs find their positions and weights side by side.
    """
    shape = _resized(x, indices, axis)

    def value(*position: Expr) -> Expr:
        total: Expr = tirx.const(0, x.dtype)
        for tap in range(int(indices.shape[0])):
            source = indices(tap, position[axis])
            element = x(*position[:axis], source, *position[axis + 1 :])
            total = total + element * weights(tap, position[axis]).astype(x.dtype)
        return total

    return te.compute(shape, value, name="mix")


def extrapolate(x: te.Tensor, outside: te.Tensor, *, axis: int, value: float) -> te.Tensor:
    """Add ``value`` where ``outside`` ``[outputs]`` is 1; `mix` has left 0 there."""
    return te.compute(
        x.shape,
        lambda *i: x(*i) + outside(i[axis]).astype(x.dtype) * tirx.const(value, x.dtype),
        name="extrapolate",
    )


def _resized(x: te.Tensor, indices: te.Tensor, axis: int) -> list[int]:
    shape = [int(extent) for extent in x.shape]
    shape[axis] = int(indices.shape[1])
    return shape


Coordinates = Callable[[Reals, int, int, np.float32, tuple[float, float]], Reals]


def _half_pixel(
    o: Reals, inputs: int, outputs: int, scale: np.float32, roi: tuple[float, float]
) -> Reals:
    return (o + 0.5) / scale - 0.5


def _pytorch_half_pixel(
    o: Reals, inputs: int, outputs: int, scale: np.float32, roi: tuple[float, float]
) -> Reals:
    return _half_pixel(o, inputs, outputs, scale, roi) if outputs > 1 else np.zeros_like(o)


def _half_pixel_symmetric(
    o: Reals, inputs: int, outputs: int, scale: np.float32, roi: tuple[float, float]
) -> Reals:
    reached = np.float32(outputs) / (scale * np.float32(inputs))
    offset = np.float32(inputs / 2) * (np.float32(1) - reached)
    return offset + _half_pixel(o, inputs, outputs, scale, roi)


def _align_corners(
    o: Reals, inputs: int, outputs: int, scale: np.float32, roi: tuple[float, float]
) -> Reals:
    return o * (inputs - 1) / (outputs - 1) if outputs > 1 else np.zeros_like(o)


def _asymmetric(
    o: Reals, inputs: int, outputs: int, scale: np.float32, roi: tuple[float, float]
) -> Reals:
    return o / scale


def _crop(
    o: Reals, inputs: int, outputs: int, scale: np.float32, roi: tuple[float, float]
) -> Reals:
    start, end = roi
    if outputs == 1:
        return np.full_like(o, 0.5 * (start + end) * (inputs - 1))
    return start * (inputs - 1) + o * (end - start) * (inputs - 1) / (outputs - 1)


_COORDINATES: dict[str, Coordinates] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    "tf_crop_and_resize": _crop,
}

_NEAREST: dict[str, Callable[[Reals], Reals]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _linear(source: Reals, _: float) -> tuple[Reals, Reals]:
    low = np.floor(source)
    fraction = source - low
    return np.stack([low, low + 1], axis=1), np.stack([1 - fraction, fraction], axis=1)


def _cubic(source: Reals, a: float) -> tuple[Reals, Reals]:
    low = np.floor(source)
    t = source - low
    near, far = _near_cubic, _far_cubic
    weights = [far(1 + t, a), near(t, a), near(1 - t, a), far(2 - t, a)]
    return low[:, None] + np.arange(-1.0, 3.0), np.stack(weights, axis=1)


def _near_cubic(t: Reals, a: float) -> Reals:
    return ((a + 2) * t - (a + 3)) * t * t + 1


def _far_cubic(t: Reals, a: float) -> Reals:
    return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a


_MIXES: dict[str, Callable[[Reals, float], tuple[Reals, Reals]]] = {
    "linear": _linear,
    "cubic": _cubic,
}
