"""Products and convolutions with packed constant weights."""

from collections.abc import Callable, Sequence
from math import prod

from tvm.ir import Expr
from tvm.tirx import Buffer, PrimFunc, Stmt

from burnish.backends.cpu.schedule.arithmetic import (
    BY_PAIRS,
    SINGLE,
    WIDE,
    Arithmetic,
    QuadArithmetic,
)
from burnish.backends.cpu.schedule.build import Index, Views, index, ravel, ravel_line, unravel
from burnish.backends.cpu.schedule.contraction import Contraction, Source, TileBuilder, Weights
from burnish.backends.cpu.schedule.epilogue import Epilogue, finish_size, operands_beside
from burnish.backends.cpu.schedule.fused import Fused
from burnish.backends.cpu.schedule.nests import nests
from burnish.backends.cpu.schedule.tiling import Space, Tile, TileConfig
from burnish.backends.kernels.bfloat16 import PAIRS
from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.integers import QUADS
from burnish.backends.kernels.quads import SIZE
from burnish.target import Target


def build(fused: Fused, target: Target, config: TileConfig) -> PrimFunc:
    """The loops of a contraction with packed weights and of its epilogue.

    Raises:
        ScheduleMiss: what follows the anchor is not elementwise.
    """
    views = Views()
    work = describe(fused, target, views)
    epilogue = Epilogue(fused, views, target)

    def write(tile: Tile) -> Stmt:
        return TileBuilder(work, tile, epilogue, config.unroll).build()

    body = nests(work.space, config, target.threads, write)
    return fused.with_body(epilogue.around(work.arithmetic.around(views.declare([body]))))


def axes_of(fused: Fused) -> tuple[Axis, ...]:
    """Row axes of an anchor: a single one where rows read only their own position."""
    axes = [Axis.decode(values) for values in fused.attrs["burnish.axes"]]
    if all(axis.is_pointwise for axis in axes):
        rows = prod(axis.outputs for axis in axes)
        return (Axis(rows, rows),)
    return tuple(axes)


def describe(fused: Fused, target: Target, views: Views) -> Contraction:
    """The work of an anchor with the role ``contraction``."""
    source, weights = (load.source for load in fused.operands())
    axes = axes_of(fused)
    groups = int(fused.attrs["burnish.groups"])
    arithmetic = arithmetic_of(fused, source, target)
    packed = [int(extent) for extent in weights.shape]
    _, *kernel, depth, width = packed if arithmetic.depth == 1 else packed[:-1]
    columns = fused.anchor.extents[-1] // groups
    blocks = -(-columns // width)
    taps = prod(kernel)

    def weight(_: Sequence[Index], group: Expr, column: Index, positions: Sequence[Index]) -> Index:
        tap = ravel(positions[len(positions) - len(kernel) :], kernel) if taps > 1 else 0
        # Vectors begin at whole blocks of packed columns.
        return (group * blocks * width + column) * (taps * depth) + tap * (depth * width)

    return Contraction(
        Space(axes, groups, columns, width, False, lead_of(fused)),
        depth,
        _source(fused, arithmetic.source(views, source), source, axes, depth),
        Weights(arithmetic.weights(views, weights), weight, taps * depth, width),
        arithmetic,
        finish_size(fused),
        sum(_result_bytes(fused, operand) for operand in operands_beside(fused)),
    )


def arithmetic_of(fused: Fused, source: Buffer, target: Target) -> Arithmetic:
    """How the anchor of ``fused``, which reads ``source``, multiplies on ``target``."""
    if PAIRS in fused.attrs:
        return BY_PAIRS
    if QUADS in fused.attrs:
        depth, flipped = map(int, fused.attrs[QUADS])
        return QuadArithmetic(target=target, flipped=bool(flipped), bytes=min(depth, SIZE))
    return WIDE if str(source.dtype) in ("int8", "uint8") else SINGLE


def _source(fused: Fused, view: Buffer, source: Buffer, axes: Sequence[Axis], depth: int) -> Source:
    """Where rows find their elements in the ``view`` of ``source``, in ``depth`` steps."""
    # Elements that are counted, of which one may hold several.
    channels = int(source.shape[-1]) * int(view.shape[0]) // prod(map(int, source.shape))
    own, pitch, last = depth, 1, None
    if QUADS in fused.attrs:
        own, pitch = int(fused.attrs[QUADS][0]), SIZE
        last = own - SIZE if own % SIZE and own > SIZE else None

    def element(positions: Sequence[Index], group: Expr) -> Index:
        place = ravel_line(positions, [axis.inputs for axis in axes])
        return place * channels + group * own

    return Source(view, element, channels, pitch, last)


def _result_bytes(fused: Fused, operand: Buffer) -> int:
    """Bytes of as many elements of ``operand`` as there are results."""
    return prod(fused.anchor.extents) * int(operand.dtype.bits) // 8


def lead_of(fused: Fused) -> Callable[[Index, Sequence[Index]], tuple[Expr, ...]]:
    """Leading output indices from a row number and positions along axes."""
    extents = fused.anchor.extents[:-1]

    def lead(row: Index, outputs: Sequence[Index]) -> tuple[Expr, ...]:
        if len(outputs) == len(extents):
            return tuple(index(o) for o in outputs)
        return unravel(row, extents)

    return lead
