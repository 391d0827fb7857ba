"""Products and convolutions with packed constant weights."""

from collections.abc import Sequence
from math import prod

from tvm.ir import Expr
from tvm.tirx import BufferLoad, PrimFunc

from burnish.backends.cpu.schedule import contraction
from burnish.backends.cpu.schedule.build import Index, index, lanes, sequence
from burnish.backends.cpu.schedule.contraction import ContractionConfig
from burnish.backends.cpu.schedule.epilogue import Epilogue, Position
from burnish.backends.cpu.schedule.fused import Fused, parse
from burnish.backends.cpu.schedule.tile import Contraction
from burnish.backends.kernels.geometry import Axis
from burnish.target import Target


def schedule(func: PrimFunc, target: Target, config: ContractionConfig) -> PrimFunc:
    """The loops of a contraction with packed weights and of its epilogue.

    Raises:
        ScheduleMiss: what follows the anchor is not elementwise.
    """
    fused = parse(func)
    epilogue = Epilogue(fused)
    work = describe(fused, epilogue)
    body = sequence(contraction.build(work, epilogue, config, target.threads))
    return PrimFunc(fused.func.params, body, attrs=fused.func.attrs)


def axes_of(fused: Fused) -> tuple[Axis, ...]:
    """Row axes of an anchor: a single one where rows read only their own position."""
    axes = [Axis.decode(values) for values in fused.attrs["burnish.axes"]]
    if all(axis.is_pointwise for axis in axes):
        rows = prod(axis.outputs for axis in axes)
        return (Axis(rows, rows),)
    return tuple(axes)


def describe(fused: Fused, epilogue: Epilogue) -> Contraction:
    """The work of an anchor with the role ``contraction``."""
    source, weights = (load.source for load in fused.operands())
    axes = axes_of(fused)
    groups = int(fused.attrs["burnish.groups"])
    *_, depth, width = (int(extent) for extent in weights.shape)
    columns = fused.anchor.extents[-1] // groups
    blocks = -(-columns // width)
    unused = len(fused.anchor.extents) - 1 - len(axes)
    is_flat = len(axes) == 1
    windows = len(weights.shape) - 3
    leading = len(axes) - windows

    def element(positions: Sequence[Expr], group: Expr, channel: Expr) -> Expr:
        lead = [index(0)] * unused
        return BufferLoad(source, [*lead, *positions, group * depth + channel])

    def vector(
        _: Sequence[Expr],
        group: Expr,
        first: Expr,
        kernel: Sequence[Expr],
        channel: Expr,
        __: int,
    ) -> Expr:
        taps = [index(0)] * windows if is_flat else kernel[leading:]
        return BufferLoad(weights, [group * blocks + first, *taps, channel, lanes(0, width)])

    def position(outputs: Sequence[Index]) -> Position:
        if is_flat:
            return epilogue.rows_at(outputs[0])
        return Position(tuple(index(o) for o in outputs))

    return Contraction(
        axes, depth, groups, columns, width, True, str(source.dtype), element, vector, position
    )
