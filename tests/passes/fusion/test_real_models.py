"""What is recognised in exported models that come with installed packages."""

from __future__ import annotations

from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from burnish.ir import Graph
from burnish.ir.clone import clone
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.oracle import Oracle, compare, random_inputs
from burnish.passes.presets import preset
from burnish.pipeline import PassContext, run_pass
from burnish.target import resolve

OCR = "rapidocr_onnxruntime"
MODELS: dict[str, tuple[str, str, dict[str, tuple[int, ...]], dict[str, int]]] = {
    "recognizer": (
        OCR, "models/ch_PP-OCRv4_rec_infer.onnx", {"x": (1, 3, 48, 96)},
        # From paddle: attention with the scale on the queries, LayerNorm and HardSwish spelled out.
        {"LayerNormalization": 5, "Attention": 2, "HardSwish": 28, "Swish": 7,
         "BatchNormalization": 0, "ReduceMean": 0, "Clip": 0, "Pow": 0, "Sqrt": 0, "Div": 0},
    ),
    "detector": (
        OCR, "models/ch_PP-OCRv4_det_infer.onnx", {"x": (1, 3, 64, 96)},
        {"HardSwish": 24, "HardSigmoid": 10, "BatchNormalization": 0, "Clip": 0, "Div": 0},
    ),
    "classifier": (
        OCR, "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", {"x": (1, 3, 48, 192)},
        {"HardSwish": 18, "HardSigmoid": 9, "BatchNormalization": 0, "Clip": 0, "Div": 0},
    ),
    "file types": (
        "magika", "models/standard_v3_3/model.onnx", {"bytes": (1, 2048)},
        # From jax: LayerNorm by sums without their axis, Gelu by tanh, Softmax spelled out.
        {"LayerNormalization": 2, "Gelu": 2, "Softmax": 1, "Tanh": 0, "ReduceSum": 0, "Sqrt": 0,
         "Exp": 0, "Max": 0},
    ),
}  # fmt: skip


def path_of(package: str, file: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0]) / file


@cache
def compiled(name: str) -> Graph:
    """The model after all passes; no test changes it."""
    package, file, shapes, _ = MODELS[name]
    graph = Graph.from_onnx(path_of(package, file))
    for step in preset("compile", shapes=shapes):
        run_pass(graph, step, PassContext(target=resolve("x86-64-v3")))
        verify(graph)
    return graph


@pytest.mark.parametrize("name", MODELS)
def test_everything_is_recognised(name: str) -> None:
    package, file, _, wanted = MODELS[name]
    graph = compiled(name)
    found = Counter(node.op_type for node in graph)
    assert {kind: found[kind] for kind in wanted} == wanted
    feeds = random_inputs(graph)
    assert all(value.static_shape is not None for value in graph.variables())
    reference = Oracle(path_of(package, file), threads=1).run(feeds)
    assert compare(reference, Oracle(graph, threads=1).run(feeds), Numerics.REASSOCIATES)


@pytest.mark.parametrize("name", MODELS)
def test_another_round_changes_nothing(name: str) -> None:
    shapes = MODELS[name][2]
    graph, _ = clone(compiled(name))
    context = PassContext(target=resolve("x86-64-v3"))
    again = [run_pass(graph, step, context) for step in preset("compile", shapes=shapes)]
    assert [report.name for report in again if report.changed] == []
