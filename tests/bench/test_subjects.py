"""What is checked before it is timed, many in one process."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from burnish.bench.client import EngineFailed
from burnish.bench.subjects import Keeper, NotEquivalent, Seating, check
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
