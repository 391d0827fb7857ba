"""quantize-int8 on tables that rows are looked up in."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.ir import DType, Graph
from burnish.oracle import random_inputs
from burnish.passes.quantization import tables
from burnish.passes.quantization.tables import quantized_table
from burnish.pipeline import PassReport
from tests.backends.lowering.models import check
from tests.passes.quantization.conftest import kinds, quantize, randoms

ROWS, WIDTH = 64, 256
TEXT = """g (int64[1, 5] i, float[1, 5, 256] x) => (float[1, 5, 8] y) {
    e = Gather(t, i) n = Tanh(e) s = Add(n, x) y = MatMul(s, w) }"""


def table(seed: int = 1) -> np.ndarray:
    """Channels of different sizes."""
    return randoms(ROWS, WIDTH, seed=seed) * np.geomspace(0.01, 10, WIDTH, dtype=np.float32)


def applied(text: str = TEXT, **options: object) -> tuple[Graph, PassReport]:
    return quantize(text, options=options, t=table(), w=randoms(WIDTH, 8))


def gathered(graph: Graph) -> list[DType]:
    """What lookups read."""
    return [node.inputs[0].dtype for node in graph if node.op_type == "Gather" and node.inputs[0]]


def test_rows_are_dequantized_once_they_are_found() -> None:
    graph, report = applied()
    assert kinds(graph).startswith("Gather DQ Tanh")
    assert gathered(graph) == [DType.INT8]
    lookup = next(node for node in graph if node.op_type == "DequantizeLinear")
    assert lookup.attribute("axis") == 2
    assert any("int8, with a scale for each channel" in note for note in report.notes)


def test_each_number_is_off_by_half_a_step_at_most() -> None:
    floats = table()
    found = quantized_table(floats)
    assert found is not None
    off = np.abs(found.integers * found.scales - floats)
    assert (off <= 0.5001 * np.abs(floats).max(axis=0) / 127).all()
    assert found.sqnr is not None
    of_rows = 10 * np.log10(np.square(floats).sum(axis=1) / np.square(off).sum(axis=1))
    assert found.sqnr == pytest.approx(np.median(of_rows), abs=0.01)


def test_blocks_of_rows_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = quantized_table(table())
    monkeypatch.setattr(tables, "_BLOCK", 7 * WIDTH)
    parts = quantized_table(table())
    assert whole is not None and parts is not None
    assert (whole.integers == parts.integers).all() and (whole.scales == parts.scales).all()
    assert whole.sqnr == pytest.approx(parts.sqnr)


def test_what_is_compiled_reads_bytes_and_gives_the_same() -> None:
    graph, _ = applied()
    model = graph.to_onnx()
    feeds = random_inputs(graph, 0) | {"i": np.array([[0, 63, -1, 7, 7]])}
    assert check(model, **feeds) == []


def test_one_table_that_is_read_twice_stays_one() -> None:
    more = "f = Gather<axis = -2>(t, i) m = Mul(e, f) n = Tanh(m)"
    graph, _ = applied(TEXT.replace("n = Tanh(e)", more))
    assert gathered(graph) == [DType.INT8] * 2
    assert len({node.inputs[0] for node in graph if node.op_type == "Gather"}) == 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT.replace("=> (", "=> (float[1, 5, 256] e, "), id="returned"),
        pytest.param(
            TEXT.replace("=> (", "=> (float[64, 256] z, ").replace("y = ", "z = Neg(t) y = "),
            id="read as it is",
        ),
        pytest.param(
            TEXT.replace("Gather(", "Gather<axis = 1>(").replace("[1, 5, ", "[64, 1, ")
            .replace("int64[1, 5]", "int64[1, 256]"),
            id="columns",
        ),
    ],
)  # fmt: skip
def test_tables_that_stay_in_float(text: str) -> None:
    graph, _ = applied(text)
    assert DType.INT8 not in gathered(graph)


def test_a_lookup_that_is_to_be_kept_reads_floats() -> None:
    text = TEXT.replace("e = Gather", "[words] e = Gather")
    assert gathered(applied(text, keep=("words",))[0]) == [DType.FLOAT]


def test_places_that_are_known_are_no_lookup() -> None:
    text = TEXT.replace("int64[1, 5] i, ", "")
    places = np.arange(5)[None]
    graph, _ = quantize(text, t=table(), w=randoms(WIDTH, 8), i=places)
    assert DType.INT8 not in gathered(graph)


def test_small_tables_stay_in_float() -> None:
    graph, report = quantize(TEXT, t=table()[:63], w=randoms(WIDTH, 8))
    assert gathered(graph) == [DType.FLOAT] and not report.notes


@pytest.mark.parametrize(("number", "reason"), [(1e4, "dB"), (np.inf, "not finite")])
def test_tables_that_int8_does_not_hold(number: float, reason: str) -> None:
    numbers = np.full((ROWS, WIDTH), 1e-3, np.float32) * randoms(ROWS, WIDTH)
    numbers[3, ::2] = number
    numbers[4:, ::2] = number / 300
    graph, report = quantize(TEXT, t=numbers, w=randoms(WIDTH, 8))
    assert gathered(graph) == [DType.FLOAT]
    assert any("stays in float" in note and reason in note for note in report.notes)


def test_columns_that_are_nothing_lose_nothing() -> None:
    found = quantized_table(np.zeros((3, 4), np.float32))
    assert found is not None
    assert found.sqnr is None and (found.scales == 1).all() and not found.integers.any()
