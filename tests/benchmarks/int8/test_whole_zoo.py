from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.compiling import Compiled
from benchmarks.int8.table import zoo_cells, zoo_conclusion, zoo_remarks
from benchmarks.int8.zoo import FAR, ZooRow, same_code
from benchmarks.latency import Versus
from burnish.bench.stats import Estimate


def versus(ratio: float) -> Versus:
    one = Estimate(ratio, ratio - 0.01, ratio + 0.01)
    return Versus(one, one, ratio)


TIME = Estimate(0.004, 0.004, 0.004)
QUICK = ZooRow(
    "a", "1x3", 2, 3, 4, "", 8.0, 20.0, distance="30 dB", share=0.1, burnish=TIME,
    versus=versus(1.5),
)  # fmt: skip
LEFT = ZooRow("b", "1x3", 2, 0, 2, "left in float: no gain", 8.0, 20.0, is_same=True)
FAILED = ZooRow("c", "1x3", 2, failure="exit code 1: broken")


def test_rows_come_back_as_they_were_kept() -> None:
    for row in (QUICK, LEFT, FAILED):
        assert ZooRow.from_json(json.loads(json.dumps(row.as_json()))) == row


def test_a_row_holds_unless_it_is_slower_or_wrong_or_silent() -> None:
    assert QUICK.holds
    assert LEFT.holds
    assert replace(QUICK, versus=versus(0.975)).holds
    assert not replace(QUICK, versus=versus(0.96)).holds
    assert not replace(QUICK, share=FAR + 1).holds
    assert not replace(LEFT, reason="").holds
    assert not FAILED.holds


def test_the_table_says_what_became_of_each() -> None:
    heads, cells = zoo_cells([QUICK, LEFT, FAILED])
    assert [len(row) for row in cells] == [len(heads)] * 3
    assert cells[0][2:] == ["3 of 4", "30 dB", "20", "8", "4", "1.50 (1.49 to 1.51)"]
    assert cells[1][2:] == ["0 of 2", "-", "20", "8", "-", "same code"]
    assert cells[2][2] == "failed"
    assert zoo_remarks([QUICK, LEFT, FAILED]) == [
        "b: left in float: no gain", "c: exit code 1: broken",
    ]  # fmt: skip


def test_the_conclusion_names_what_does_not_hold() -> None:
    slow = replace(QUICK, model="d", versus=versus(0.9))
    said = zoo_conclusion([QUICK, LEFT, FAILED, slow])
    assert "2 of 4 models in int8; least ratio 0.90" in said
    assert "failed: c; wrong: none; slower: d" in said
    assert "none" in zoo_conclusion([])


def test_artifacts_are_the_same_if_code_and_weights_are(tmp_path: Path) -> None:
    def made(name: str, code: bytes, weights: bytes | None) -> Compiled:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.so").write_bytes(code)
        if weights is not None:
            (folder / "weights.bin").write_bytes(weights)
        return Compiled(folder, 0.0)

    one = made("one", b"code", b"weights")
    assert same_code(one, made("two", b"code", b"weights"))
    assert not same_code(one, made("three", b"cord", b"weights"))
    assert not same_code(one, made("four", b"code", b"weighty"))
    assert not same_code(one, made("five", b"code", None))


@pytest.mark.parametrize("arguments", [["--models", "nothing"], ["--blocks", "0"]])
def test_what_does_not_exist_is_refused(arguments: list[str]) -> None:
    result: Any = CliRunner().invoke(app, ["int8", "zoo", *arguments])
    assert result.exit_code == 2
