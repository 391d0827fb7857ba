"""Small models, compiled and compared with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.backends.lowering.lower import Lowered, lower
from burnish.ir import Graph
from burnish.oracle import Oracle
from burnish.pipeline import PassContext, run_pipeline
from burnish.selection import Selection, choose
from burnish.target import Target, resolve

TARGET: Target = resolve("cpu", 1)


def model(text: str, opset: int = 21) -> onnx.ModelProto:
    """A model from the body of ONNX's text format."""
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]>\n{text}')


def prepared(proto: onnx.ModelProto) -> Graph:
    """What is compiled: the graph after the passes."""
    steps = choose(Selection(None, None, (), None, {}, None, compiling=True))
    graph, _ = run_pipeline(Graph.from_onnx(proto), steps, PassContext(TARGET), verify="off")
    return graph


def lowered(text: str, opset: int = 21) -> Lowered:
    """Kernels and calls of a model."""
    return lower(prepared(model(text, opset)), TARGET)


def check(proto: onnx.ModelProto, tolerance: float = 1e-5, **inputs: np.ndarray) -> list[str]:
    """Compile and run a model; assert that it agrees with ONNX Runtime. Returns why nodes were
    refused a kernel."""
    return check_all(proto, [inputs], tolerance)


def check_all(
    proto: onnx.ModelProto, feeds: Sequence[Mapping[str, np.ndarray]], tolerance: float = 1e-5
) -> list[str]:
    """The same for several inputs, one after the other."""
    oracle = Oracle(proto, threads=1)
    low, program = compile_program(prepared(proto), TARGET)
    artifact = build_artifact([program], TARGET, [], Provenance())
    for inputs in feeds:
        _compare(oracle.run(inputs), artifact.run(inputs), tolerance)
    return sorted(set(low.refusals.values()))


def _compare(
    expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], tolerance: float
) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        finite = np.abs(value[np.isfinite(value)]) if value.dtype.kind == "f" else np.zeros(0)
        scale = float(finite.max()) if finite.size else 1.0
        np.testing.assert_allclose(
            found[name], value, rtol=tolerance, atol=tolerance * scale, err_msg=name
        )


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal numbers, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
