"""``--prune`` as a user meets it: messages, exit codes, plans, and what a terminal shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from burnish.errors import GateFailed
from tests.cli.conftest import Burnish, Outcome, Write
from tests.pruning.conftest import TEXT, Half, half, made, samples

__all__ = ["half"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(made(), path)
    return path


@pytest.fixture
def optimize(burnish: Burnish, model: Path, tmp_path: Path) -> Burnish:
    """Call with more options; nothing may be left behind where that fails."""
    np.savez(tmp_path / "data.npz", x=np.concatenate([each["x"] for each in samples()]))

    def call(*more: object) -> Outcome:
        before = sorted(tmp_path.iterdir())
        done = burnish("optimize", model, "-o", tmp_path / "out.onnx", *more)
        assert "Traceback" not in done.err
        assert done.code == 0 or sorted(tmp_path.iterdir()) == before
        return done

    return call


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prune", "30"), "--prune takes the share of the operations to remove, between 0 and 1"),
        (("--prune", "latncy:0.5"), "did you mean latency?"),
        (("--prune", "auto"), "give --max-drop with --eval"),
        (("--prune", "0.5", "--keep-width", "layr"), "--keep-width: unknown layer 'layr'"),
        (("--prune", "0.5", "--keep-width", "layr:heads"), "unknown layer 'layr:heads'"),
        (("--prune", "0.5", "--skip", "prune-channels"), "--skip prune-channels"),
        (("--prune", "0.5", "--optional", "fuse-pad"), "leave one of them out"),
        (("--prune", "0.5", "--time", "0"), "--time is a number of seconds above 0"),
        (("--keep-width", "layer"), "--keep-width is about --prune"),
        (("--time", "3"), "--time is about --quantize and --prune: give one of them too"),
        (("--calibration", "data", "--optional", "prune-channels"),
         "passes that are named on their own are given no data here"),
        (("--report", "page.html"), "--report is about --quantize and --prune"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(
    optimize: Burnish, options: tuple[str, ...], message: str
) -> None:
    done = optimize(*options)
    assert done.code == 2
    assert message in done.message


def test_a_bound_that_cannot_be_met_ends_with_its_code_and_the_best_point(
    optimize: Burnish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> object:
        raise GateFailed("--prune latency:0.1 cannot be met: the least is 0.42 of the time")

    monkeypatch.setattr("burnish.building.pruning.prune_model", fails)
    done = optimize("--prune", "latency:0.1", "--calibration", tmp_path / "data.npz", "--report",
                    tmp_path / "page.html")  # fmt: skip
    assert done.code == 3
    assert "cannot be met: the least is 0.42 of the time" in done.message


def test_a_terminal_shows_what_is_left_and_explain_lists_it(
    optimize: Burnish, burnish: Burnish, half: Half, tmp_path: Path
) -> None:
    done = optimize("--prune", "0.5", "--calibration", tmp_path / "data.npz", "--report",
                    tmp_path / "page.html")  # fmt: skip
    assert done.code == 0
    assert "before pruning: verified" in done.out
    assert "pruned: 1 of 2 structures; 50 % of operations and 50 % of weights are left" in done.out
    assert "left alone: 1 structure: the channels cannot be moved: the graph returns it" in done.out
    assert "QoM 0.700: half of the same top-1 in 90.0 %, half of 50 % of weights gone" in done.out
    assert "MatMul_0" in done.out
    assert "1 of 2 structures is thinner" in (tmp_path / "page.html").read_text()
    for command in ("explain", "inspect"):
        told = burnish(command, tmp_path / "out.onnx").out
        assert "pruned: 1 of 2 structures" in told
        assert "16/32" in told
        (stated,) = json.loads(burnish(command, tmp_path / "out.onnx", "--json").out)["pruned"]
        assert stated["thinned"] == [
            {"name": "MatMul_0", "kind": "channels", "units": 32, "kept": 16}
        ]


def test_a_structure_is_kept_by_the_name_that_the_table_has(
    optimize: Burnish, half: Half, tmp_path: Path
) -> None:
    name = "a:heads"
    given = ("--prune", "0.5", "--calibration", tmp_path / "data.npz", "--keep-width", name)
    assert optimize(*given).code == 0
    assert half.asked[0]["asked"].keep == (name,)


def test_escapes_that_a_model_holds_do_not_reach_a_terminal(burnish: Burnish, model: Path) -> None:
    spoiled = onnx.load(model)
    thinned = [{"name": "\x1b[2J", "kind": "\x1b]0;", "units": 2, "kept": 1}]
    texts = {"loss": "\x1b[31m", "asked": "\x1b[0m"}
    counts = {"structures": 1, "of": 1, "flops": 0.5, "weights": 0.5}
    stated = [{**counts, **texts, "thinned": thinned}]
    onnx.helper.set_model_props(spoiled, {"burnish.pruning": json.dumps(stated)})
    onnx.save(spoiled, model)
    for command in ("explain", "inspect"):
        told = burnish(command, model).out
        assert "pruned: 1 of 1 structure;" in told
        assert "\x1b" not in told


def test_programs_are_told_all_of_it(optimize: Burnish, half: Half, tmp_path: Path) -> None:
    done = optimize("--prune", "0.5", "--calibration", tmp_path / "data.npz", "--json")
    told = json.loads(done.out)["pruning"]
    assert told["qom"] == 0.7
    assert [one["kept"] for one in told["structures"]] == [16, 8]


@pytest.mark.parametrize("prune", ["0.5", "'latency:0.7'"])
def test_a_plan_says_what_would_be_pruned(burnish: Burnish, write: Write, prune: str) -> None:
    path = write("out.onnx", prune=prune, quantize="'int8'", keep_width="['product']")
    done = burnish("build", "--config", path, "--plan", "--json")
    (told,) = json.loads(done.out)["models"]
    assert told["prune"] == prune.strip("'")
    assert told["calibration-samples"] == [512, 128]
    assert told["keep-width"] == ["product"]
    names = told["passes"]
    assert names.index("prune-channels") < names.index("quantize-int8")


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        ("'auto'", "give budgets.max-drop with eval"),
        ("30", "for 30 % give 0.3"),
        ("'half'", "prune takes 0.3, latency:0.7, size:0.5 or auto, not 'half'"),
        ("true", "prune should be a valid number or a valid string, not True"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    burnish: Burnish, write: Write, prune: str, message: str
) -> None:
    done = burnish("build", "--config", write("out.onnx", prune=prune), "--plan")
    assert done.code == 2
    assert message in done.message


def test_a_quantized_model_is_no_plan(burnish: Burnish, write: Write, tmp_path: Path) -> None:
    path = write("out.onnx", prune="0.5")
    text = TEXT.replace("a = MatMul", "q = QuantizeLinear (x, s)  a = MatMul")
    onnx.save(made(text, w=(16, 32), v=(32, 8), s=()), tmp_path / "small.onnx")
    done = burnish("build", "--config", path, "--plan")
    assert done.code == 1
    assert "the model is quantized already (QuantizeLinear" in done.message
