"""What an input is for: an index, a mask, a count or plain values, told by who reads it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from burnish.ir import DType, OperatorNode, VariableNode


class Role(Enum):
    """Use of an input."""

    VALUES = "values"
    """Any number will do."""
    INDEX = "index"
    """Picks rows of a table: less than its length."""
    MASK = "mask"
    """Zeros and ones."""
    COUNT = "count"
    """A size, a number of repeats, a length, a scale: must be positive and modest."""
    SHAPE = "shape"
    """A shape to bring any number of elements into."""
    AXES = "axes"
    """Axes, each once."""
    START = "start"
    """Where to begin: at nought."""
    FRACTION = "fraction"
    """Between nought and one."""
    DIVISOR = "divisor"
    """An integer that is not nought."""


PASS_ON = frozenset({
    "Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split",
    "Squeeze", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators whose output holds the elements of their first input (of any, for Concat)."""

SETTINGS = {
    "ConstantOfShape": {0: Role.COUNT},
    "CumProd": {1: Role.AXES},
    "CumSum": {1: Role.AXES},
    "DFT": {1: Role.COUNT, 2: Role.AXES},
    "Dropout": {1: Role.FRACTION},
    "Expand": {1: Role.COUNT},
    "GRU": {4: Role.COUNT},
    "LSTM": {4: Role.COUNT},
    "Loop": {0: Role.COUNT},
    "NonMaxSuppression": {2: Role.COUNT, 3: Role.FRACTION, 4: Role.FRACTION},
    "OneHot": {1: Role.COUNT},
    "RNN": {4: Role.COUNT},
    "Range": {0: Role.COUNT, 1: Role.COUNT, 2: Role.COUNT},
    "Reshape": {1: Role.SHAPE},
    "Resize": {2: Role.COUNT, 3: Role.COUNT},
    "ReverseSequence": {1: Role.COUNT},
    "Slice": {1: Role.START, 2: Role.COUNT, 3: Role.AXES, 4: Role.COUNT},
    "Squeeze": {1: Role.AXES},
    "Tile": {1: Role.COUNT},
    "TopK": {1: Role.COUNT},
    "Unsqueeze": {1: Role.AXES},
    "Upsample": {1: Role.COUNT},
}
"""Inputs that say how an operator works rather than what on, by operator and input."""

MASK_LOGIC = frozenset({"And", "Not", "Or", "Xor"})

Reading = tuple[Role, int | None] | None


def role_of(value: VariableNode) -> tuple[Role, int | None]:
    """The role of input ``value`` and, for an index, the smallest table it reads (exclusive limit).

    A use as an index or a setting binds most, then a mask by use or by name; else it is values.
    """
    found: dict[Role, int | None] = {}
    seen: set[VariableNode] = set()
    waiting = [value]
    while waiting:
        current = waiting.pop()
        seen.add(current)
        for use in current.uses:
            if not isinstance(use.user, OperatorNode):
                continue
            for reader in READERS:
                reading = reader(use.user, use.index, value.dtype)
                if reading is not None:
                    role, limit = reading
                    limits = [n for n in (limit, found.get(role)) if n is not None]
                    found[role] = min(limits, default=None)
            waiting += [v for v in _passed_on(use.user, use.index) if v not in seen]
    if found.get(Role.INDEX) is not None:
        return Role.INDEX, found[Role.INDEX]
    for role in Role:
        if role in found and role is not Role.INDEX:
            return role, found[role]
    if "mask" in value.name.lower() and value.dtype is not DType.STRING:
        return Role.MASK, None
    return (Role.INDEX, 1) if Role.INDEX in found else (Role.VALUES, None)


def _passed_on(node: OperatorNode, index: int) -> tuple[VariableNode, ...]:
    if node.is_op(*PASS_ON) and (index == 0 or node.op_type == "Concat"):
        return node.outputs
    return ()


def _table(node: OperatorNode, index: int, dtype: DType) -> Reading:
    """Indices of the Gather family: bounded by the axis that they pick from."""
    if not (index == 1 and node.is_op("Gather", "GatherElements", "GatherND", "Scatter",
                                      "ScatterElements", "ScatterND")):  # fmt: skip
        return None
    table = node.input(0)
    shape = None if table is None else table.shape
    if not shape:
        return Role.INDEX, None
    if node.op_type.endswith("ND"):
        sizes = [size for size in shape if isinstance(size, int)]
        return Role.INDEX, min(sizes) if len(sizes) == len(shape) else None
    axis = node.attribute("axis", 0)
    size = shape[axis] if -len(shape) <= axis < len(shape) else None
    return Role.INDEX, size if isinstance(size, int) else None


def _embedding(node: OperatorNode, index: int, dtype: DType) -> Reading:
    """ONNX Runtime's merged embedding: words, segments and positions with a table each."""
    is_quantized = node.is_op("QEmbedLayerNormalization", domain="com.microsoft")
    if not is_quantized and not node.is_op("EmbedLayerNormalization", domain="com.microsoft"):
        return None
    # Where tables are quantized, their scales follow, and positions are not given.
    tables = {0: 2, 1: 4} if is_quantized else {0: 2, 1: 4, 8: 3}
    if index == 7:
        return Role.MASK, None
    table = node.input(tables[index]) if index in tables else None
    size = table.shape[0] if table is not None and table.shape else None
    return (Role.INDEX, size) if isinstance(size, int) else None


def _one_hot(node: OperatorNode, index: int, dtype: DType) -> Reading:
    depth = node.constant_input(1)
    if index == 0 and node.is_op("OneHot") and depth is not None:
        return Role.INDEX, int(depth.numpy().reshape(-1)[0])
    return None


def _label(node: OperatorNode, index: int, dtype: DType) -> Reading:
    """Labels of a loss, and numbers that are compared with each of a list of classes."""
    if index == 1 and node.is_op("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"):
        scores = node.input(0)
        size = scores.shape[1] if scores is not None and scores.shape else None
        return Role.INDEX, size if isinstance(size, int) else None
    classes = node.constant_input(1 - index) if node.is_op("Equal") else None
    if dtype.is_integer and classes is not None and classes.size > 2:
        values = classes.numpy()
        return (Role.INDEX, int(values.max()) + 1) if values.min() >= 0 else None
    return None


def _divisor(node: OperatorNode, index: int, dtype: DType) -> Reading:
    if dtype.is_integer and index == 1 and node.is_op("Div", "Mod"):
        return Role.DIVISOR, None
    return None


def _setting(node: OperatorNode, index: int, dtype: DType) -> Reading:
    role = SETTINGS.get(node.op_type, {}).get(index) if node.domain == "" else None
    if index == 1 and node.domain == "" and node.op_type.startswith("Reduce"):
        role = Role.AXES
    if role is None:
        return None
    if node.is_op("LSTM", "GRU", "RNN", "ReverseSequence"):
        data = node.input(0)
        axis = node.attribute("time_axis", 0)
        length = data.shape[axis] if data is not None and data.shape else None
        return Role.COUNT, length if isinstance(length, int) else None
    return role, None


def _mask(node: OperatorNode, index: int, dtype: DType) -> Reading:
    """One minus it, a comparison with nought or one, a condition: all say that it is a mask."""
    if dtype is DType.BOOL or not (dtype.is_integer or dtype.is_floating):
        return None
    if node.is_op(*MASK_LOGIC) or (index == 0 and node.is_op("Where")):
        return Role.MASK, None
    if index == 1 and node.is_op("Sub") and _is_scalar(node.input(0), (1,)):
        return Role.MASK, None
    if dtype.is_integer and node.is_op("Equal") and _is_scalar(node.input(1 - index), (0, 1)):
        return Role.MASK, None
    if dtype.is_integer and node.is_op("Cast") and node.attribute("to") == DType.BOOL:
        return Role.MASK, None
    return None


def _is_scalar(value: VariableNode | None, allowed: tuple[int, ...]) -> bool:
    if value is None or value.constant is None or value.constant.size != 1:
        return False
    return value.constant.numpy().reshape(-1)[0] in allowed


READERS: tuple[Callable[[OperatorNode, int, DType], Reading], ...] = (
    _table,
    _embedding,
    _one_hot,
    _label,
    _divisor,
    _setting,
    _mask,
)
"""Each looks at one use of an input and says what role it implies, if any."""
