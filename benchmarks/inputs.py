"""Inputs of zoo models: what each graph input may legally hold, and feeds drawn from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]


class Draw(Protocol):
    """A distribution over the legal values of one graph input."""

    def __call__(self, generator: np.random.Generator, shape: Shape) -> Array:
        """Return an array of `shape`; the caller casts it to the input's dtype."""
        ...


@dataclass(frozen=True, slots=True)
class Normal:
    """Normally distributed values, as a picture has after mean and deviation are taken out."""

    scale: float = 1.0

    def __call__(self, generator: np.random.Generator, shape: Shape) -> Array:
        """Return float64 values with deviation `scale`."""
        return generator.normal(scale=self.scale, size=shape)


@dataclass(frozen=True, slots=True)
class Integers:
    """Integers in [low, high), such as token ids within a vocabulary."""

    low: int
    high: int
    distinct_along: int | None = None
    """An axis along which no value repeats, as indices of a scatter must not."""

    def __call__(self, generator: np.random.Generator, shape: Shape) -> Array:
        """Return int64 values in [low, high)."""
        if self.distinct_along is None:
            return generator.integers(self.low, self.high, size=shape)
        axis = self.distinct_along
        every = list(shape)
        every[axis] = self.high - self.low
        order = generator.random(every).argsort(axis=axis)
        return order.take(range(shape[axis]), axis=axis) + self.low


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes [count, 4] by their corners (left, top, right, bottom) within a square picture."""

    side: float

    def __call__(self, generator: np.random.Generator, shape: Shape) -> Array:
        """Return float64 values in [0, side), the second corner never before the first."""
        corners = generator.uniform(0.0, self.side, size=(shape[0], 2, 2))
        return np.sort(corners, axis=1).reshape(shape)


@dataclass(frozen=True, slots=True)
class PaddingMask:
    """A mask [batch, tokens]: ones, then zeros where a shorter text was padded on the right."""

    def __call__(self, generator: np.random.Generator, shape: Shape) -> Array:
        """Return int64 zeros and ones; every row keeps at least half of its tokens."""
        batch, tokens = shape
        lengths = generator.integers((tokens + 1) // 2, tokens + 1, size=(batch, 1))
        return (np.arange(tokens)[None, :] < lengths).astype(np.int64)


@dataclass(frozen=True, slots=True)
class FileBytes:
    """The bytes of a file, [batch, length]; a short file is filled up with `filler`."""

    filler: int

    def __call__(self, generator: np.random.Generator, shape: Shape) -> Array:
        """Return int64 values 0..255, and `filler` from a random place onwards."""
        batch, length = shape
        content = generator.integers(0, 256, size=shape)
        sizes = generator.integers(length // 4, length + 1, size=(batch, 1))
        return np.where(np.arange(length)[None, :] < sizes, content, self.filler)


@dataclass(frozen=True, slots=True)
class TextPicture:
    """Pictures of text [batch, 3, height, width], scaled to [-1, 1] as PP-OCR wants them."""

    alphabet: str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

    def __call__(self, generator: np.random.Generator, shape: Shape) -> Array:
        """Return float64 values in [-1, 1]."""
        batch, _, height, width = shape
        pages = [self._page(generator, height, width) for _ in range(batch)]
        return np.stack(pages)

    def _page(self, generator: np.random.Generator, height: int, width: int) -> Array:
        """Draw one page [3, height, width]: one line if it is low, several if it is high."""
        from PIL import Image, ImageDraw, ImageFont

        size = int(0.7 * min(height, 48))
        page = Image.new("RGB", (width, height), (245, 240, 230))
        pen, font = ImageDraw.Draw(page), ImageFont.load_default(size)
        letters = list(self.alphabet)
        for top in range(size // 8, height - size, 2 * size):
            line = "".join(generator.choice(letters, size=max(1, width // size)))
            pen.text((size // 4, top), line, fill=(20, 20, 40), font=font)
        pixels = np.asarray(page, dtype=np.float64).transpose(2, 0, 1)
        noise = generator.normal(scale=4.0, size=pixels.shape)
        return np.clip(pixels + noise, 0, 255) / 127.5 - 1.0


@dataclass(frozen=True, slots=True)
class Input:
    """One graph input: its name, NumPy dtype name and legal values."""

    name: str
    dtype: str
    draw: Draw


@dataclass(frozen=True, slots=True)
class Case:
    """One set of static input shapes a model is measured at."""

    label: str
    shapes: Mapping[str, Shape]


def cases(names: str | tuple[str, ...], *shapes: Shape) -> tuple[Case, ...]:
    """Return one case per shape; all inputs in `names` have that shape."""
    every = (names,) if isinstance(names, str) else names
    return tuple(Case("x".join(map(str, shape)), dict.fromkeys(every, shape)) for shape in shapes)


def draw_feeds(inputs: tuple[Input, ...], case: Case, seed: int = 0) -> dict[str, Array]:
    """Draw legal arrays for every input of a case.

    Args:
        inputs: the graph inputs of the model.
        case: gives the shape of each.
        seed: the same seed draws the same arrays.

    Returns:
        C-contiguous arrays by input name, in the dtypes and shapes the model takes.
    """
    generator = np.random.default_rng(seed)
    return {
        one.name: np.array(one.draw(generator, case.shapes[one.name]), dtype=one.dtype, order="C")
        for one in inputs
    }
