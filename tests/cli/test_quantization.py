"""``--quantize`` as a user meets it: plans, messages, exit codes, and what a terminal shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.cli.conftest import Burnish, Outcome, Write, small_model

RANDOM = np.random.default_rng(0)
ITEMS = RANDOM.normal(size=(8, 6)).astype(np.float32)


def spoiled(value: float) -> np.ndarray:
    items = ITEMS.copy()
    items[5, 2] = value
    return items


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    onnx.save(small_model("batch"), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    np.savez(folder / "a.npz", x=ITEMS)
    return folder


@pytest.fixture
def optimize(burnish: Burnish, model: Path, data: Path, tmp_path: Path) -> Burnish:
    """Quantize the model with more options; nothing may be left behind where that fails."""

    def call(*more: object) -> Outcome:
        out, page = tmp_path / "out.onnx", tmp_path / "page.html"
        before = left(tmp_path)
        done = burnish("optimize", model, "-o", out, "--report", page, "--quantize", "int8",
                       "--calibration", data, *more)  # fmt: skip
        assert "Traceback" not in done.err
        assert done.code == 0 or left(tmp_path) == before
        return done

    return call


def left(folder: Path) -> list[Path]:
    """All that is there, but what Python compiles of the user's code."""
    return [path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts]


@pytest.mark.parametrize(
    ("arrays", "code", "message"),
    [
        ({"z": ITEMS}, 2, "unknown input 'z'; did you mean x?|there are: x"),
        ({"x": ITEMS, "z": ITEMS}, 2, "unknown input 'z'"),
        ({"labels": np.zeros(8)}, 2, "has nothing for input 'x'"),
        ({"x": ITEMS[:, :5]}, 2, "the model takes [batch, 6]"),
        ({"x": ITEMS[..., None]}, 2, "the shape is (6, 1)"),
        ({"x": ITEMS.astype(np.float64)}, 2, "the elements are float64"),
        ({"x": spoiled(np.nan)}, 4, "is nan, and 1 of 6 are not finite"),
        ({"x": spoiled(-np.inf)}, 4, "is -inf, and 1 of 6 are not finite"),
        ({"x": np.array([{}], object)}, 4, "holds objects"),
    ],
)
def test_what_is_wrong_with_data_is_said_with_its_file_before_any_work(
    optimize: Burnish,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    arrays: Mapping[str, Any],
    code: int,
    message: str,
) -> None:
    monkeypatch.setattr("burnish.building.starting.optimize_model", None)
    np.savez(data / "b.npz", **arrays)
    done = optimize()
    assert done.code == code
    assert any(part in done.message for part in message.split("|"))
    assert str(data / "b.npz") in done.message
    assert "in pass" not in done.message


def test_items_of_files_are_counted_in_each(optimize: Burnish, data: Path) -> None:
    np.savez(data / "b.npz", x=spoiled(np.nan))
    assert f"sample 13 of the calibration data (number 5 of {data / 'b.npz'})" in optimize().message


@pytest.mark.parametrize("name", ["b.npz", "data.npz"])
def test_links_that_lead_nowhere_are_named(optimize: Burnish, data: Path, name: str) -> None:
    (data / name).symlink_to(name)
    done = optimize()
    assert done.code == 4
    assert f"{data / name} is a link that leads to no file" in done.message


def test_folders_that_contain_themselves_have_an_end(optimize: Burnish, data: Path) -> None:
    (data / "calibration").symlink_to(data)
    (data / "folder.npz").mkdir()
    (data / "notes.txt").write_text("nothing")
    assert optimize().code == 0


@pytest.mark.parametrize(
    ("number", "told"),
    [(0.0, "input 'x' is 0 everywhere"), (0.5, "input 'x' is 0.5 everywhere")],
)
def test_data_that_never_change_are_told_of(
    optimize: Burnish, data: Path, number: float, told: str
) -> None:
    np.savez(data / "a.npz", x=np.full((4, 6), number, np.float32))
    done = optimize()
    assert done.code == 0
    assert told in done.err
    assert "same ranges" not in done.err


def test_samples_that_are_equal_are_told_of(optimize: Burnish, data: Path) -> None:
    np.savez(data / "a.npz", x=np.repeat(ITEMS[:1], 4, 0))
    assert "all 4 samples for calibration are equal" in optimize().err


def test_fewer_samples_than_asked_are_told_of_once(optimize: Burnish) -> None:
    assert optimize("--calibration-samples", 20).err.count("as there are no 20") == 1


def test_a_page_is_called_like_the_file(optimize: Burnish, tmp_path: Path) -> None:
    assert optimize().code == 0
    page = (tmp_path / "page.html").read_text()
    assert "<title>small.onnx in int8</title>" in page
    assert str(tmp_path) not in page


def test_lines_fit_a_terminal(optimize: Burnish, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    done = optimize("-v")
    lines = (done.out + done.err).splitlines()
    # A path is one word.
    assert max(len(line) for line in lines if not line.startswith("wrote ")) <= 70
    assert "allowed:" in done.out


def test_what_is_quantized_already_is_said(
    burnish: Burnish, tmp_path: Path, optimize: Burnish
) -> None:
    assert optimize().code == 0
    done = burnish("optimize", tmp_path / "out.onnx", "-o", tmp_path / "b.onnx",
                   "--quantize", "int8")  # fmt: skip
    assert done.code == 0
    assert "the model is quantized already" in done.err
    assert "leave --quantize out" in done.err
    assert "random" not in done.err


def test_what_is_optimized_stays_as_it_is(
    burnish: Burnish, tmp_path: Path, optimize: Burnish
) -> None:
    assert optimize().code == 0
    again = burnish("optimize", tmp_path / "out.onnx", "-o", tmp_path / "b.onnx")
    assert again.code == 0
    assert "no pass found anything to do" in again.out
    assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_values_to_keep_are_kept_in_int8(optimize: Burnish, tmp_path: Path) -> None:
    assert optimize("--keep", "product").code == 0
    made = onnx.load(tmp_path / "out.onnx").graph
    assert "product" in [name for node in made.node for name in node.output]
    assert "QuantizeLinear" in [node.op_type for node in made.node]


def test_bfloat16_that_the_target_lacks_is_refused_before_any_file_is_read(
    burnish: Burnish, tmp_path: Path
) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    done = burnish("compile", tmp_path / "m.onnx", "-o", tmp_path / "m", "--precision", "bf16",
                   "--quantize", "int8", "--target", "x86-64-v3")  # fmt: skip
    assert done.code == 1
    assert "x86-64-v3 has no avx512bf16" in done.message


@pytest.mark.parametrize(
    ("shape", "message"),
    [((), "some open; give --input-shape"), (("--input-shape", "x=1,5"), "fixed at 6")],
)
def test_shapes_that_do_not_fit_are_refused_before_anything_is_quantized(
    burnish: Burnish, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch,
    shape: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("burnish.building.starting.optimize_model", None)
    done = burnish("compile", model, "-o", model.with_suffix(""), "--quantize", "int8",
                   "--calibration", data, *shape)  # fmt: skip
    assert done.code == 2
    assert message in done.message


def test_a_build_says_what_is_quantized(write: Write, burnish: Burnish, data: Path) -> None:
    assert data.is_dir()
    write(quantize='"int8"', calibration='"data"', output="w.onnx")
    done = burnish("build")
    assert done.code == 0, done.err
    assert "  before int8: verified" in done.out
    assert "  int8: 1 of 1 layer; loss: " in done.out
    (told,) = json.loads(burnish("build", "--json").out)["models"]
    assert told["quantization"]["layers"][0]["layer"] == "product"


def test_layers_to_keep_are_looked_for_before_any_work(
    optimize: Burnish, write: Write, burnish: Burnish, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert optimize("--keep-float", "product").code == 0
    monkeypatch.setattr("burnish.building.starting.optimize_model", None)
    done = optimize("--keep-float", "produkt")
    assert done.code == 2
    assert done.message.endswith("--keep-float: unknown layer 'produkt'; did you mean product?")
    write(quantize='"int8"', keep_float='["produkt"]')
    assert "keep-float: unknown layer 'produkt'" in burnish("build", "--plan").message


def test_a_bench_looks_at_the_data_first(
    burnish: Burnish, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("burnish.bench.quantized.optimize_model", None)
    np.savez(data / "b.npz", x=spoiled(np.nan))
    done = burnish("bench", model, "--quantize", "int8", "--calibration", data)
    assert done.code == 4
    assert str(data / "b.npz") in done.message


def test_passes_of_the_recipe_cannot_be_skipped(optimize: Burnish) -> None:
    done = optimize("--skip", "round-weights")
    assert done.code == 2
    assert "--skip round-weights: --quantize takes of its own passes" in done.message


TASK = """
import numpy as np
from burnish.bench.task import Scores


class Signs:
    name = "signs"
    input_shapes = {"x": (4, 6)}

    def calibration(self):
        yield {"x": np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)}

    def evaluate(self, run):
        feeds = next(iter(self.calibration()))
        return {"right": Scores.of((run(feeds)["y"][:, 0] > 0.5).astype(float))}
"""


@pytest.mark.parametrize("bound", [("--max-drop", 1), ()])
def test_a_task_that_the_frozen_model_does_not_take_is_refused_at_once(
    optimize: Burnish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: tuple[Any, ...]
) -> None:
    (tmp_path / "judge.py").write_text(TASK)
    monkeypatch.setattr("burnish.building.starting.optimize_model", None)
    task = ("--eval", tmp_path / "judge.py", *bound)
    done = optimize("--input-shape", "x=1,6", *task)
    assert done.code == 2
    assert "task signs feeds 'x' as [4, 6], and --input-shape fixes that to [1, 6]" in done.message
    onnx.save(small_model(2), tmp_path / "small.onnx")
    assert "and the model takes [2, 6]; feed it that" in optimize(*task).message


def test_points_lost_are_told_the_same_way_everywhere(optimize: Burnish, tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(TASK)
    done = optimize("--eval", tmp_path / "judge.py", "--max-drop", 1)
    assert done.code == 0, done.err
    assert "loss: 0.00 points [0.00, 0.00]; allowed: 1 point of signs" in done.out
    assert "max-drop: 0.00 points lost [0.00, 0.00], at most 1.00 points lost" in done.out


def test_a_plan_has_the_data_and_the_passes_of_int8(
    write: Write, burnish: Burnish, tmp_path: Path, data: Path
) -> None:
    write(quantize='"int8"', calibration='"data"', calibration_samples="7", time="50",
          keep_float='["gate"]')  # fmt: skip
    told = burnish("build", "--plan").out
    for part in (f"calibration         {data}", "calibration-samples 7", "50 s", "gate"):
        assert part in told
    (plan,) = json.loads(burnish("build", "--plan", "--json").out)["models"]
    assert plan["quantize"] == "int8"
    order = ["fold-constants", "quantize-int8", "round-weights", "integer-products"]
    assert sorted(order, key=plan["passes"].index) == order
    assert len(set(plan["passes"])) == len(plan["passes"])


@pytest.mark.parametrize(
    ("named", "code", "message"),
    [
        ("data", 2, "models.small: sample 4 of the calibration data (number 0 of "),
        ("data/b.npz", 2, "the elements are int64"),
        ("nowhere", 2, "calibration nowhere: no folder or file of that name"),
        ("no_such_module:x", 2, "calibration: there is no module 'no_such_module'"),
        ("judge.py", 2, "judge.py does not exist"),
    ],
)
def test_a_plan_says_what_is_wrong_with_data(
    write: Write, burnish: Burnish, data: Path, named: str, code: int, message: str
) -> None:
    np.savez(data / "b.npz", x=ITEMS.astype(np.int64))
    write(quantize='"int8"', calibration=f'"{named}"')
    done = burnish("build", "--plan")
    assert done.code == code
    assert message in done.message


@pytest.mark.parametrize("is_so", [True, False])
def test_that_onnx_runtime_saturates_here_is_said(
    optimize: Burnish, monkeypatch: pytest.MonkeyPatch, is_so: bool
) -> None:
    monkeypatch.setattr("burnish.building.quantizing.saturates", lambda: is_so)
    assert ("session.disable_quant_qdq" in " ".join(optimize().err.split())) is is_so
