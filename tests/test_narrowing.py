"""--precision: what is rounded, what is left as it is, and what is said about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import burnish
from burnish import compilation
from burnish.backends import compile as code
from burnish.backends.cpu.tuner import Budget, Outcome
from burnish.entries import Entry
from burnish.errors import GateFailed, UnsupportedModel, UsageError
from burnish.ir import Graph
from burnish.narrowing import Precision, narrow
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.target import BFLOAT16, resolve
from burnish.verification import Reference
from tests.passes.conftest import build

HOST = resolve("cpu", threads=1)
NEEDED = pytest.mark.skipif(BFLOAT16 not in HOST.extensions, reason="needs a CPU with bfloat16")

CHAIN = """g (float[4, 16] x, float[16, 16] w, float[16, 16] v) =>
    (float[4, 16] y, float[4, 16] z) {
    p = MatMul(x, w) h = Tanh(p) y = MatMul(h, v) z = Neg(h) }"""


def chain(first: float = 1.0) -> Graph:
    """Two products; the first one's results are large or not, of which the second one knows."""
    generator = np.random.default_rng(1)
    w, v = (generator.standard_normal((16, 16)).astype(np.float32) for _ in range(2))
    graph = build(CHAIN, 21, {"w": w * np.float32(first), "v": v})
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    return graph


def test_all_products_are_rounded_where_that_is_accurate_enough() -> None:
    graph = chain(0.1)
    found = narrow(graph, Precision("bf16"), PassContext(), Reference(graph))
    assert (found.rounded, found.eligible) == (2, 2)
    assert set(found.errors) == {"y", "z"}
    assert 0 < max(found.errors.values()) <= 1e-2
    assert found.graph is not graph
    assert "Cast" not in {node.op_type for node in graph}


def test_products_that_cost_the_most_accuracy_stay() -> None:
    # Tanh of large numbers is all or nothing: what decides are the few near zero.
    graph = chain(30.0)
    found = narrow(graph, Precision("bf16"), PassContext(), Reference(graph))
    assert (found.rounded, found.eligible) == (1, 2)
    assert max(found.errors.values()) <= 1e-2
    (step,) = found.steps
    assert len(step.keep) == 1  # type: ignore[attr-defined]


def test_nothing_is_left_to_round() -> None:
    graph = chain()
    with pytest.raises(GateFailed, match=r"moves the output '[yz]' by .* --tolerance"):
        narrow(graph, Precision("bf16", tolerance=1e-7), PassContext(), Reference(graph))


def test_another_number_of_results_is_too_far() -> None:
    # How many are positive is decided by the rounding of sums close to zero.
    text = """g (float[64, 64] x, float[64, 256] w) => (int64[2, "n"] y) {
        p = MatMul(x, w) z = Relu(p) y = NonZero(z) }"""
    w = np.random.default_rng(1).standard_normal((64, 256)).astype(np.float32)
    graph = build(text, 21, {"w": w})
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    with pytest.raises(GateFailed, match="moves the output 'y' by inf of its largest value"):
        narrow(graph, Precision("bf16"), PassContext(), Reference(graph))


def test_steps_that_ties_account_for_are_no_errors() -> None:
    # Two halves, which one rounding moves to the next integer and another does not.
    text = """g (float[1, 2] x, float s) => (float[1, 2] y) {
        q = QuantizeLinear(x, s) y = DequantizeLinear(q, s) }"""
    graph = build(text, 21, {"s": np.array(1, np.float32)})
    reference = Reference(graph, [{"x": np.array([[0.5, 4.2]], np.float32)}])
    assert reference.errors_of(lambda _: {"y": np.float32([[1, 4]])}) == {"y": 0}
    assert reference.errors_of(lambda _: {"y": np.float32([[0, 40]])})["y"] > 1


def test_a_model_without_products() -> None:
    graph = build("g (float[2] x) => (float[2] y) { y = Neg(x) }", 21, {})
    found = narrow(graph, Precision("bf16"), PassContext(), Reference(graph))
    assert (found.rounded, found.eligible, found.steps) == (0, 0, [])


@pytest.mark.parametrize(
    ("products", "tolerance", "message"),
    [
        ("f16", None, "--precision is one of f32, bf16, not 'f16'"),
        ("bf16", 0.0, "--tolerance is more than 0 and at most 1, not 0"),
        ("bf16", float("nan"), "--tolerance is more than 0"),
        (None, 0.1, "says how far"),
        ("f32", 0.1, "says how far"),
    ],
)
def test_options(products: str | None, tolerance: float | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Precision.of(products, None, tolerance)


@pytest.mark.parametrize("name", ["x86-64-v4", "x86-64-v3", "arm64:neoverse-n2"])
def test_targets_that_cannot(name: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"{name} has no avx512bf16.*leave precision out"):
        burnish.compile(chain(), name, precision="bf16")


@NEEDED
def test_the_artifact_says_what_it_is(tmp_path: Path) -> None:
    artifact = burnish.compile(chain(0.1), precision="bf16", tune="off", threads=1)
    artifact.save(tmp_path / "out")
    manifest = burnish.load_artifact(tmp_path / "out").manifest
    assert BFLOAT16 in manifest.target.features
    assert manifest.tolerance == 1e-2
    assert manifest.passes[-1]["name"] == "narrow-products"
    said = manifest.precision
    assert said is not None
    assert (said["products"], said["rounded"], said["eligible"]) == ("bf16", 2, 2)
    assert set(said["errors"]) == {"y", "z"}
    assert 0 < said["errors"]["y"] <= 1e-2


@NEEDED
def test_full_precision_says_nothing() -> None:
    artifact = burnish.compile(chain(0.1), precision="f32", tune="off", threads=1)
    assert artifact.manifest.precision is None
    assert BFLOAT16 not in artifact.manifest.target.features
    assert artifact.manifest.tolerance == 1e-4


def test_weights_alone_on_any_target() -> None:
    w = np.random.default_rng(1).standard_normal((256, 512)).astype(np.float32)
    text = "g (float[1, 256] x, float[256, 512] w) => (float[1, 512] y) { y = MatMul(x, w) }"
    full, half = (
        burnish.compile(build(text, 21, {"w": w}), tune="off", threads=1, weights=kind)
        for kind in ("f32", "bf16")
    )
    sizes = [a.manifest.files["weights.bin"].bytes for a in (full, half)]
    assert sizes[0] - sizes[1] == w.nbytes // 2
    said = half.manifest.precision
    assert said is not None
    assert (said["weights"], said["products"]) == ("bf16", "f32")
    assert 0 < said["errors"]["y"] <= 1e-2
    assert half.manifest.target.features == full.manifest.target.features
    there = burnish.compile(
        build(text, 21, {"w": w}), "arm64:cortex-a76", tune="off", weights="bf16"
    )
    assert there.manifest.precision == {**said, "errors": there.manifest.precision["errors"]}  # type: ignore[index]


@NEEDED
def test_fewer_products_are_rounded_where_code_is_farther_off_than_reckoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reckoned: list[float] = []

    def measure(_: object, entries: Sequence[Entry], __: object) -> dict[str, Any]:
        narrowed = entries[0].narrowed
        assert narrowed is not None
        reckoned.append(max(narrowed.errors.values()))
        if len(reckoned) == 1:
            raise GateFailed("farther off")
        return {}

    graph = chain(30.0)
    generous = Precision("bf16", tolerance=1.0)
    every = narrow(graph, generous, PassContext(), Reference(graph))
    spent: list[float] = []

    def tune(_: object, __: object, budget: Budget, *___: object) -> Outcome:
        spent.append(budget.spent)
        budget.spent_on["kernels"] = 3.0
        return Outcome({}, 0, 0)

    monkeypatch.setattr(compilation, "_measure", measure)
    monkeypatch.setattr(code, "tune", tune)
    most = max(every.errors.values()) * 1.1
    burnish.compile(graph, tune=9.0, threads=1, precision="bf16", tolerance=min(most, 1.0))
    assert len(reckoned) == 2
    assert reckoned[1] < reckoned[0]
    assert spent == [0.0, 3.0]
