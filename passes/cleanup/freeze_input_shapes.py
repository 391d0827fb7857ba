"""Give graph inputs the shapes that the user names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from burnish.analysis.sizes import Size, from_dim, to_dim
from burnish.errors import UsageError
from burnish.ir import Dim, Graph, VariableNode
from burnish.numerics import Numerics
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import RewriteResult
from burnish.suggest import no_input


@dataclass(frozen=True)
class FreezeInputShapes(Pass):
    """Bind the sizes of graph inputs; a dimension bound once is bound wherever its name occurs.

    Before:
        ids: int64[batch, sequence]; mask: int64[batch, sequence]     --input-shape ids=1,128

    After:
        ids: int64[1, 128]; mask: int64[1, 128]
    """

    name: ClassVar[str] = "freeze-input-shapes"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shape by input name, as ``--input-shape NAME=1,3,224,224`` gives it."""

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Set the shapes.

        Raises:
            UsageError: a name is no input, or a shape does not fit what the model declares.
        """
        bound: dict[str, tuple[int, str]] = {}
        edits: Counter[str] = Counter()
        for name, shape in self.shapes.items():
            value = graph.input_named(name)
            if value is None:
                raise UsageError(no_input(name, {v.name: v.shape for v in graph.inputs}))
            _bind(value, tuple(shape), bound)
        for value in graph.inputs:
            given = self.shapes.get(value.name)
            if given is not None and value.shape != tuple(given):
                value.shape = tuple(given)
                edits["annotate"] += 1
        sizes = {name: size for name, (size, _) in bound.items()}
        for value in graph.variables() if sizes else ():
            shape_now = substituted(value, sizes)
            if shape_now != value.shape:
                value.shape = shape_now
                edits["annotate"] += 1
        return RewriteResult(edits)


def _bind(value: VariableNode, shape: tuple[int, ...], bound: dict[str, tuple[int, str]]) -> None:
    """Check ``shape`` against what ``value`` declares, and note what it makes of named sizes."""
    given = ",".join(map(str, shape))
    if any(size < 0 for size in shape):
        raise UsageError(f"--input-shape {value.name}={given}: sizes must be integers >= 0")
    if value.onnx_type is not None:
        raise UsageError(f"--input-shape {value.name}={given}: this input is no tensor")
    if value.shape is None:
        return
    declared = "[" + ", ".join("?" if d is None else str(d) for d in value.shape) + "]"
    if len(shape) != len(value.shape):
        raise UsageError(
            f"--input-shape {value.name}={given} has {len(shape)} sizes, but the model declares "
            f"{value.name}{declared}: give {len(value.shape)}"
        )
    for axis, (size, dim) in enumerate(zip(shape, value.shape, strict=True)):
        expected = from_dim(dim)
        if isinstance(expected, int) and expected != size:
            raise UsageError(
                f"--input-shape {value.name}={given}: axis {axis} is fixed at {expected} in the "
                f"model ({value.name}{declared})"
            )
        if isinstance(dim, str) and expected is not None:
            previous, other = bound.setdefault(dim, (size, value.name))
            if previous != size:
                raise UsageError(
                    f"--input-shape {value.name}={given} makes dimension {dim!r} {size}, but "
                    f"input {other} makes it {previous}: one name has one size"
                )


def substituted(value: VariableNode, sizes: Mapping[str, int]) -> tuple[Dim, ...] | None:
    """The shape of ``value`` once named dimensions have ``sizes``."""
    if value.shape is None or not any(isinstance(dim, str) for dim in value.shape):
        return value.shape
    return tuple(_size(dim, sizes) for dim in value.shape)


def _size(dim: Dim, sizes: Mapping[str, int]) -> Dim:
    if not isinstance(dim, str) or dim in sizes:
        return sizes[dim] if isinstance(dim, str) else dim
    amount = from_dim(dim)
    return to_dim(amount.substitute(sizes)) if isinstance(amount, Size) else dim
