"""Anchors: operators with a kernel of their own, by type."""

from __future__ import annotations

from collections.abc import Callable

from burnish.backends.lowering.anchors import (
    attention,
    contraction,
    integer,
    movement,
    recurrent,
    rotary,
    rows,
    windows,
)
from burnish.backends.lowering.emitter import AnchorEmitter
from burnish.ir import OperatorNode

ANCHORS: dict[str, AnchorEmitter] = {
    "ArgMax": rows.arg_reduce,
    "ArgMin": rows.arg_reduce,
    "Attention": attention.attention,
    "AveragePool": windows.average_pool,
    "Concat": movement.concat,
    "ConstantOfShape": movement.constant_of_shape,
    "Conv": contraction.conv,
    "ConvInteger": integer.conv_integer,
    "ConvTranspose": contraction.conv_transpose,
    "ConvTransposeInteger": integer.conv_transpose_integer,
    "DepthToSpace": movement.depth_to_space,
    "Flatten": movement.reshape,
    "GRU": recurrent.layer,
    "Gather": movement.gather,
    "GatherElements": movement.gather_elements,
    "GatherND": movement.gather_nd,
    "Gemm": contraction.gemm,
    "GroupNormalization": rows.channel_norm,
    "InstanceNormalization": rows.channel_norm,
    "LSTM": recurrent.layer,
    "LayerNormalization": rows.layer_norm,
    "LogSoftmax": rows.softmax,
    "MatMul": contraction.matmul,
    "MatMulInteger": integer.matmul_integer,
    "MaxPool": windows.max_pool,
    "OneHot": movement.one_hot,
    "Pad": movement.pad,
    "RNN": recurrent.layer,
    "RMSNormalization": rows.layer_norm,
    **dict.fromkeys(rows.REDUCTIONS, rows.reduce),
    "Resize": windows.resize_axes,
    "RotaryEmbedding": rotary.rotary,
    "Reshape": movement.reshape,
    "Slice": movement.slice_,
    "Softmax": rows.softmax,
    "SpaceToDepth": movement.space_to_depth,
    "Split": movement.split,
    "Squeeze": movement.reshape,
    "Tile": movement.tile,
    "Trilu": movement.trilu,
    "Unsqueeze": movement.reshape,
}
"""How each of them describes its results."""

CONSTANT_INPUTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(rows.REDUCTIONS, (1,)),
    "Pad": (1, 2, 3),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Trilu": (1,),
}
"""Inputs that must be known at compile time for the kernel to be written."""


FUSES_NOTHING = frozenset({
    "Attention", "GRU", "LSTM", "RNN", "RotaryEmbedding", "Split", "Tile",
})  # fmt: skip
"""Anchors whose kernels end with their own results."""

DECLINES: dict[str, Callable[[OperatorNode], str | None]] = {
    "Attention": attention.declines,
    "ConvTransposeInteger": integer.declines_transpose,
    **dict.fromkeys(("GRU", "LSTM", "RNN"), recurrent.declines),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), rows.fits_trailing),
    **dict.fromkeys(
        ("GroupNormalization", "InstanceNormalization", "LogSoftmax", "Softmax"), rows.declines
    ),
    "MaxPool": windows.declines_indices,
    "ReduceLogSumExp": rows.declines,
    "Resize": windows.declines_resize,
    "RotaryEmbedding": rotary.declines,
}
"""Further conditions, with the reason where they do not hold."""


def supports(node: OperatorNode) -> str | None:
    """Why the anchor of ``node`` does not fit it, None if it does."""
    for index in CONSTANT_INPUTS.get(node.op_type, ()):
        value = node.input(index)
        if value is not None and not value.is_constant:
            return f"input {index} of {node.op_type} is computed"
    declines = DECLINES.get(node.op_type)
    return declines(node) if declines else None
