"""Gates of channels that scale weights, and what must stay a multiplication of the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from burnish.backends.lowering.lower import lower
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.target import BFLOAT16
from tests.backends.lowering.models import TARGET, check, model, normal, prepared

GATE = "p = ReduceMean <keepdims = 1> (x, axes) g = Sigmoid(p)"
"""Of each channel, from all of a map."""


def block(
    body: str,
    map_: Sequence[int] = (1, 20, 9, 8),
    weights: Sequence[int] = (9, 20, 1, 1),
    axes: Sequence[int] = (2, 3),
    outputs: str = "y",
) -> onnx.ModelProto:
    """``body`` of ``x`` and ``z``, each a map, with weights ``w`` and ``v`` and bias ``b``."""
    sizes = ", ".join(map(str, map_))
    every = ", ".join(f"float[{', '.join('abcd'[: len(map_)])}] {name}" for name in outputs.split())
    proto = model(f"g (float[{sizes}] x, float[{sizes}] z) => ({every}) {{ {body} }}")
    arrays = {
        "w": normal(*weights, seed=1), "v": normal(*weights, seed=2),
        "b": normal(weights[0], seed=3), "axes": np.array(axes),
    }  # fmt: skip
    read = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in arrays.items() if name in read
    )
    for output in proto.graph.output:
        output.CopyFrom(helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, None))
    return proto


def kinds(proto: onnx.ModelProto) -> list[str]:
    """What each kernel computes."""
    return [kernel.name.split("_", 1)[1] for kernel in lower(prepared(proto), TARGET).kernels]


def assert_agrees(proto: onnx.ModelProto) -> None:
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    assert check(proto, x=normal(*shape, seed=8), z=normal(*shape, seed=9)) == []


SCALED = {
    "gate last": block(f"{GATE} m = Mul(x, g) y = Conv(m, w)"),
    "gate first": block(f"{GATE} m = Mul(g, x) y = Conv(m, w)"),
    "bias and residual": block(
        f"{GATE} m = Mul(x, g) c = Conv(m, w, b) r = Conv(x, v) s = Add(c, r) y = Relu(s)"
    ),
    "strides": block(f"{GATE} m = Mul(x, g) y = Conv <strides = [2, 1]> (m, w)"),
    "one axis": block(
        f"{GATE} m = Mul(x, g) y = Conv(m, w)", (1, 6, 70), (16, 6, 1), (2,)
    ),
    "gate without a batch": block(
        "p = ReduceMean <keepdims = 0> (x, axes) o = Softmax(p) g = Unsqueeze(o, axes)"
        " m = Mul(x, g) y = Conv(m, w)"
    ),
    "gate read elsewhere": block(
        f"{GATE} m = Mul(x, g) y = Conv(m, w) q = Exp(g)", outputs="y q"
    ),
    "map read elsewhere": block(
        f"{GATE} m = Mul(x, g) y = Conv(m, w) q = Exp(x)", outputs="y q"
    ),
    "two gates": block(
        f"{GATE} m = Mul(x, g) c = Conv(m, w) k = Mul(z, g) d = Conv(k, v) y = Add(c, d)"
    ),
}  # fmt: skip
KEPT = {
    "gate of pixels": block(
        "p = ReduceMean <keepdims = 1> (x, axes) g = Sigmoid(p) m = Mul(x, g) y = Conv(m, w)",
        axes=(1,),
    ),
    "gate of lines": block(
        "p = ReduceMean <keepdims = 1> (x, axes) g = Sigmoid(p) m = Mul(x, g) y = Conv(m, w)",
        axes=(3,),
    ),
    "gate of pixels and channels": block("g = Sigmoid(z) m = Mul(x, g) y = Conv(m, w)"),
    "one gate": block(f"{GATE} m = Mul(x, g) y = Conv(m, w)", axes=(1, 2, 3)),
    "sum": block(f"{GATE} m = Add(x, g) y = Conv(m, w)"),
    "quotient": block(f"{GATE} m = Div(x, g) y = Conv(m, w)"),
    "two pictures": block(f"{GATE} m = Mul(x, g) y = Conv(m, w)", (2, 20, 9, 8)),
    "few rows": block(f"{GATE} m = Mul(x, g) y = Conv(m, w)", (1, 20, 3, 3)),
    "window": block(f"{GATE} m = Mul(x, g) y = Conv(m, w)", (1, 4, 9, 8), (9, 4, 3, 1)),
    "padding": block(f"{GATE} m = Mul(x, g) y = Conv <pads = [1, 0, 0, 2]> (m, w, b)"),
    "groups": block(f"{GATE} m = Mul(x, g) y = Conv <group = 2> (m, w)", weights=(8, 10, 1, 1)),
    "computed weights": block(
        f"{GATE} m = Mul(x, g) t = ReduceMax(z) h = Mul(w, t) y = Conv(m, h)"
    ),
    "read twice": block(f"{GATE} m = Mul(x, g) c = Conv(m, w) d = Conv(m, v) y = Sub(c, d)"),
    "also an output": block(f"{GATE} m = Mul(x, g) y = Conv(m, w)", outputs="y m"),
    "activation between": block(f"{GATE} m = Mul(x, g) r = Relu(m) y = Conv(r, w)"),
    "behind an anchor": block(
        f"{GATE} c = Conv(z, v) m = Mul(c, g) y = Conv(m, w)", weights=(20, 20, 1, 1)
    ),
    "part of a Concat": block(
        f"{GATE} h = Exp(z) k = Tanh(z) t = Concat <axis = 1> (h, k) q = Softmax <axis = 1> (t)"
        " m = Mul(h, g) y = Conv(m, w)", (1, 16, 9, 8), (9, 16, 1, 1), outputs="y q",
    ),
    "weights of the map": block(
        f"{GATE} m = Mul(x, g) y = Conv(w, m)", (1, 20, 1, 1), (1, 20, 9, 9)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCALED)
def test_gates_scale_weights(name: str) -> None:
    found = kinds(SCALED[name])
    assert "gate" in found
    assert "mul" not in found
    assert_agrees(SCALED[name])


@pytest.mark.parametrize("name", KEPT)
def test_what_is_no_gate_of_channels_is_multiplied(name: str) -> None:
    assert "gate" not in kinds(KEPT[name])


def test_the_convolution_counts_the_gates_operations() -> None:
    found = lower(prepared(SCALED["gate last"]), TARGET)
    (work,) = [work for work in found.work if "Conv" in work.operators]
    assert work.operators == ("Mul", "Conv")
    assert work.flops == 2 * 9 * 8 * 9 * 20 + 9 * 8 * 20


def test_bfloat16_products_round_what_the_gate_gives() -> None:
    graph = prepared(block(f"{GATE} m = Mul(x, g) y = Conv(m, w)"))
    target = replace(TARGET, features=TARGET.features | {BFLOAT16})
    run_pass(graph, get_pass("narrow-products"), PassContext(target=target))
    assert "gate" not in [kernel.name.split("_", 1)[1] for kernel in lower(graph, target).kernels]
