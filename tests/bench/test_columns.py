"""What variants are compared with: found, checked, and left out where it is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

from burnish.bench import columns, seats
from burnish.bench.ablation import OPTIMIZERS, ablated, signature
from burnish.bench.columns import Rivals
from burnish.bench.sittings import Timings
from burnish.bench.subjects import Keeper, NotEquivalent, Seating
from burnish.testing import graph
from burnish.verification import Reference

MODEL = """
    g (float[2, 3] x) => (float[2, 4] y)
    <float[3, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}, float[4] b = {1, 2, 3, 4}>
    {
        m = MatMul(x, w)
        s = Add(m, b)
        y = Identity(s)
    }
"""
HEADER = '<ir_version: 10, opset_import: ["": 21]>'


@pytest.fixture
def rivals(tmp_path: Path) -> Iterator[Rivals]:
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(HEADER + MODEL), path)
    with Keeper() as keeper:
        yield Rivals(path, Reference(graph(MODEL)), 1, {"x": (2, 3)}, tmp_path, keeper)


@pytest.fixture
def wrong_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make some engines wrong."""

    def replace(*loaders: str) -> None:
        right = columns.check

        def check(seating: Seating, *arguments: object) -> object:
            if seating.loader in loaders:
                raise NotEquivalent("y is off")
            return right(seating, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(columns, "check", check)

    return replace


def tool(folder: Path, name: str, script: str) -> None:
    """A tool, and an interpreter beside it that says it has it."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\necho \'{{"{name}": "9.9"}}\'\n')
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    for file in (python, folder / name):
        file.chmod(0o755)


def test_onnx_runtime_at_its_best(rivals: Rivals) -> None:
    found = rivals.onnx_runtime()
    assert found.failure is None
    assert found.operators == 3
    assert found.seating is not None
    assert found.seating.loader == "ort"
    assert found.resident > 1 << 20
    assert rivals.notes == []


def test_onnx_runtime_has_what_leaves_it_right(
    rivals: Rivals, wrong_at: Callable[..., None]
) -> None:
    wrong_at("ort", "ort-layout")
    found = rivals.onnx_runtime()
    assert found.seating is not None
    assert found.seating.loader == "ort-extended"
    assert rivals.notes == ["onnxruntime has extended optimizations, since with all y is off"]


def test_what_is_wrong_is_not_seated(rivals: Rivals, wrong_at: Callable[..., None]) -> None:
    wrong_at("ort", "ort-layout", "ort-extended", "ort-basic", "oracle")
    found = rivals.onnx_runtime()
    assert found.seating is None
    timings = Timings("whole", [])
    column = found.as_column(timings, timings.contrasts())
    assert column.failure == "y is off"
    assert column.latency is None


def test_what_is_not_installed_is_a_note(rivals: Rivals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats, "_versions", lambda python, packages: {})
    assert rivals.peers() == []
    assert [note.split(" is not timed")[0] for note in rivals.notes] == [
        "onnxslim", "onnxsim", "OpenVINO",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ('cp "$1" "$2"', None),
        ("echo bad luck >&2; exit 3", "exit code 3: bad luck"),
        ("exit 0", "exit code 0: it said nothing"),
        ('echo no model > "$2"', "onnxslim"),
    ],
)
def test_files_of_other_tools(
    rivals: Rivals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str,
    failure: str | None,
) -> None:  # fmt: skip
    tool(tmp_path, "onnxslim", script)
    monkeypatch.setenv(seats.VARIABLE, os.fspath(tmp_path / "python"))
    monkeypatch.setattr(columns, "interpreters", lambda: (tmp_path / "python",))
    slim, *others = rivals.peers()
    assert others == []
    assert (slim.name, slim.version) == ("onnxslim", "9.9")
    if failure is None:
        assert slim.failure is None
        assert slim.operators == 3
    else:
        assert slim.failure is not None
        assert slim.seating is None


def test_optimizers_that_do_something_are_left_out(rivals: Rivals) -> None:
    found = {one.name: one for one in ablated(rivals, rivals.onnx_runtime())}
    # A product and a sum become one operator, and what does nothing goes.
    assert "onnxruntime without MatMulAddFusion" in found
    assert len(found) < 6
    assert all(one.failure is None for one in found.values())
    fused = found["onnxruntime without MatMulAddFusion"]
    assert fused.seating is not None
    assert fused.seating.options == {"disabled": ["MatMulAddFusion"]}
    assert f"of {len(OPTIMIZERS)} optimizers" in rivals.notes[-1]


def test_signatures_are_of_operators_and_weights(tmp_path: Path) -> None:
    def signed(text: str) -> str:
        path = tmp_path / "signed.onnx"
        onnx.save(onnx.parser.parse_model(HEADER + text), path)
        return signature(path)

    renamed = MODEL.replace("m =", "product =").replace("(m,", "(product,")
    assert signed(MODEL) == signed(renamed.replace("w", "weight"))
    assert signed(MODEL) != signed(MODEL.replace("Identity", "Relu"))
    assert signed(MODEL) != signed(MODEL.replace("{1, 2, 3, 4}", "{1, 2, 3, 5}"))
