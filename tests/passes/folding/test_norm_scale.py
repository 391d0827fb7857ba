"""fix-norm-scale: products read rows of about the same scale as they are, if outputs bear it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.calibration import Calibration
from burnish.oracle import Oracle
from burnish.passes import get_pass
from burnish.pipeline import PassContext, PassReport, run_pass
from tests.depth import part
from tests.passes.conftest import build

NAME = "fix-norm-scale"
ROWS, WIDTH = 40, 8
PRODUCT = """g (float[2, 40, 8] x, float[8] ones, float[8, 6] w, float[6] b)
    => (float[2, 40, 6] y) {
    n = LayerNormalization<epsilon = 0.01>(x, ones)  p = MatMul(n, w)  y = Add(p, b) }"""
ONES = {"ones": np.ones(WIDTH, np.float32)}


def rows(spread: float, samples: int = 8, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Inputs whose rows deviate by 2, more or less by up to ``spread`` of that."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(samples):
        data = random.normal(size=(2, ROWS, WIDTH))
        data -= data.mean(-1, keepdims=True)
        data *= (
            2 * random.uniform(1 - spread, 1 + spread, (2, ROWS, 1)) / data.std(-1, keepdims=True)
        )
        found.append({"x": (data + random.normal(size=(2, ROWS, 1))).astype(np.float32)})
    return found


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


class Case:
    """A model and data for it."""

    def __init__(
        self, text: str, feeds: list[dict[str, Any]] | None, opset: int = 21, **values: Any
    ):
        self.graph = build(text, opset, values)
        run_pass(self.graph, get_pass("infer-shapes"), PassContext())
        self.feeds = feeds
        self.before = self.answers(feeds or [])

    def answers(self, feeds: list[dict[str, Any]]) -> list[np.ndarray]:
        oracle = Oracle(self.graph)
        return [next(iter(oracle.run(each).values())) for each in feeds]

    def run(self, late: bool = False, **options: Any) -> PassReport:
        calibration = None if self.feeds is None else Calibration(self.feeds)
        context = PassContext(calibration=calibration, explain=True, is_late=lambda: late)
        return run_pass(self.graph, get_pass(NAME, **options), context)

    @property
    def noise(self) -> float:
        """Power of the error over that of the signal."""
        wanted, found = np.array(self.before), np.array(self.answers(self.feeds or []))
        return float(np.square(wanted - found).sum() / np.square(wanted).sum())

    @property
    def kinds(self) -> list[str]:
        return [node.op_type for node in self.graph]


def product(feeds: list[dict[str, Any]] | None, text: str = PRODUCT, **values: Any) -> Case:
    return Case(text, feeds, **{**ONES, **weights(w=(WIDTH, 6), b=(6,)), **values})


def test_a_product_reads_what_was_normalized() -> None:
    case = product(rows(0.1))
    report = case.run()
    assert [fired.rule for fired in report.fired] == ["constant-scale"]
    assert case.kinds == ["MatMul", "Add"]
    assert case.noise < 0.01
    assert not case.run().changed


def test_nodes_remember_what_they_do_now() -> None:
    case = product(rows(0.1), PRODUCT.replace("n = Layer", "[norm] n = Layer"))
    (norm, *_) = list(case.graph)
    names = norm.provenance
    case.run()
    assert set(names) <= set(next(iter(case.graph)).provenance)


OTHERS = {
    "a product without bias": (
        PRODUCT.replace("p = MatMul(n, w)  y = Add(p, b)", "y = MatMul(n, w)"), {},
    ),
    "two products": (
        PRODUCT.replace("y = Add(p, b)", "h = Add(p, b)  q = MatMul(n, v)  y = Mul(h, q)")
        .replace("float[6] b", "float[6] b, float[8, 6] v"), weights(v=(8, 6)),
    ),
    "the mean of all rows": (
        """g (float[2, 40, 8] x, float[8] ones, int64[1] axes, float[6, 8] w, float[6] b)
        => (float[2, 6] y) { n = LayerNormalization(x, ones)
        m = ReduceMean<keepdims = 0>(n, axes)  y = Gemm<transB = 1, alpha = 0.5>(m, w, b) }""",
        {**weights(w=(6, 8)), "axes": np.array([1])},
    ),
    "a product that drops its bias": (
        """g (float[2, 40, 8] x, float[8] ones, int64[1] axes, float[8, 6] w, float[6] b)
        => (float[2, 6] y) { n = LayerNormalization(x, ones)
        m = ReduceMean<keepdims = 0>(n, axes)  y = Gemm<beta = 0.0>(m, w, b) }""",
        {"axes": np.array([1])},
    ),
    "a convolution": (
        """g (float[2, 40, 8] x, float[8] ones, float[6, 8, 3] w, float[6] b)
        => (float[2, 6, 38] y) { n = LayerNormalization(x, ones)
        t = Transpose<perm = [0, 2, 1]>(n)  y = Conv(t, w, b) }""", weights(w=(6, 8, 3)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_readers(name: str) -> None:
    text, values = OTHERS[name]
    case = product(rows(0.05), text, **values)
    assert len(case.run().fired) == 1
    assert "LayerNormalization" not in case.kinds
    assert case.noise < 0.02


def test_root_mean_squares() -> None:
    text = PRODUCT.replace("LayerNormalization", "RMSNormalization")
    feeds = [{"x": each["x"] - each["x"].mean(-1, keepdims=True)} for each in rows(0.1)]
    case = Case(text, feeds, opset=23, **ONES, **weights(w=(WIDTH, 6), b=(6,)))
    assert len(case.run().fired) == 1
    assert case.noise < 0.01


@settings(max_examples=part(20))
@given(st.integers(0, 1000), st.sampled_from([1e-3, 1.0, 1e3]), st.booleans())
def test_rows_that_do_not_differ_lose_nothing(seed: int, size: float, biased: bool) -> None:
    feeds = [{"x": np.float32(size) * each["x"]} for each in rows(0, samples=4, seed=seed)]
    text = PRODUCT if biased else OTHERS["a product without bias"][0]
    case = product(feeds, text.replace("0.01", "1e-12"))
    assert len(case.run().fired) == 1
    assert case.noise < 1e-10


def test_what_was_taken_out_before_is_made_up_for() -> None:
    """The second product is fitted to what the first gives by now."""
    text = """g (float[2, 40, 8] x, float[8] ones, float[8, 8] v, float[8, 6] w)
        => (float[2, 40, 6] y) {
        n = LayerNormalization(x, ones)  h = MatMul(n, v)  s = Add(h, x)
        m = LayerNormalization(s, ones)  y = MatMul(m, w) }"""
    case = product(rows(0.2), text, v=3 * np.eye(WIDTH, dtype=np.float32))
    assert len(case.run(allowed=10.0).fired) == 2
    assert case.kinds == ["MatMul", "Add", "MatMul"]
    assert case.noise < 0.05


def missed(case: Case, reason: str, **options: Any) -> None:
    """The graph stays as it is, and it is said why."""
    kinds = case.kinds
    report = case.run(**options)
    assert not report.changed
    assert case.kinds == kinds
    assert not case.feeds or case.noise == 0
    assert any(reason in each.reason for each in report.missed), report.missed


def test_no_data() -> None:
    report = product(None).run()
    assert not report.changed
    assert "no calibration data" in report.notes[0]


def test_nothing_to_do() -> None:
    text = "g (float[2, 40, 8] x) => (float[2, 40, 8] y) { y = Relu(x) }"
    assert not product(rows(0.1), text).run().notes


def test_rows_that_differ() -> None:
    missed(product(rows(0.9)), "of its mean, 0.3 is allowed")


def test_massive_activations_are_named() -> None:
    feeds = rows(0.1)
    for each in feeds:
        each["x"][:, 0] *= 50
    missed(product(feeds), "the largest row has 2")


def test_outputs_that_do_not_bear_it() -> None:
    missed(product(rows(0.4)), "0.0001 is allowed", allowed=0.0001)


def test_few_rows() -> None:
    missed(product(rows(0.1, samples=2)), "160 rows do not tell")


def test_zeros() -> None:
    feeds = [{"x": np.zeros((2, ROWS, WIDTH), np.float32)} for _ in range(8)]
    missed(product(feeds), "nothing but zeros")


def test_late() -> None:
    missed(product(rows(0.1)), "time is up", late=True)


BODY = "n = LayerNormalization<epsilon = 0.01>(x, ones)  p = MatMul(n, w)  y = Add(p, b)"
NEAR = {
    "several axes": (
        BODY.replace("<epsilon", "<axis = 1, epsilon"), "not go over the last axis alone",
        {"ones": np.ones((ROWS, WIDTH), np.float32)},
    ),
    "a scale": (BODY, "fold-layer-norm folds first", {"ones": np.full(WIDTH, 2, np.float32)}),
    "a shift": (BODY.replace("ones)", "ones, ones)"), "fold-layer-norm folds first", {}),
    "a sum": (
        "n = LayerNormalization(x, ones)  z = Add(n, x)  p = MatMul(z, w)  y = Add(p, b)",
        "not read by products alone: Add reads it", {},
    ),
    "deviations": (
        "n, m, d = LayerNormalization(x, ones)  p = MatMul(n, w)  q = Add(p, b)  y = Mul(q, d)",
        "means or deviations of rows are read", {},
    ),
    "computed weights": (
        "n = LayerNormalization(x, ones)  v = ReduceMax<keepdims = 0>(x)  z = Mul(n, v) "
        " p = MatMul(z, w)  y = Add(p, b)", "Mul reads it", {},
    ),
    "the same weights twice": (
        "n = LayerNormalization(x, ones)  p = MatMul(n, w)  q = MatMul(n, w)  y = Mul(p, q)",
        "with the same weights", {},
    ),
    "half of each row": (
        "n = LayerNormalization(x, ones)  h, t = Split<axis = -1, num_outputs = 2>(n) "
        " r = Relu(t)  p = MatMul(h, w)  y = Add(p, b)", "reads it",
        weights(w=(WIDTH // 2, 6)),
    ),
    "no reader": ("n = LayerNormalization(x, ones)  p = MatMul(x, w)  y = Add(p, b)",
                  "nothing reads", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", NEAR)
def test_near_misses(name: str) -> None:
    body, reason, values = NEAR[name]
    shapes = {"ones": "[8]", "w": "[8, 6]"}
    for key, value in values.items():
        shapes[key] = str(list(value.shape))
    text = f"""g (float[2, 40, 8] x, float{shapes["ones"]} ones, float{shapes["w"]} w, float[6] b)
        => (float[2, 40, 6] y) {{ {body} }}"""
    missed(product(rows(0.1), text, **values), reason)


def test_the_model_returns_it() -> None:
    text = """g (float[2, 40, 8] x, float[8] ones, float[8, 6] w) =>
        (float[2, 40, 6] y, float[2, 40, 8] n) {
        n = LayerNormalization(x, ones)  y = MatMul(n, w) }"""
    missed(product(rows(0.1), text), "the graph returns it")


def test_the_first_to_go_vary_the_least() -> None:
    text = """g (float[2, 40, 8] x, float[2, 40, 8] z, float[8] ones, float[8, 6] w, float[8, 6] v)
        => (float[2, 40, 6] y) {
        n = LayerNormalization(x, ones)  m = LayerNormalization(z, ones)
        p = MatMul(n, w)  q = MatMul(m, v)  y = Add(p, q) }"""
    feeds = [{"x": one["x"], "z": two["x"]} for one, two in zip(rows(0.4), rows(0.05), strict=True)]
    case = product(feeds, text, **weights(v=(WIDTH, 6)))
    report = case.run(most=0.3, allowed=0.5)
    assert len(report.fired) == 1
    norm = next(node for node in case.graph if node.op_type == "LayerNormalization")
    assert norm.inputs[0].name == "x"
