"""Models of one operator each, at the sizes of real models; no products of weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from benchmarks.inputs import Array, Shape

OPSET = 21
MAPS: Shape = (1, 64, 56, 56)
"""Activations of a convolutional body."""
ROWS: Shape = (1, 197, 768)
"""Activations of a transformer's body."""


@dataclass(frozen=True, slots=True)
class OperatorCase:
    """A model of one operator, and what it is fed with."""

    name: str
    nodes: tuple[NodeProto, ...]
    feeds: dict[str, Array]
    constants: dict[str, Array] = field(default_factory=dict)
    outputs: tuple[str, ...] = ("y",)

    def model(self) -> ModelProto:
        """The model, with inputs of fixed shapes; those of outputs are left to inference."""
        graph = helper.make_graph(
            self.nodes, "operator",
            [_declared(name, array) for name, array in self.feeds.items()],
            [helper.make_value_info(name, helper.make_tensor_type_proto(self._dtype(name), None))
             for name in self.outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )  # fmt: skip
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=10)

    def _dtype(self, output: str) -> int:
        """Element type of an output: indices of the operators that find places."""
        (node,) = [node for node in self.nodes if output in node.output]
        places = node.op_type.startswith("Arg") or list(node.output).index(output) == 1
        return TensorProto.INT64 if places and node.op_type != "Split" else TensorProto.FLOAT


def operator_cases() -> Iterator[OperatorCase]:
    """All cases, by family."""
    yield from _reductions()
    yield from _normalizations()
    yield from _elementwise()
    yield from _windows()
    yield from _movements()
    yield from _searches()
    yield from _attentions()
    yield from _recurrent()


def _declared(name: str, array: Array) -> Any:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, kind, array.shape)


def _random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _case(
    op_type: str,
    shape: Shape,
    note: str = "",
    *,
    constants: Sequence[Array | None] = (),
    more: dict[str, Array] | None = None,
    outputs: int = 1,
    positive: bool = False,
    **attributes: Any,
) -> OperatorCase:
    """One node that reads `x`, then the other inputs of `more`, then constants."""
    x = _random(*shape)
    feeds = {"x": np.abs(x) + np.float32(0.1) if positive else x, **(more or {})}
    held = {f"c{i}": array for i, array in enumerate(constants) if array is not None}
    names = [f"c{i}" if array is not None else "" for i, array in enumerate(constants)]
    results = ("y",) if outputs == 1 else tuple(f"y{i}" for i in range(outputs))
    node = helper.make_node(op_type, [*feeds, *names], results, **attributes)
    label = f"{op_type} {'x'.join(map(str, shape))}{' ' if note else ''}{note}"
    return OperatorCase(label, (node,), feeds, held, results)


def _reductions() -> Iterator[OperatorCase]:
    for axes in ([1], [2, 3], [3], [2], [0, 2, 3], [1, 2, 3], [1, 3]):
        for kind in ("ReduceMean", "ReduceMax"):
            yield _case(kind, (2, 96, 64, 48), f"axes {axes}", constants=[np.array(axes)])
    for axes in ([-1], [1], [0]):
        yield _case("ReduceSum", (64, 197, 192), f"axes {axes}", constants=[np.array(axes)])
    yield _case("ReduceL2", ROWS, "axes [-1]", constants=[np.array([-1])])
    yield _case("ReduceLogSumExp", ROWS, "axes [-1]", constants=[np.array([-1])])
    yield _case("ReduceProd", (64, 1000), "axes [-1]", constants=[np.array([-1])])


def _normalizations() -> Iterator[OperatorCase]:
    for shape in ((12, 128, 128), (1, 8, 777, 777), (64, 1000), (1, 40, 6625)):
        yield _case("Softmax", shape, "axis -1", axis=-1)
    for shape, axis in (((1, 21, 128, 128), 1), ((8, 32, 100, 60), 2), ((64, 197, 16), 1)):
        yield _case("Softmax", shape, f"axis {axis}", axis=axis)
    yield _case("LogSoftmax", (64, 1000), "axis -1", axis=-1)
    yield _case("LogSoftmax", (1, 21, 128, 128), "axis 1", axis=1)
    rows: tuple[Shape, ...] = (ROWS, (1, 128, 384), (8, 64, 97), (3136, 96), (1, 1, 4096))
    for row in rows:
        scales = [_random(row[-1], seed=1), _random(row[-1], seed=2)]
        yield _case("LayerNormalization", row, constants=scales, axis=-1)
    for shape, groups in (((1, 64, 56, 56), 32), ((2, 320, 32, 32), 32), ((1, 128, 17, 19), 8)):
        scales = [_random(shape[1], seed=1), _random(shape[1], seed=2)]
        yield _case("GroupNormalization", shape, f"groups {groups}", constants=scales,
                    num_groups=groups)  # fmt: skip
    maps: tuple[Shape, ...] = (MAPS, (2, 48, 33, 35))
    for one in maps:
        scales = [_random(one[1], seed=1), _random(one[1], seed=2)]
        yield _case("InstanceNormalization", one, constants=scales)
    yield _case("LpNormalization", ROWS, axis=-1, p=2)
    yield _case("BatchNormalization", MAPS, constants=[
        _random(64, seed=1), _random(64, seed=2), _random(64, seed=3),
        np.abs(_random(64, seed=4)) + np.float32(0.5)])  # fmt: skip
    yield _case("LRN", (1, 64, 28, 28), size=5)


def _elementwise() -> Iterator[OperatorCase]:
    for name in ("Relu", "Sigmoid", "Tanh", "Erf", "Exp", "HardSwish", "HardSigmoid", "Mish",
                 "Softplus", "Elu", "LeakyRelu", "Gelu", "Neg", "Floor", "Sin", "Cos",
                 "Round", "Abs", "Sign", "Softsign", "Selu", "Atan"):  # fmt: skip
        yield _case(name, ROWS)
    yield _case("Gelu", ROWS, "tanh", approximate="tanh")
    for name in ("Log", "Sqrt", "Reciprocal"):
        yield _case(name, ROWS, positive=True)
    for exponent in (2.0, 3.0, 0.5, 1.7):
        power = np.array(exponent, np.float32)
        yield _case("Pow", ROWS, f"{exponent}", constants=[power], positive=True)
    low, high = np.array(-1, np.float32), np.array(1, np.float32)
    yield _case("Clip", ROWS, constants=[low, high])
    for name in ("Add", "Mul", "Div", "Max", "Pow"):
        positive = np.abs(_random(*ROWS, seed=1)) + np.float32(0.5)
        yield _case(name, ROWS, "same shape", more={"b": positive}, positive=True)
    for note, other in (("row", (768,)), ("column", (1, 197, 1))):
        yield _case("Mul", ROWS, note, more={"b": _random(*other, seed=1)})
    yield _case("Mul", MAPS, "channel", more={"b": _random(1, 64, 1, 1, seed=1)})
    condition = OperatorCase(
        "Where 1x197x768", (helper.make_node("Where", ["c", "x", "b"], ["y"]),),
        {"c": _random(*ROWS) > 0, "x": _random(*ROWS, seed=1), "b": _random(*ROWS, seed=2)},
    )  # fmt: skip
    yield condition
    yield _case("PRelu", MAPS, constants=[_random(64, 1, 1, seed=1)])


def _windows() -> Iterator[OperatorCase]:
    for kind in ("MaxPool", "AveragePool"):
        for kernel, stride, pad in ((2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 1, 2), (7, 7, 0)):
            yield _case(kind, MAPS, f"{kernel}x{kernel}/{stride}", kernel_shape=[kernel] * 2,
                        strides=[stride] * 2, pads=[pad] * 4)  # fmt: skip
        yield _case(kind, (1, 64, 3000), "3/2", kernel_shape=[3], strides=[2])
    yield _case("MaxPool", (1, 3, 224, 224), "3x3/2", kernel_shape=[3, 3], strides=[2, 2])
    yield _case("GlobalAveragePool", (1, 1280, 7, 7))
    yield _case("GlobalAveragePool", MAPS)
    yield _case("GlobalMaxPool", MAPS)
    double = np.array([1, 1, 2, 2], np.float32)
    for mode, place in (("nearest", "asymmetric"), ("linear", "half_pixel"),
                        ("linear", "align_corners"), ("cubic", "half_pixel")):  # fmt: skip
        rounding: dict[str, Any] = {"nearest_mode": "floor"} if mode == "nearest" else {}
        yield _case("Resize", MAPS, f"{mode} {place} x2", constants=[None, double], mode=mode,
                    coordinate_transformation_mode=place, **rounding)  # fmt: skip
    for mode in ("nearest", "linear"):
        sizes = np.array([1, 32, 97, 131])
        yield _case("Resize", (1, 32, 40, 60), f"{mode} odd", mode=mode,
                    constants=[None, None, sizes])  # fmt: skip


def _movements() -> Iterator[OperatorCase]:
    for shape, order in (
        ((1, 64, 56, 56), (0, 2, 3, 1)),
        ((1, 56, 56, 64), (0, 3, 1, 2)),
        ((1, 3, 224, 224), (0, 2, 3, 1)),
        ((1, 224, 224, 3), (0, 3, 1, 2)),
        ((512, 768), (1, 0)),
        ((197, 333), (1, 0)),
        ((1, 197, 12, 64), (0, 2, 1, 3)),
        ((1, 12, 197, 64), (0, 2, 1, 3)),
        ((1, 12, 197, 64), (0, 1, 3, 2)),
        ((8, 32, 40, 24), (3, 2, 1, 0)),
        ((4, 7, 8, 7, 8, 32), (0, 1, 3, 2, 4, 5)),
        ((64, 49, 3, 3, 32), (2, 0, 3, 1, 4)),
        ((100, 5, 100), (2, 1, 0)),
        ((1, 17, 4, 1000), (0, 1, 3, 2)),
    ):
        yield _case("Transpose", shape, f"{list(order)}", perm=order)
    for axis in (0, 1, 2, 3):
        others = {f"x{i}": _random(2, 32, 40, 48, seed=i) for i in (1, 2)}
        yield _case("Concat", (2, 32, 40, 48), f"axis {axis}", more=others, axis=axis)
        yield _case("Split", (2, 32, 40, 48), f"axis {axis}", outputs=2, axis=axis, num_outputs=2)
    for axis, count in ((0, 128), (1, 100), (2, 50), (3, 37)):
        indices = np.random.default_rng(0).integers(0, 48, count if axis else 2 * 64)
        indices %= (1000, 32, 40, 48)[axis]
        shape = (1000, 384) if axis == 0 else (2, 32, 40, 48)
        yield _case("Gather", shape, f"axis {axis}", more={"i": indices}, axis=axis)
    places = np.random.default_rng(0).integers(0, 197, (1, 197, 768))
    yield _case("GatherElements", ROWS, "axis 1", more={"i": places}, axis=1)
    for mode in ("constant", "reflect", "edge"):
        pads = np.array([0, 0, 3, 3, 0, 0, 3, 3])
        yield _case("Pad", MAPS, mode, constants=[pads], mode=mode)
    starts, ends = np.array([3, 5]), np.array([50, 53])
    yield _case("Slice", MAPS, "inner", constants=[starts, ends, np.array([2, 3])])
    far, two = np.array([1 << 30, 1 << 30]), np.array([2, 2])
    yield _case("Slice", MAPS, "step 2", constants=[np.array([0, 0]), far, np.array([2, 3]), two])
    yield _case("Expand", (1, 64, 1, 56), constants=[np.array([8, 64, 56, 56])])
    yield _case("Tile", (1, 64, 28, 28), constants=[np.array([2, 1, 2, 2])])
    yield _case("DepthToSpace", (1, 256, 28, 28), blocksize=2)
    yield _case("SpaceToDepth", MAPS, blocksize=2)
    yield _case("Trilu", (12, 512, 512), upper=0)


def _searches() -> Iterator[OperatorCase]:
    for axis in (0, 1, -1):
        yield _case("ArgMax", (64, 100, 197), f"axis {axis}", axis=axis, keepdims=0)
        yield _case("CumSum", (64, 100, 197), f"axis {axis}", constants=[np.array(axis)])
    yield _case("ArgMax", (1, 21, 128, 128), "axis 1", axis=1)
    for shape, k in (((1, 8400), 300), ((64, 1000), 5), ((1, 100000), 10)):
        yield _case("TopK", shape, f"k {k}", constants=[np.array([k])], outputs=2)


def _attentions() -> Iterator[OperatorCase]:
    sizes = ((1, 12, 8, 64), (1, 12, 16, 32), (1, 12, 128, 32), (1, 3, 197, 64), (8, 12, 64, 32),
             (1, 8, 512, 40), (1, 8, 512, 128), (1, 6, 1024, 64), (1, 4, 2048, 64), (64, 3, 49, 32),
             (1, 2, 333, 80))  # fmt: skip
    for batch, heads, length, width in sizes:
        yield _attention(batch, heads, length, length, width)
    yield _attention(1, 12, 1, 512, 64)
    yield _attention(1, 8, 64, 1500, 64)
    for length in (128, 1024):
        yield _attention(1, 8, length, length, 64, mask="causal")
    yield _attention(4, 12, 128, 128, 32, mask="padding")
    yield _attention(64, 3, 49, 49, 32, mask="bias")


def _attention(
    batch: int, heads: int, queries: int, keys: int, width: int, mask: str = ""
) -> OperatorCase:
    """Attention from merged heads to merged heads, as exporters write it."""
    lengths = {"q": queries, "k": keys, "v": keys}
    feeds = {
        name: _random(batch, length, heads * width, seed=seed)
        for seed, (name, length) in enumerate(lengths.items())
    }
    constants: dict[str, Array] = {"scale": np.array(width**-0.5, np.float32)}
    nodes = []
    for name in feeds:
        constants[f"{name}_shape"] = np.array([batch, -1, heads, width])
        order = (0, 2, 3, 1) if name == "k" else (0, 2, 1, 3)
        split, turned = f"{name}_heads", f"{name}_t"
        nodes.append(helper.make_node("Reshape", [name, f"{name}_shape"], [split]))
        nodes.append(helper.make_node("Transpose", [split], [turned], perm=order))
    nodes += [helper.make_node("MatMul", ["q_t", "k_t"], ["products"]),
              helper.make_node("Mul", ["products", "scale"], ["scores"])]  # fmt: skip
    scores = "scores"
    if mask:
        scores = "masked"
        nodes.append(helper.make_node("Add", ["scores", "mask"], [scores]))
    if mask == "causal":
        constants["mask"] = np.triu(np.full((1, 1, queries, keys), -1e9, np.float32), 1)
    elif mask == "padding":
        hidden = np.arange(keys) >= np.array([[keys], [keys // 2]] * (batch // 2))
        feeds["mask"] = np.where(hidden, np.float32(-1e9), np.float32(0)).reshape(batch, 1, 1, keys)
    elif mask == "bias":
        constants["mask"] = _random(1, heads, queries, keys, seed=3)
    constants["merged"] = np.array([batch, queries, heads * width])
    nodes += [helper.make_node("Softmax", [scores], ["weights"], axis=-1),
              helper.make_node("MatMul", ["weights", "v_t"], ["mixed"]),
              helper.make_node("Transpose", ["mixed"], ["split"], perm=(0, 2, 1, 3)),
              helper.make_node("Reshape", ["split", "merged"], ["y"])]  # fmt: skip
    label = f"attention {batch}x{heads} {queries}x{keys}x{width} {mask}".rstrip()
    return OperatorCase(label, tuple(nodes), feeds, constants)


def _recurrent() -> Iterator[OperatorCase]:
    sizes = ((40, 1, 128, 128, "forward"), (40, 1, 512, 256, "bidirectional"),
             (20, 16, 64, 96, "forward"))  # fmt: skip
    for kind, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        for steps, batch, width, hidden, way in sizes:
            count = 2 if way == "bidirectional" else 1
            scale = np.float32(hidden**-0.5)
            constants = [_random(count, gates * hidden, width, seed=1) * scale,
                         _random(count, gates * hidden, hidden, seed=2) * scale,
                         _random(count, 2 * gates * hidden, seed=3) * scale]  # fmt: skip
            after: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
            yield _case(kind, (steps, batch, width), f"hidden {hidden} {way}", constants=constants,
                        hidden_size=hidden, direction=way, **after)  # fmt: skip
