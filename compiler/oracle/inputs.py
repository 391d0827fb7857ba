"""Random inputs within legal ranges: what a model can be asked without being broken.

An integer input may be an index into a table, a mask, a length or a shape. Which one, its name and
the operators that read it tell; the table of roles below says how each is filled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from burnish.errors import UsageError
from burnish.ir import Array, DType, Graph, VariableNode
from burnish.oracle.roles import Role, role_of
from burnish.suggest import no_input, unknown

Sizes = Mapping[str, int]

BATCH = (1, 2)
"""Sizes of a free first axis in the two variants."""
SPATIAL = (64, 96)
"""Sizes of free axes 2 and later of images and volumes: multiples of the usual strides."""
SEQUENCE = (12, 17)
"""Sizes of any other free axis."""
IMAGE_SIDE = 16
"""Smallest height and width of what counts as an image."""
STROKE_AREA = 256
"""Pixels of an image for each stroke drawn on it."""
WORDS = ("the", "Quick", "brown fox", "", "naïve", "42")


def free_sizes(graph: Graph) -> list[str]:
    """Names of the sizes that inputs leave open: symbols, ``input.axis`` for nameless ones."""
    names: dict[str, None] = {}
    for value in graph.inputs:
        for axis, size in enumerate(value.shape or ()):
            if not isinstance(size, int):
                names[size or f"{value.name}.{axis}"] = None
    return list(names)


def suggest_sizes(graph: Graph, variant: int = 0) -> dict[str, int]:
    """A size for every open one; variants 0 and 1 differ in all of them."""
    sizes: dict[str, int] = {}
    for value in graph.inputs:
        shape = value.shape or ()
        for axis, size in enumerate(shape):
            if not isinstance(size, int):
                choice = BATCH if axis == 0 else SPATIAL if len(shape) >= 4 else SEQUENCE
                sizes.setdefault(size or f"{value.name}.{axis}", choice[variant % 2])
    return sizes


def random_inputs(
    graph: Graph,
    seed: int = 0,
    sizes: Sizes | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, Array]:
    """Inputs for every input of ``graph``; the same arguments give the same arrays.

    Args:
        graph: the model.
        seed: of the random numbers.
        sizes: for open sizes, by the names of ``free_sizes``; the others are suggested.
        shapes: whole shapes by input; they bind the symbols that they cover.

    Raises:
        UsageError: a size or shape is for nothing in the model or contradicts it, or an input is
            no tensor, for which there is nothing to draw.
    """
    for value in graph.inputs:
        if value.onnx_type is not None or value.dtype is DType.UNDEFINED:
            raise UsageError(f"input {value.name!r} is no tensor; give the inputs to test with")
    bound = _bind(graph, sizes or {}, shapes or {})
    generator = np.random.default_rng(seed)
    lengths: dict[tuple[int, ...], Array] = {}
    result = {}
    for value in graph.inputs:
        shape = _shape(value, bound, (shapes or {}).get(value.name))
        role, limit = role_of(value)
        request = _Request(generator, value.dtype, shape, limit, lengths)
        result[value.name] = np.asarray(_FILLERS[role](request)).astype(
            value.dtype.numpy, copy=False
        )
    return result


def _bind(graph: Graph, sizes: Sizes, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """A number for every open size."""
    bound = suggest_sizes(graph)
    for name in sizes:
        if name not in bound:
            raise UsageError(unknown("open size", name, bound))
    for name in shapes:
        if graph.input_named(name) is None:
            raise UsageError(no_input(name, {value.name: value.shape for value in graph.inputs}))
    given = dict(sizes)
    for name, shape in shapes.items():
        value = graph.input_named(name)
        assert value is not None
        declared = value.shape if value.shape is not None else (None,) * len(shape)
        if len(declared) != len(shape):
            raise UsageError(f"{name!r} has {len(declared)} axes, not {len(shape)}")
        for axis, (have, want) in enumerate(zip(declared, shape, strict=True)):
            key = have if isinstance(have, str) else f"{name}.{axis}"
            fixed = have if isinstance(have, int) else given.setdefault(key, want)
            if fixed != want:
                raise UsageError(f"axis {axis} of {name!r} is {fixed}, not {want}")
    return bound | given


def _shape(
    value: VariableNode, bound: Mapping[str, int], given: tuple[int, ...] | None
) -> tuple[int, ...]:
    if given is not None:
        return given
    return tuple(
        size if isinstance(size, int) else bound[size or f"{value.name}.{axis}"]
        for axis, size in enumerate(value.shape or ())
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """What to fill: ``limit`` is exclusive, ``lengths`` are shared by the masks of one model."""

    generator: np.random.Generator
    dtype: DType
    shape: tuple[int, ...]
    limit: int | None
    lengths: dict[tuple[int, ...], Array]

    def integers(self, low: int, high: int) -> Array:
        """Uniform in ``low <= x < high``."""
        return np.asarray(
            self.generator.integers(low, max(high, low + 1), self.shape)
        ).astype(self.dtype.numpy)  # fmt: skip


def _values(request: _Request) -> Array:
    """Ordinary data: normal floats, the whole range of bytes, small integers, coins, words."""
    dtype, shape, generator = request.dtype, request.shape, request.generator
    if dtype is DType.STRING:
        return np.asarray(generator.choice(np.array(WORDS, object), shape), object)
    if dtype is DType.BOOL:
        return np.asarray(generator.random(shape) < 0.5)
    if dtype.name.startswith("COMPLEX"):
        parts = generator.standard_normal((2, *shape))
        return np.asarray(parts[0] + 1j * parts[1]).astype(dtype.numpy)
    if dtype.is_integer:
        if dtype.bits <= 8:
            low = -(1 << dtype.bits - 1) if dtype.name.startswith("INT") else 0
            return request.integers(low, low + (1 << dtype.bits))
        return request.integers(0, 10)
    if _is_image(shape):
        return _image(generator, shape).astype(dtype.numpy)
    return np.asarray(generator.standard_normal(shape)).astype(dtype.numpy)


def _is_image(shape: tuple[int, ...]) -> bool:
    """Whether a shape looks like images, channels second."""
    return len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[2:]) >= IMAGE_SIDE


def _image(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Dark strokes in lines on a light ground, a little noise: what a normalized page looks like.

    On pure noise, detectors answer that there is nothing: numbers near zero, in which every
    rounding error is large.
    """
    batch, channels, height, width = shape
    images = np.ones(shape) + 0.05 * generator.standard_normal(shape)
    tint = 1.0 + 0.2 * generator.random((batch, channels, 1, 1))
    for image, colour in zip(images, tint, strict=True):
        for _ in range(height * width // STROKE_AREA):
            line = int(generator.integers(0, max(1, height // 32))) * 32
            y = min(line + int(generator.integers(0, 8)), height - 1)
            x = int(generator.integers(0, width))
            long, thin = int(generator.integers(6, 18)), int(generator.integers(1, 4))
            tall = generator.random() < 0.5
            image[:, y : y + (long if tall else thin), x : x + (thin if tall else long)] = -colour
    return np.asarray(images)


def _index(request: _Request) -> Array:
    return request.integers(0, request.limit or 1)


def _mask(request: _Request) -> Array:
    """Ones, then zeros along the last axis; at least one of them is one."""
    shape = request.shape
    if not shape:
        return np.ones(shape, request.dtype.numpy)
    batch = (shape[0] if len(shape) > 1 else 1, shape[-1])
    if batch not in request.lengths:
        longest = max(shape[-1], 1)
        request.lengths[batch] = request.generator.integers(
            (longest + 1) // 2, longest + 1, batch[0]
        )
    lengths = request.lengths[batch].reshape(-1, *[1] * (len(shape) - 1))
    ones = np.arange(shape[-1]) < (lengths if len(shape) > 1 else lengths[0])
    return np.broadcast_to(ones, shape).astype(request.dtype.numpy)


def _one(request: _Request) -> Array:
    return np.full(request.shape, request.limit or 1, request.dtype.numpy)


_FILLERS: Mapping[Role, Callable[[_Request], Array]] = {
    Role.VALUES: _values,
    Role.INDEX: _index,
    Role.MASK: _mask,
    Role.COUNT: _one,
    Role.SHAPE: lambda r: _one(r) - 2 * (np.arange(r.shape[0] if r.shape else 1) == 0),
    Role.AXES: lambda r: np.arange(max(r.shape, default=1)).reshape(r.shape),
    Role.START: lambda r: np.zeros(r.shape),
    Role.FRACTION: lambda r: np.full(r.shape, 0.5),
    Role.DIVISOR: lambda r: r.integers(1, 10),
}
