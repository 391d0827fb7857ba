"""Comparison with other optimizers, exact folds, and the lines that judge them."""

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, numpy_helper
from rich.console import Console

from benchmarks import peers
from benchmarks.acceptance import SETS, Evidence
from benchmarks.compiling import CommandFailed
from benchmarks.folds import ADAPTED, CENTERED, UNCENTERED, FoldEvidence, widened
from benchmarks.peers import SIM, SLIM, US, VERIFIED, PeerRow
from benchmarks.scale import Sized
from benchmarks.verdicts import Part

REWRITES = SETS["exact-rewrites"]
ROW = PeerRow(
    "m", {US: 10, SLIM: 12, SIM: 11}, {US: 1.0, VERIFIED: 2.0, SLIM: 1.5, SIM: 1.0}, error=1e-6
)
FOLDS = tuple(FoldEvidence(name, 1e-15, (), 3) for name in ADAPTED)
NORMS = (FoldEvidence(CENTERED, 1e-6, (), 25),
         FoldEvidence(UNCENTERED, 1e-7, (), 0, ("it has a shift",)))  # fmt: skip
COUNTS = {"cases": 1884, "export": 1880, "export_wrong": 0, "compile": 1500, "compile_wrong": 0,
          "native": 1129}  # fmt: skip
GOOD = Evidence(
    peers=(ROW,), folds=(*FOLDS, *NORMS), node_tests=COUNTS,
    scale=(Sized("chain", 100_000, 40.0, 900.0, 1.1),),
)  # fmt: skip


def verdict(name: str, evidence: Evidence) -> bool:
    line = next(line for line in REWRITES.lines if line.name == name)
    return line.verdict(evidence).passed


def test_all_lines_hold_on_good_evidence() -> None:
    assert all(one.passed for one in REWRITES.verdicts(GOOD, REWRITES.parts))
    assert set(REWRITES.parts) == {Part.PEERS, Part.FOLDS, Part.NODE_TESTS, Part.SCALE}


def test_nothing_holds_without_evidence() -> None:
    assert not any(one.passed for one in REWRITES.verdicts(Evidence(), REWRITES.parts))


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("operators", replace(ROW, operators={US: 12, SLIM: 13, SIM: 11})),
        ("operators", replace(ROW, operators={SLIM: 13, SIM: 11})),
        ("operators", replace(ROW, foreign=("com.microsoft::Gelu",))),
        ("agreement", replace(ROW, error=None)),
        ("time", replace(ROW, seconds={US: 1.6, SLIM: 1.5})),
        ("aim: fewer", replace(ROW, operators={US: 11, SLIM: 12, SIM: 11})),
    ],
)
def test_each_limit_on_peers(name: str, bad: PeerRow) -> None:
    assert not verdict(name, replace(GOOD, peers=(bad,)))


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("adapters", replace(FOLDS[0], error=1e-8)),
        ("adapters", replace(FOLDS[0], left=("down",))),
        ("adapters", replace(FOLDS[0], fired=0)),
        ("adapters", replace(FOLDS[0], failure="exit code 1")),
        ("mean", replace(NORMS[0], error=1e-4)),
        ("mean", replace(NORMS[0], fired=0)),
        ("mean", replace(NORMS[1], fired=1)),
        ("mean", replace(NORMS[1], reasons=())),
    ],
)
def test_each_limit_on_folds(name: str, bad: FoldEvidence) -> None:
    rest = tuple(one for one in GOOD.folds if one.model != bad.model)
    assert not verdict(name, replace(GOOD, folds=(*rest, bad)))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("re-export", "export", 1299), ("re-export", "export_wrong", 1),
        ("compile", "compile", 1249), ("compile", "compile_wrong", 1), ("native", "native", 899),
        ("aim: native", "native", 1099),
    ],
)  # fmt: skip
def test_each_limit_on_node_tests(name: str, key: str, value: int) -> None:
    assert not verdict(name, replace(GOOD, node_tests={**COUNTS, key: value}))


@pytest.mark.parametrize(("seconds", "ratio"), [(61.0, 1.0), (10.0, 1.6)])
def test_each_limit_on_scale(seconds: float, ratio: float) -> None:
    assert not verdict("scale", replace(GOOD, scale=(Sized("wide", 100_000, seconds, 1.0, ratio),)))


def test_operators_are_counted_everywhere(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 21, "own": 1]>
        g (bool c, float[2] x) => (float[2] y) {
            a = own.twice(x)
            y = If<then_branch = t () => (float[2] z) { z = Neg(a) },
                   else_branch = e () => (float[2] w) { v = Abs(a) w = own.odd(v) }>(c)
        }
        <domain: "own", opset_import: ["": 21]> twice (x) => (y) { y = Add(x, x) }"""
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    assert Counter(peers._operators(path)) == Counter(["Add", "If", "Neg", "Abs", "own::odd"])


def test_every_tool_gets_the_same_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tool in ("onnxslim", "onnxsim"):
        (tmp_path / tool).touch()
    monkeypatch.setenv(peers.VARIABLE, str(tmp_path))
    found = peers.commands(Path("m.onnx"), tmp_path, {"x": (1, 3), "n": ()})
    assert found[US][3:5] == ["--input-shape", "x=1,3"]
    assert found[SLIM][0] == str(tmp_path / "onnxslim")
    assert found[SLIM][-2:] == ["--input-shapes", "x:1,3"]
    assert found[SIM][-1] == "x:1,3"
    assert len({command[2] for command in (found[SLIM], found[SIM])}) == 2


def test_a_missing_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(peers.VARIABLE, str(tmp_path))
    with pytest.raises(CommandFailed, match="there is no nothing"):
        peers._tool("nothing")


def test_models_in_double_precision() -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
        g (float[2] x) => (float[2] y) <float[2] w = {1, 2}>
        { c = Constant<value = float {3}>() d = Cast<to = 1>(c) e = Mul(x, w) y = Add(e, d) }"""
    wide = widened(onnx.parser.parse_model(text))
    onnx.checker.check_model(wide, full_check=True)
    assert wide.graph.input[0].type.tensor_type.elem_type == TensorProto.DOUBLE
    assert numpy_helper.to_array(wide.graph.initializer[0]).dtype == np.float64


def test_the_table_fits() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(peers.as_table([replace(ROW, model="mobilenet-v2-torchscript")]))
    assert "…" not in console.export_text()
