"""Symmetry classes: which transforms of a channel axis an operator lets through.

A transform maps the channels of a value, ``x -> A x``. If everything that the axis passes through
allows ``A``, it can be folded into the weights that write the axis, and its inverse into those
that read it, and the model computes what it did before.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Transform(Enum):
    """A set of invertible matrices, from the largest to the smallest."""

    AFFINE = "any invertible matrix and a shift"
    GENERAL = "any invertible matrix"
    DIAGONAL = "a scale other than zero for each channel, and a permutation"
    POSITIVE = "a positive scale for each channel, and a permutation"
    PER_GROUP = "one positive scale for each group of channels"
    ORTHOGONAL = "any orthogonal matrix"
    ROTATION = "orthogonal matrices that keep the vector of ones"
    ROTARY = "one complex factor for each pair of channels that turns together"
    PERMUTATION = "a permutation"
    IDENTITY = "nothing"

    def __le__(self, other: Transform) -> bool:
        """Whether every transform of this class is one of ``other``."""
        return self is other or other in LARGER[self]

    def __lt__(self, other: Transform) -> bool:
        """Whether this class is smaller than ``other`` and contained in it."""
        return self is not other and self <= other


_T = Transform

LARGER: dict[Transform, frozenset[Transform]] = {
    _T.AFFINE: frozenset(),
    _T.GENERAL: frozenset({_T.AFFINE}),
    _T.DIAGONAL: frozenset({_T.AFFINE, _T.GENERAL}),
    _T.POSITIVE: frozenset({_T.AFFINE, _T.GENERAL, _T.DIAGONAL}),
    _T.PER_GROUP: frozenset({_T.AFFINE, _T.GENERAL, _T.DIAGONAL, _T.POSITIVE}),
    _T.ORTHOGONAL: frozenset({_T.AFFINE, _T.GENERAL}),
    _T.ROTATION: frozenset({_T.AFFINE, _T.GENERAL, _T.ORTHOGONAL}),
    _T.ROTARY: frozenset({_T.AFFINE, _T.GENERAL}),
    _T.PERMUTATION: frozenset(
        {_T.AFFINE, _T.GENERAL, _T.DIAGONAL, _T.POSITIVE, _T.ORTHOGONAL, _T.ROTATION}
    ),
    _T.IDENTITY: frozenset(set(_T) - {_T.IDENTITY}),
}
"""Class -> the classes that contain it."""


def meet(classes: Iterable[Transform]) -> Transform:
    """The largest class contained in all of ``classes``, ``AFFINE`` if there are none."""
    result = Transform.AFFINE
    for item in classes:
        result = _meet(result, item)
    return result


def _meet(one: Transform, other: Transform) -> Transform:
    common = [item for item in Transform if item <= one and item <= other]
    # Members are listed from the largest to the smallest.
    return common[0]


PASSAGES: dict[Transform, frozenset[str]] = {
    # Linear maps that treat all channels alike. A pad or a convolution with zeros is no affine one.
    Transform.AFFINE: frozenset({
        "Identity", "Dropout", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Expand",
        "Tile", "Slice", "Split", "Gather", "Concat", "AveragePool", "GlobalAveragePool", "Resize",
        "Upsample", "ReduceMean", "Cast", "Attention",
    }),
    Transform.GENERAL: frozenset({
        "Add", "Sub", "Sum", "Neg", "Mean", "ReduceSum", "Pad", "Where", "MatMul",
    }),
    Transform.POSITIVE: frozenset({
        "Relu", "LeakyRelu", "PRelu", "MaxPool", "GlobalMaxPool", "Max", "Min", "Abs", "ReduceMax",
        "ReduceMin", "InstanceNormalization",
    }),
    Transform.DIAGONAL: frozenset({"Mul", "Div", "BatchNormalization"}),
    Transform.PER_GROUP: frozenset({"GroupNormalization"}),
    Transform.ROTARY: frozenset({"RotaryEmbedding"}),
    Transform.PERMUTATION: frozenset({
        "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Gelu", "Swish", "Tanh", "Elu", "Selu",
        "Celu", "Softplus", "Softsign", "Mish", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Pow",
        "Sin", "Cos", "Floor", "Ceil", "Round", "Sign", "ThresholdedRelu", "Softmax", "LogSoftmax",
        "LpPool", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd", "ReduceLogSum",
        "ReduceLogSumExp", "LayerNormalization", "RMSNormalization", "QuantizeLinear",
        "DequantizeLinear", "Sinh", "Cosh", "Asinh", "Acosh", "Atan", "Tan", "Asin", "Acos",
        "Atanh", "Shrink", "IsNaN", "IsInf",
    }),
}  # fmt: skip
"""Class -> the operators that an axis passes through under it, where nothing narrows it further.

What is not listed allows nothing. LayerNormalization and RMSNormalization whose scale and shift
have been folded into their readers allow more: see ``NORMS``.
"""

NORMS: dict[str, Transform] = {
    "LayerNormalization": Transform.ROTATION,
    "RMSNormalization": Transform.ORTHOGONAL,
}
"""What passes through a normalization over all channels without scale and shift."""

OF: dict[str, Transform] = {name: kind for kind, names in PASSAGES.items() for name in names}
"""Operator -> class, the same table the other way round."""


def passage(op_type: str) -> Transform:
    """What an axis that passes through ``op_type`` allows at most."""
    return OF.get(op_type, Transform.IDENTITY)
