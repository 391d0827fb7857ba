"""Colours and marks, for readers of all kinds of sight: no meaning is carried by colour alone.

Hues are those of M. Okabe and K. Ito, "Color Universal Design", 2008. Charts are drawn with the
colours for white paper; the page replaces each by a variable, so that dark mode changes them all.
"""

from __future__ import annotations

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1b1f24",
    "muted": "#57606a",
    "rule": "#d5dae0",
    "panel": "#f5f7f9",
    "blue": "#0072b2",
    "vermillion": "#d55e00",
    "green": "#009e73",
    "orange": "#e69f00",
    "sky": "#56b4e9",
    "purple": "#cc79a7",
    "grey": "#7d868f",
}
DARK = LIGHT | {
    "paper": "#14171b",
    "ink": "#e8ebee",
    "muted": "#a6b0ba",
    "rule": "#353c44",
    "panel": "#1d2228",
    "blue": "#3f9fdc",
    "grey": "#8d96a0",
}

FAMILIES = {
    "convolution": "blue",
    "product": "vermillion",
    "normalization": "purple",
    "element-wise": "orange",
    "reduction": "green",
    "moves data": "sky",
    "other": "grey",
}
"""Kinds of operators that are told apart, and the hue of each."""

SHAPES = {
    "convolution": "M-5-5H5V5H-5Z",
    "product": "M0-5.6A5.6 5.6 0 1 1 0 5.6A5.6 5.6 0 1 1 0-5.6Z",
    "normalization": "M0-6.6L6.6 0L0 6.6L-6.6 0Z",
    "element-wise": "M0-6.2L6 4.6H-6Z",
    "reduction": "M0 6.2L6-4.6H-6Z",
    "moves data": "M-6-2.5H6V2.5H-6Z",
    "other": "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
}
"""The outline of each family's mark around the origin, in CSS pixels."""

MARKERS = {
    "convolution": "s", "product": "o", "normalization": "D", "element-wise": "^",
    "reduction": "v", "moves data": "_", "other": "P",
}  # fmt: skip
"""The same as matplotlib names them."""

_TYPES = {
    "convolution": {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv"},
    "product": {
        "MatMul", "Gemm", "Attention", "MultiHeadAttention", "GroupQueryAttention", "Einsum",
        "MatMulInteger", "QLinearMatMul", "FusedMatMul", "LSTM", "GRU", "RNN", "FusedGemm",
        "LinearAttention",
    },
    "reduction": {
        "ArgMax", "ArgMin", "AveragePool", "MaxPool", "LpPool", "CumSum", "TopK",
        "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool",
    },
    "moves data": {
        "Cast", "Compress", "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Expand",
        "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Reshape", "Resize",
        "Scatter", "ScatterElements", "ScatterND", "Shape", "Size", "Slice", "SpaceToDepth",
        "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Range", "Upsample",
    },
    "other": {"If", "Loop", "Scan", "NonMaxSuppression", "NonZero", "DFT", "STFT"},
}  # fmt: skip


def family(op_type: str) -> str:
    """The family of an operator by its type, with or without its domain."""
    name = op_type.rsplit(":", 1)[-1]
    for kind, types in _TYPES.items():
        if name in types:
            return kind
    if "Normalization" in name or "Softmax" in name or name in ("LRN", "Hardmax"):
        return "normalization"
    if name.startswith("Reduce"):
        return "reduction"
    return "other" if name.startswith("Sequence") else "element-wise"
