"""Every model that the onnx package ships loads, saves, and computes what it did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from onnx.backend.test.case.model import collect_testcases as collect_models
from onnx.backend.test.case.node import collect_testcases as collect_nodes

from burnish.errors import UnsupportedModel
from burnish.ir import Graph
from burnish.ir.clone import clone
from burnish.ir.printer import to_text
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.oracle import Oracle, compare, random_inputs
from tests.depth import mostly_slow

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
FILES = sorted(p for folder in ("light", "simple", "pytorch-converted", "pytorch-operator")
               for p in (DATA / folder).rglob("*.onnx"))  # fmt: skip
LARGE = {"light_densenet121", "light_inception_v2", "light_resnet50", "light_vgg19"}
# One in so many also runs, before and after; every one would take half a minute.
SAMPLE = 6


def check_round_trip(model: onnx.ModelProto) -> Graph:
    graph = Graph.from_onnx(model)
    saved = graph.to_onnx()
    onnx.checker.check_model(saved)
    content = saved.SerializeToString()
    assert Graph.from_onnx(saved).to_onnx().SerializeToString() == content
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in initializers]
    assert [value.name for value in saved.graph.input] == inputs
    assert [v.name for v in saved.graph.output] == [v.name for v in model.graph.output]
    copy, _ = clone(graph)
    verify(copy)
    assert copy.to_onnx().SerializeToString() == content
    assert to_text(copy) == to_text(graph)
    return graph


def check_same_results(model: onnx.ModelProto, graph: Graph) -> bool:
    """Whether the model could be run; what it returns must be the same."""
    if any(value.onnx_type is not None for value in graph.inputs):
        return False
    inputs = random_inputs(graph)
    try:
        before = Oracle(model, threads=1)
        expected = before.run({name: inputs[name] for name in before.input_names})
    except UnsupportedModel:
        return False  # no kernel, or inputs that only the test's own data satisfies
    found = Oracle(graph, threads=1).run(inputs)
    comparison = compare(expected, found, Numerics.EXACT)
    assert comparison, str(comparison)
    return True


@pytest.mark.parametrize(
    "path",
    mostly_slow(FILES, [path for path in FILES if path.stem not in LARGE]),
    ids=lambda path: str(path.relative_to(DATA)),
)
def test_shipped_file(path: Path, tmp_path: Path) -> None:
    model = onnx.load(path)
    graph = check_round_trip(model)
    assert (
        graph.to_onnx().SerializeToString() == Graph.from_onnx(path).to_onnx().SerializeToString()
    )


def test_files_exist() -> None:
    assert len(FILES) > 100


def check_all(models: Sequence[onnx.ModelProto]) -> None:
    ran = 0
    for index, model in enumerate(models):
        graph = check_round_trip(model)
        if index % SAMPLE == 0:
            ran += check_same_results(model, graph)
    assert ran > len(models) / SAMPLE / 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # cases divide by zero on purpose
def test_every_case() -> None:
    """Those of each operator are met every time: see ``tests/backends/conformance``."""
    cases = [*collect_nodes(None), *collect_models()]
    models = [case.model for case in cases if case.model]
    assert len(models) > 1500
    check_all(models)


def test_packaged_models_give_the_same_results(packaged_models: list[Path]) -> None:
    for path in packaged_models:
        model = onnx.load(path)
        assert check_same_results(model, check_round_trip(model))


@pytest.fixture
def packaged_models() -> list[Path]:
    package = pytest.importorskip("rapidocr_onnxruntime", reason="ships the models")
    folder = Path(package.__file__).parent / "models"
    return [folder / f"ch_{n}_infer.onnx" for n in ("PP-OCRv4_det", "ppocr_mobile_v2.0_cls")]
