"""What ``burnish build --plan`` shows, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnx.parser
import pytest

from tests.cli.conftest import Burnish, Write, small_model


def test_a_plan_does_nothing(write: Write, burnish: Burnish, tmp_path: Path) -> None:
    write(budgets='{ size = "1 MB" }', skip='["merge-slices"]')
    before = sorted(tmp_path.rglob("*"))
    done = burnish("build", "--plan")
    assert done.code == 0
    for part in ("small", "out/small.burnish", "size at most 1.0 MB", ", which -v lists", "tune"):
        assert part in done.out
    assert "fold-constants" not in done.out
    full = burnish("build", "--plan", "-v").out
    assert "fold-constants" in full
    assert "merge-slices" not in full
    assert json.loads(burnish("build", "--plan", "--json").out)["models"][0]["name"] == "small"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("keys", "code", "message"),
    [
        ({"input_shapes": "{ z = [2, 6] }"}, 2, "input-shapes z: unknown input 'z'"),
        ({"input_shapes": "{ x = [2, 6, 1] }"}, 2, "x"),
        ({"output": "w.onnx", "input_shapes": "{ z = [2, 6] }"}, 2, "unknown input 'z'"),
        ({}, 2, "give input-shapes = { x = [batch,6] } with numbers"),
        ({"eval": '"judge.py:TASK"'}, 2, "judge.py does not exist"),
        ({"eval": '"judge.py"'}, 2, "judge.py does not exist"),
        ({"eval": '"no_such_module:TASK"'}, 2, "there is no module 'no_such_module'"),
        ({"eval": '"folder"'}, 2, "eval folder: no folder of that name"),
    ],
)
def test_a_plan_says_what_cannot_be_done(
    write: Write, burnish: Burnish, tmp_path: Path, keys: dict[str, str], code: int, message: str
) -> None:
    path = write(**keys)
    onnx.save(small_model("batch"), tmp_path / "small.onnx")
    path.write_text(path.read_text() + '\n[models.other]\npath = "o.onnx"\noutput = "c.onnx"\n')
    onnx.save(small_model(), tmp_path / "o.onnx")
    done = burnish("build", "--plan")
    assert done.code == code
    assert done.message.startswith("burnish: models.small: ")
    assert message in done.message
    assert "--" not in done.message
    assert "other" in done.out
    small, other = json.loads(burnish("build", "--plan", "--json").out)["models"]
    assert (small["code"], "code" in other) == (code, False)


def test_a_plan_refuses_what_is_no_model(write: Write, burnish: Burnish, tmp_path: Path) -> None:
    write()
    (tmp_path / "small.onnx").write_bytes(b"nothing")
    assert burnish("build", "--plan").code == 4
