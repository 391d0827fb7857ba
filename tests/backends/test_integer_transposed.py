"""Transposed convolutions of bytes against ONNX Runtime: every element is to be equal."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest

from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.ir import Graph
from burnish.ir.regions import outline
from burnish.oracle import Oracle
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from tests.backends.test_integers import HOST, drawn


@pytest.mark.parametrize(
    ("attributes", "kernel"),
    [
        ({"strides": [2, 2]}, (2, 2)),
        ({"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]}, (3, 3)),
        ({"strides": [3, 1], "pads": [0, 2, 1, 1], "group": 2}, (2, 4)),
        ({"pads": [1, 1, 0, 2]}, (3, 3)),
        ({"pads": [3, 0, 0, 0], "dilations": [1, 2]}, (3, 2)),
        ({"strides": [2, 3], "dilations": [3, 2], "auto_pad": "SAME_UPPER"}, (3, 3)),
    ],
)
def test_transposed_convolutions(attributes: dict[str, object], kernel: tuple[int, int]) -> None:
    signs = ("int8", "uint8")
    groups = int(attributes.get("group", 1))
    x, w = drawn(signs[0], 1, 6, 5, 4), drawn(signs[1], 6, 10, *kernel)
    x_zero, w_zero = drawn(signs[0], 1, seed=2)[0], drawn(signs[1], 1, seed=3)[0]
    listed = " ".join(f"{name} = {value}," for name, value in attributes.items())
    listed = listed.replace("SAME_UPPER", '"SAME_UPPER"').replace("'", "")
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
        g ({signs[0]}[1, 6, 5, 4] x, {signs[1]}[6, 10, {kernel[0]}, {kernel[1]}] w,
        {signs[0]} a, {signs[1]} b) => (int32[1, {10 * groups}, "h", "w"] y) {{
        xf = Cast<to = 1>(x) af = Cast<to = 1>(a) xs = Sub(xf, af)
        wf = Cast<to = 1>(w) bf = Cast<to = 1>(b) ws = Sub(wf, bf)
        s = ConvTranspose<{listed[:-1]}>(xs, ws) y = Cast<to = 6>(s) }}"""
    model = onnx.parser.parse_model(text)
    del model.graph.input[1:]
    held = {"w": w, "a": x_zero, "b": w_zero}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, k) for k, v in held.items())
    graph = Graph.from_onnx(model)
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    expected = Oracle(graph).run({"x": x})["y"]
    nodes = list(graph)
    (sums,) = (node for node in nodes if node.op_type == "ConvTranspose")
    first, second = (next(n for n in nodes if n.output.name == name) for name in ("xf", "wf"))
    zeros = [next(n for n in nodes if n.output.name == name).inputs[0] for name in ("af", "bf")]
    inputs = [first.inputs[0], second.inputs[0], *zeros]
    outline(graph, nodes, "ConvTransposeInteger", inputs, graph.outputs, sums.attributes)
    lowered, program = compile_program(graph, HOST.for_integers())
    assert not lowered.refusals
    artifact = build_artifact([program], HOST.for_integers(), [], Provenance())
    np.testing.assert_array_equal(artifact.run({"x": x})["y"], expected)
