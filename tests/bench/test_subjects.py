"""What is checked before it is timed, many in one process."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from burnish.bench.client import EngineFailed
from burnish.bench.subjects import Keeper, NotEquivalent, Seating, check, describe
from burnish.numerics import Numerics
from burnish.testing import graph
from burnish.verification import Reference

HEADER = '<ir_version: 10, opset_import: ["": 21]>'
MODEL = "g (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }"
OTHER = "g (float[2, 3] x) => (float[2, 3] y) { y = Abs(x) }"


def seating(folder: Path, text: str, loader: str = "oracle") -> Seating:
    path = folder / f"{len(list(folder.iterdir()))}.onnx"
    onnx.save(onnx.parser.parse_model(HEADER + text), path)
    return Seating(loader, path, 1, {"x": (2, 3)})


def test_one_process_checks_one_thing_after_another(tmp_path: Path) -> None:
    reference = Reference(graph(MODEL))
    with Keeper() as keeper:
        first, _ = keeper.load(seating(tmp_path, MODEL))
        for _ in range(2):
            found = check(seating(tmp_path, MODEL), reference, Numerics.EXACT, keeper)
            assert found.fidelity[0].error == 0.0
        with pytest.raises(NotEquivalent) as wrong:
            check(seating(tmp_path, OTHER), reference, Numerics.EXACT, keeper)
        assert wrong.value.fidelity[0].error > 0.1
        assert keeper.load(seating(tmp_path, MODEL))[0] is first
        assert keeper.load(seating(tmp_path, MODEL, "ort"))[0] is not first
        assert first._process.poll() is not None


def test_a_process_that_failed_is_kept_no_longer(tmp_path: Path) -> None:
    reference = Reference(graph(MODEL))
    absent = Seating("oracle", tmp_path / "absent.onnx", 1, {})
    with Keeper() as keeper:
        first, _ = keeper.load(seating(tmp_path, MODEL))
        with pytest.raises(EngineFailed, match="absent"):
            check(absent, reference, Numerics.EXACT, keeper)
        assert first._process.poll() is not None
        assert check(seating(tmp_path, MODEL), reference, Numerics.EXACT, keeper).fidelity


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("y = MatMul(x, w)", 12),
        # Weights as bytes and their bias as sums, but neither scales, zero points nor indices.
        ("v = DequantizeLinear<axis = 1>(q, s, z) y = MatMul(x, v)", 12),
        ("v = DequantizeLinear(q, e) c = DequantizeLinear(b, e) y = Gemm(x, v, c)", 15),
        ("i = QuantizeLinear(x, e) m = MatMulInteger(i, q) y = Cast<to = 1>(m)", 12),
        ("v = Gather<axis = 1>(x, n) y = MatMul(v, w)", 12),
    ],
)
def test_parameters_are_counted_however_they_are_stored(body: str, count: int) -> None:
    model = graph(f"""g (float[2, 4] x) => (float[2, 3] y) <
        float[4, 3] w = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
        int8[4, 3] q = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
        float[3] s = {{1, 2, 3}}, int8[3] z = {{0, 0, 0}}, int32[3] b = {{1, 2, 3}},
        float e = {{1}}, int64[4] n = {{0, 1, 2, 3}}
    > {{ {body} }}""")
    assert describe(model)["parameters"] == count
