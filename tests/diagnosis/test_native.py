"""Code that crashes, hangs or answers wrongly is caught in a child, and its cause is found."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import burnish
from burnish.diagnosis import native
from burnish.diagnosis.outcome import Diagnosis
from burnish.errors import BurnishError, UnsupportedModel
from burnish.testing import graph
from tests.diagnosis.planted import Planted, deep_model

ROOT = Path(__file__).resolve().parents[2]
Diagnose = Callable[..., Diagnosis]

pytestmark = pytest.mark.slow


@pytest.fixture
def planted(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], None]:
    """Let the code generator have a defect."""

    def plant(defect: str) -> None:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        monkeypatch.setenv("PLANTED", defect)
        monkeypatch.setattr(native, "COMPILER", "tests.backends.planted_compiler")

    # Code with a defect must not stay behind in the cache that others use.
    cache = tmp_path_factory.getbasetemp() / "planted-cache"
    cache.mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return plant


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return deep_model(20, erf_at=2)


@pytest.mark.parametrize(
    ("defect", "kind"),
    [
        ("abort", "running: crashed (SIGABRT)"),
        ("segfault", "compiling: crashed (SIGSEGV)"),
        ("wrong", "native numerics"),
    ],
)
def test_the_pass_that_leads_to_bad_code(
    planted: Callable[[str], None], model: onnx.ModelProto, defect: str, kind: str
) -> None:
    planted(f"{defect}:Gelu")
    found = burnish.diagnose(model, engine="tvm")
    assert (found.kind, found.engine, found.guilty) == (kind, "tvm", "recognise-gelu")
    assert "layer2/erf2" in found.sources
    assert found.reproducer is not None
    assert "Erf layer2/erf2" in found.reproducer.nodes
    assert len(found.reproducer.nodes) < 8
    assert found.reproducer.is_confirmed
    assert found.workaround == "--skip recognise-gelu: the result is right without it"


def test_an_operator_that_crashes_without_any_pass(
    planted: Callable[[str], None], model: onnx.ModelProto
) -> None:
    planted("abort:Tanh")
    found = burnish.diagnose(model)
    assert (found.kind, found.guilty) == ("running: crashed (SIGABRT)", None)
    assert found.is_model
    assert found.reproducer is not None
    assert [node.op_type for node in found.reproducer.part.graph] == ["Tanh"]
    assert "the code for Tanh" in found.workaround
    assert found.command("out") == (
        "burnish diagnose out/reproducer.onnx --engine tvm --passes infer-shapes "
        "--inputs out/inputs.npz"
    )


def test_a_model_that_hangs(
    planted: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted("hang:Tanh")
    monkeypatch.setattr(native, "RUNNING", 2.0)
    found = burnish.diagnose(graph("g (float[4] x) => (float[4] y) { a = Neg(x) y = Tanh(a) }"))
    assert found.kind == "running: no answer in time"
    assert "hangs" in found.symptom
    assert found.reproducer is not None
    assert [node.op_type for node in found.reproducer.part.graph] == ["Tanh"]


def test_rewriting_is_looked_at_first(
    planted: Callable[[str], None], model: onnx.ModelProto
) -> None:
    planted("abort:Tanh")
    found = burnish.diagnose(model, engine="tvm", passes=["infer-shapes", Planted(layer=1)])
    assert (found.kind, found.guilty) == ("numerics", "planted")


def test_time_that_ends_while_code_runs_is_no_hang(planted: Callable[[str], None]) -> None:
    planted("hang:Tanh")
    model = graph("g (float[4] x) => (float[4] y) { a = Neg(x) y = Tanh(a) }")
    with pytest.raises(BurnishError, match="raise time"):
        burnish.diagnose(model, engine="tvm", time=1.0)


def test_samples_settle_open_sizes(planted: Callable[[str], None]) -> None:
    planted("abort:Tanh")
    model = graph('g (float["N", 4] x) => (float["N", 4] y) { a = Neg(x) y = Tanh(a) }')
    found = burnish.diagnose(model, samples=[{"x": np.ones((3, 4), np.float32)}])
    assert found.kind == "running: crashed (SIGABRT)"
    assert found.reproducer is not None
    assert found.reproducer.part.graph.inputs[0].shape == (3, 4)


def test_nothing_wrong(planted: Callable[[str], None], model: onnx.ModelProto) -> None:
    planted("abort:Softplus")
    assert not burnish.diagnose(model)


def test_what_no_code_is_generated_for_is_nothing_wrong() -> None:
    model = graph("g (string[2] s, float[2] x) => (float[2] y, string[2] t) "
                  "{ y = Tanh(x) t = Identity(s) }")  # fmt: skip
    found = burnish.diagnose(model)
    assert not found
    assert "not tried: it cannot be compiled: the input 's' holds string" in found.notes[0]
    with pytest.raises(UnsupportedModel, match="compiled models take numeric tensors"):
        burnish.diagnose(model, engine="tvm")


def test_no_artifact_is_left_behind(
    planted: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planted("abort:Softplus")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert not burnish.diagnose(graph("g (float[4] x) => (float[4] y) { y = Tanh(x) }"))
    assert not list(tmp_path.iterdir())


def test_a_crash_in_a_deep_model(planted: Callable[[str], None]) -> None:
    planted("abort:Gelu")
    found = burnish.diagnose(deep_model(600, erf_at=70), engine="tvm")
    assert found.guilty == "recognise-gelu"
    assert found.reproducer is not None
    assert len(found.reproducer.nodes) < 20
