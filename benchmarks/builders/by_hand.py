"""Small graphs written down in ONNX's text form: what no exporter at hand produces, but others do.

Weights are graph inputs of the text that get drawn values, so that the text stays short.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

SEED = 7
_WEIGHT = "w_"
"""Prefix of graph inputs that become initializers with drawn values."""

DETECTOR = """
<ir_version: 8, opset_import: ["" : 17]>
detector (float[1,3,h,w] image, float[16,3,3,3] w_stem, float[24,16,3,3] w_mid,
          float[12,24,1,1] w_head, float[12] w_bias)
    => (float[n,4] boxes, float[n] scores, int64[n] classes)
<int64[1] most = {20}, float[1] overlap = {0.45}, float[1] least = {0.3},
 int64[3] flat = {1,12,-1}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2},
 int64[1] three = {3}, int64[2] parts = {4,8}>
{
    a = Conv<pads=[1,1,1,1], strides=[2,2]>(image, w_stem)
    b = Relu(a)
    c = Conv<pads=[1,1,1,1], strides=[2,2]>(b, w_mid)
    d = LeakyRelu<alpha=0.1>(c)
    raw = Conv(d, w_head, w_bias)
    cells = Reshape(raw, flat)
    corner, logit = Split<axis=1>(cells, parts)
    positive = Softplus(corner)
    scaled = Transpose<perm=[0,2,1]>(positive)
    chance = Sigmoid(logit)
    kept = NonMaxSuppression<center_point_box=1>(scaled, chance, most, overlap, least)
    label_ = Slice(kept, one, two, one)
    row_ = Slice(kept, two, three, one)
    classes = Squeeze(label_, one)
    row = Squeeze(row_, one)
    all_boxes = Squeeze(scaled, zero)
    boxes = Gather<axis=0>(all_boxes, row)
    places = Concat<axis=1>(label_, row_)
    table = Squeeze(chance, zero)
    scores = GatherND(table, places)
}
"""

LOOP = """
<ir_version: 8, opset_import: ["" : 17]>
accumulate (float[n,8] x, float[8,8] w_step) => (float[n,8] last, float[5,n,8] history)
<int64 trips = {5}, bool go = {1}, float half = {0.5}>
{
    last, history = Loop(trips, go, x) <body = body
        (int64 i, bool on, float[n,8] state) => (bool still, float[n,8] next, float[n,8] kept) {
            still = Identity(on)
            product = MatMul(state, w_step)
            bent = Tanh(product)
            halved = Mul(state, half)
            next = Add(bent, halved)
            step = Cast<to=1>(i)
            kept = Add(next, step)
        }>
}
"""

BRANCH = """
<ir_version: 8, opset_import: ["" : 17]>
choose (float[n,8] x, bool flag, float[8,8] w_a, float[8,4] w_b, float[4,8] w_c)
    => (float[n,8] y)
{
    scaled = MatMul(x, w_a)
    chosen = If(flag) <
        then_branch = yes () => (float[n,8] p) {
            low = MatMul(scaled, w_b)
            bent = Relu(low)
            p = MatMul(bent, w_c)
        },
        else_branch = no () => (float[n,8] q) { q = Neg(scaled) }>
    y = Add(chosen, x)
}
"""

SCAN = """
<ir_version: 8, opset_import: ["" : 17]>
running (float[t,6] steps, float[6] start, float[6,6] w_mix) => (float[6] last, float[t,6] sums)
{
    last, sums = Scan(start, steps) <num_scan_inputs = 1, body = body
        (float[6] state, float[6] step) => (float[6] next, float[6] out) {
            mixed = MatMul(state, w_mix)
            next = Add(mixed, step)
            out = Sigmoid(next)
        }>
}
"""

FUNCTIONS = """
<ir_version: 8, opset_import: ["" : 17, "custom" : 1]>
layered (float[n,16] x, float[16,16] w_a, float[16] w_b, float[16,16] w_c, float[16] w_d)
    => (float[n,16] y)
{
    a = custom.Dense<slope=0.2>(x, w_a, w_b)
    b = custom.Dense<slope=0.05>(a, w_c, w_d)
    y = Add(a, b)
}
<domain: "custom", opset_import: ["" : 17]>
Dense <slope> (v, weight, bias) => (r)
{
    p = MatMul(v, weight)
    s = Add(p, bias)
    r = LeakyRelu<alpha: float = @slope>(s)
}
"""

EDGES = """
<ir_version: 8, opset_import: ["" : 17]>
edges (float[n,6] x, int64[n] index, bool[n,6] keep, float[6] w_scale)
    => (float[n,6] x, float[n,6] masked, float[n,6] same, float total, bool any, int64[n] order,
        float[2,2] constant)
<float minus = {-1.0}, float[2,2] table = {1.0, 2.0, 3.0, 4.0}, int64[1] rows = {0},
 int64[2] axes = {0,1}, float zero = {0.0}>
{
    scaled = Mul(x, w_scale)
    masked = Where(keep, scaled, minus)
    same = Identity(masked)
    total = ReduceSum<keepdims=0>(masked, axes)
    any = Greater(total, zero)
    limit = Shape(x)
    count = Gather<axis=0>(limit, rows)
    order = Mod(index, count)
    constant = Identity(table)
}
"""

SEQUENCE = """
<ir_version: 8, opset_import: ["" : 17]>
pieces (float[n,12] x, float[4,5] w_a) => (float[n,5] y)
<int64 first = {0}, int64 last = {2}, int64[3] sizes = {4,4,4}>
{
    parts = SplitToSequence<axis=1>(x, sizes)
    left = SequenceAt(parts, first)
    right = SequenceAt(parts, last)
    both = Mul(left, right)
    y = MatMul(both, w_a)
}
"""

QUANTIZED = """
<ir_version: 8, opset_import: ["" : 17]>
quantized (float[n,3,16,16] x, float[8,3,3,3] w_kernel, float[8] w_bias, float[8,10] w_head)
    => (float[n,10] y)
<float in_scale = {0.03}, uint8 in_zero = {128}, float w_s = {0.01}, int8 w_z = {0},
 float mid_scale = {0.05}, uint8 mid_zero = {0}>
{
    xq = QuantizeLinear(x, in_scale, in_zero)
    xd = DequantizeLinear(xq, in_scale, in_zero)
    kq = QuantizeLinear(w_kernel, w_s, w_z)
    kd = DequantizeLinear(kq, w_s, w_z)
    c = Conv<pads=[1,1,1,1]>(xd, kd, w_bias)
    r = Relu(c)
    rq = QuantizeLinear(r, mid_scale, mid_zero)
    rd = DequantizeLinear(rq, mid_scale, mid_zero)
    p = GlobalAveragePool(rd)
    f = Flatten(p)
    y = MatMul(f, w_head)
}
"""

CHANNELS_LAST = """
<ir_version: 7, opset_import: ["" : 13]>
channels_last (float[n,33,33,3] serving_input, float[12,3,3,3] w_1, float[12,1,3,3] w_2,
               float[24,12,1,1] w_3, float[24] w_bias, float[24,5] w_head)
    => (float[n,5] probabilities)
<float low = {0.0}, float high = {6.0}, int64[8] pads = {0,0,0,0,0,0,1,1}, int64[1] zero = {0},
 int64[1] one = {1}, int64[1] width = {24}>
{
    to_first = Transpose<perm=[0,3,1,2]>(serving_input)
    conv1 = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(to_first, w_1)
    nhwc1 = Transpose<perm=[0,2,3,1]>(conv1)
    relu1 = Clip(nhwc1, low, high)
    nchw2 = Transpose<perm=[0,3,1,2]>(relu1)
    padded = Pad<mode="constant">(nchw2, pads)
    conv2 = Conv<auto_pad="VALID", group=12, strides=[2,2]>(padded, w_2)
    nhwc2 = Transpose<perm=[0,2,3,1]>(conv2)
    relu2 = Clip(nhwc2, low, high)
    nchw3 = Transpose<perm=[0,3,1,2]>(relu2)
    conv3 = Conv<auto_pad="SAME_LOWER">(nchw3, w_3)
    nhwc3 = Transpose<perm=[0,2,3,1]>(conv3)
    biased = Add(nhwc3, w_bias)
    gate = Sigmoid(biased)
    swish = Mul(biased, gate)
    pooled = ReduceMean<axes=[1,2], keepdims=0>(swish)
    size = Shape(pooled)
    batch = Slice(size, zero, one, zero)
    target = Concat<axis=0>(batch, width)
    flat = Reshape(pooled, target)
    logits = MatMul(flat, w_head)
    probabilities = Softmax<axis=-1>(logits)
}
"""

REGIONS_OF_INTEREST = """
<ir_version: 8, opset_import: ["" : 17]>
pooled (float[1,3,48,48] image, float[k,4] boxes, float[8,3,3,3] w_stem, float[128,6] w_head)
    => (float[k,6] scores, int64[2,m] hits)
<int64[1] zeros = {0}, float limit = {0.2}>
{
    stem = Conv<pads=[1,1,1,1], strides=[2,2]>(image, w_stem)
    features = Relu(stem)
    size = Shape(boxes)
    index = Gather<axis=0>(size, zeros)
    batch = ConstantOfShape<value = int64[1] {0}>(index)
    regions = RoiAlign<output_height=4, output_width=4, sampling_ratio=2, spatial_scale=0.5>
        (features, boxes, batch)
    flat = Flatten(regions)
    logits = MatMul(flat, w_head)
    scores = Softmax(logits)
    high = Greater(scores, limit)
    hits = NonZero(high)
}
"""

INTEGERS = """
<ir_version: 8, opset_import: ["" : 17]>
integers (float[n,32] x, float[32,16] w_a, float[16,8] w_b) => (float[n,8] y)
<float a_scale = {0.008}, int8 a_zero = {0}>
{
    xq, xs, xz = DynamicQuantizeLinear(x)
    aq = QuantizeLinear(w_a, a_scale, a_zero)
    ai = MatMulInteger(xq, aq, xz)
    af = Cast<to=1>(ai)
    scale = Mul(xs, a_scale)
    a = Mul(af, scale)
    r = Relu(a)
    y = MatMul(r, w_b)
}
"""

_TEXTS = {
    "branch": BRANCH,
    "channels-last": CHANNELS_LAST,
    "detector": DETECTOR,
    "edges": EDGES,
    "functions": FUNCTIONS,
    "integers": INTEGERS,
    "loop": LOOP,
    "quantized": QUANTIZED,
    "regions-of-interest": REGIONS_OF_INTEREST,
    "scan": SCAN,
    "sequence": SEQUENCE,
}


def from_text(path: Path, *, name: str) -> None:
    """Write the model `name`, a key of `_TEXTS`, with drawn weights."""
    model = parser.parse_model(_TEXTS[name])
    _draw_weights(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _draw_weights(model: ModelProto) -> None:
    """Turn graph inputs whose names begin with `w_` into initializers of unit gain."""
    generator = np.random.default_rng(SEED)
    graph = model.graph
    for entry in [one for one in graph.input if one.name.startswith(_WEIGHT)]:
        shape = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        gain = np.sqrt(np.prod(shape[1:])) if len(shape) > 2 else np.sqrt(shape[0])
        values = (generator.normal(size=shape) / gain).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(values, entry.name))
        graph.input.remove(entry)


def relic(path: Path) -> None:
    """Write a network as exporters of 2018 did, at opset 7 and IR version 3.

    Every initializer is also a graph input, nodes have no names, values have names with spaces and
    slashes, BatchNormalization keeps its `spatial` attribute, Upsample takes its scales as an
    attribute, broadcasting is spelled out by Unsqueeze, Dropout has a mask that nothing reads.
    """
    generator = np.random.default_rng(SEED)
    weights = {
        "conv/W:0": generator.normal(scale=0.2, size=(8, 3, 3, 3)),
        "bn scale": generator.uniform(0.5, 1.5, size=8),
        "bn bias": generator.normal(size=8),
        "bn mean": generator.normal(scale=0.1, size=8),
        "bn var": generator.uniform(0.5, 1.5, size=8),
        "offset": generator.normal(size=8),
        "fc/W:0": generator.normal(scale=0.02, size=(10, 8 * 8 * 8)),
        "fc/b:0": generator.normal(size=10),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["data 0", "conv/W:0"], ["1"], pads=[1] * 4, strides=[2, 2]),
        node("BatchNormalization", ["1", *_BATCH_NORM], ["2"], epsilon=1e-3, spatial=1),
        node("Unsqueeze", ["offset"], ["3"], axes=[1, 2]),
        node("Add", ["2", "3"], ["4"]),
        node("LRN", ["4"], ["5"], size=3, alpha=1e-3),
        node("Upsample", ["5"], ["6"], mode="nearest", scales=[1.0, 1.0, 2.0, 2.0]),
        node("MaxPool", ["6"], ["7"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Dropout", ["7"], ["8", "mask nobody reads"], ratio=0.5),
        node("Flatten", ["8"], ["9"]),
        node("Gemm", ["9", "fc/W:0", "fc/b:0"], ["10"], transB=1),
        node("Softmax", ["10"], ["prob"], axis=1),
    ]
    info = helper.make_tensor_value_info
    shapes = {name: list(value.shape) for name, value in weights.items()}
    graph = helper.make_graph(
        nodes,
        "relic",
        [
            info("data 0", TensorProto.FLOAT, [1, 3, 16, 16]),
            *(info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()),
        ],
        [info("prob", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(value.astype(np.float32), k) for k, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)], ir_version=3)
    onnx.checker.check_model(model)
    onnx.save(model, path)


_BATCH_NORM = ("bn scale", "bn bias", "bn mean", "bn var")
