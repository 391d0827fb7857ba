"""What the commands do with good input."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import burnish as api
from burnish.analysis.cost import FUNCTIONS
from burnish.building import workshop
from burnish.compilation import Compilation, Request, Tuning
from burnish.ir import Graph
from burnish.passes import PASSES
from burnish.pipeline import Progress
from burnish.target import BFLOAT16, resolve
from tests.cli.conftest import Burnish, expected, small_model

CALLS = ["optimize", "compile", "build", "run", "inspect", "explain", "passes", "targets"]


def test_compile_says_how_far_tuning_came(
    burnish: Burnish, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def partly(graph: Graph, request: Request, progress: Progress | None) -> Compilation:
        return replace(real(graph, request, progress), tuning=Tuning(20.0, 13, 25))

    real = workshop.compile_model
    monkeypatch.setattr(workshop, "compile_model", partly)
    options = ("compile", model, "--tune", "off", "-o", tmp_path / "out")
    done = burnish(*options)
    limit = "the 20 s that all compiles of this model have together"
    assert done.err.endswith(f"tuned 13 of 25 kernels in {limit}; raise --tune for the rest\n")
    assert burnish(*options, "-q").err == ""


def test_optimize(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    done = burnish("optimize", model, "-o", out)
    assert done.code == 0
    assert done.err == ""
    assert "remove-no-ops" in done.out
    assert "operators 3 → 2" in done.out
    assert "verified on 3 sets of inputs: bit-identical" in done.out
    assert [node.op_type for node in onnx.load(out).graph.node] == ["MatMul", "Sigmoid"]


def test_optimize_says_what_it_wrote(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    done = burnish("optimize", model, "-o", out)
    assert re.search(r"^Identity +1 *$", done.out, re.MULTILINE)
    assert re.search(r"^all +3 +2 *$", done.out, re.MULTILINE)
    assert done.out.endswith(f"wrote {out}: {out.stat().st_size} B\n")
    rows = done.out.split("all ")[0].splitlines()
    assert not [line for line in rows if re.search(r"^[a-z-]+ +(-?\d+ +)?\d+ *$", line)]


def test_adapters_can_be_kept(burnish: Burnish, tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
        g (float[2, 8] x) => (float[2, 6] y) <float[8, 6] w, float[8, 2] a, float[2, 6] b>
        { p = MatMul(x, w) d = MatMul(x, a) u = MatMul(d, b) y = Add(p, u) }"""
    proto = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, shape in (("w", (8, 6)), ("a", (8, 2)), ("b", (2, 6))):
        tensor = numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        old = [t for t in proto.graph.initializer if t.name == name]
        for one in old:
            proto.graph.initializer.remove(one)
        proto.graph.initializer.append(tensor)
    path, out = tmp_path / "lora.onnx", tmp_path / "out.onnx"
    onnx.save(proto, path)
    assert burnish("optimize", path, "-o", out).code == 0
    assert [node.op_type for node in onnx.load(out).graph.node] == ["MatMul"]
    assert burnish("optimize", path, "-o", out, "--keep-adapter").code == 0
    assert {"a", "b"} <= {tensor.name for tensor in onnx.load(out).graph.initializer}


def test_optimize_as_json(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    done = burnish("optimize", model, "-o", out, "--json", "--verify", "each")
    report = json.loads(done.out)
    assert (report["before"]["operators"], report["after"]["operators"]) == (3, 2)
    assert report["error"] == 0
    assert report["compared_on"] == 3
    assert all(entry["error"] == 0 for entry in report["passes"])


def test_what_is_optimized_already_is_said_to_be(
    burnish: Burnish, model: Path, tmp_path: Path
) -> None:
    better = tmp_path / "better.onnx"
    burnish("optimize", model, "-o", better)
    again = burnish("optimize", better, "-o", tmp_path / "again.onnx").out
    assert again.startswith("no pass found anything to do\n")


def test_optimize_quietly(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    done = burnish("optimize", model, "-o", tmp_path / "out.onnx", "-q")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_optimize_with_chosen_passes(burnish: Burnish, open_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    options = ["--passes", "infer-shapes", "--input-shape", "x=5,6", "--opset", "22", "--json"]
    done = burnish("optimize", open_model, "-o", out, *options)
    names = [entry["name"] for entry in json.loads(done.out)["passes"]]
    assert sorted(names[:2]) == ["freeze-input-shapes", "upgrade-opset"]
    assert names[2:] == ["infer-shapes"]
    written = onnx.load(out)
    assert written.opset_import[0].version == 22
    assert [d.dim_value for d in written.graph.output[0].type.tensor_type.shape.dim] == [5, 4]


def test_skip_and_set(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    options = ["--skip", "remove-no-ops", "--set", "fold-constants.max_bytes=0", "--json"]
    done = burnish("optimize", model, "-o", tmp_path / "out.onnx", *options)
    report = json.loads(done.out)
    assert report["after"]["operators"] == 3
    assert "remove-no-ops" not in {entry["name"] for entry in report["passes"]}


def test_same_input_gives_the_same_bytes(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for out in outs:
        assert burnish("optimize", model, "-o", out).code == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_shapes_of_any_integers(open_model: Path) -> None:
    graph, _ = api.optimize(open_model, input_shapes={"x": np.array([2, 6])})
    assert list(map(type, graph.inputs[0].shape)) == [int, int]


def test_inspect_a_model(burnish: Burnish, open_model: Path) -> None:
    done = burnish("inspect", open_model, "--input-shape", "x=8,6")
    assert done.code == 0
    assert "x: float[8, 6]" in done.out
    assert "share" in done.out
    assert "y: float[8, 4]" in done.out
    facts = json.loads(burnish("inspect", open_model, "--input-shape", "x=8,6", "--json").out)
    assert facts["operators"] == 3
    by_type = {row["type"]: row for row in facts["operator_types"]}
    assert by_type["MatMul"]["flops"] == 2 * 8 * 6 * 4
    assert by_type["Sigmoid"]["flops"] == 8 * 4 * FUNCTIONS["Sigmoid"]
    assert facts["flops"] == sum(row["flops"] for row in facts["operator_types"])


def test_inspect_with_open_sizes(burnish: Burnish, open_model: Path) -> None:
    done = burnish("inspect", open_model)
    assert "x: float[batch, 6]" in done.out
    assert "FLOP unknown: 2 operators have shapes that depend" in " ".join(done.out.split())
    assert "give --input-shape x=?,6" in " ".join(done.out.split())
    assert "share" not in done.out  # of a part of the work it would mislead
    facts = json.loads(burnish("inspect", open_model, "--json").out)
    assert facts["flops"] is None
    assert {row["type"]: row["flops"] for row in facts["operator_types"]}["MatMul"] is None


def test_passes(burnish: Burnish) -> None:
    done = burnish("passes")
    assert done.code == 0
    assert all(name in done.out for name in PASSES)
    assert max(map(len, done.out.splitlines())) <= 80
    entries = json.loads(burnish("passes", "--json").out)
    assert [entry["name"] for entry in entries] == list(PASSES)
    assert all(entry["summary"].endswith(".") for entry in entries)


def test_targets(burnish: Burnish) -> None:
    done = burnish("targets")
    assert done.code == 0
    assert "arm64:cortex-a76" in done.out
    assert "x86-64-v3" in {
        target["name"] for target in json.loads(burnish("targets", "--json").out)
    }


def test_run(burnish: Burnish, artifact: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    out = tmp_path / "out.npz"
    done = burnish("run", artifact, "-i", f"x={tmp_path / 'x.npy'}", "-o", out)
    assert done.code == 0
    assert "y: float32[2, 4]" in done.out
    np.testing.assert_allclose(np.load(out)["y"], expected(x), rtol=1e-5)


def test_run_takes_an_archive_of_inputs(burnish: Burnish, artifact: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.zeros((2, 6), np.float32))
    out = tmp_path / "out.npz"
    assert burnish("run", artifact, "-i", tmp_path / "in.npz", "-o", out).code == 0
    np.testing.assert_allclose(np.load(out)["y"], 0.5)


def test_run_self_test_and_times(burnish: Burnish, artifact: Path) -> None:
    done = burnish("run", artifact, "--self-test", "--repeat", "3", "--json")
    result = json.loads(done.out)
    assert result["self_test"]["y"] < 1e-4
    assert result["milliseconds"]["runs"] == 3
    shown = burnish("run", artifact, "--self-test", "--repeat", "3").out
    assert "self-test: y agrees" in shown
    assert "median of 3 runs" in shown


def test_running_loads_no_compiler_and_no_other_engine(artifact: Path) -> None:
    code = (
        "import sys\nfrom burnish.cli import main\n"
        "assert main(['run', sys.argv[1], '--self-test', '-q']) == 0\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code, str(artifact)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "'numpy'" in done.stdout
    for engine in ("tvm", "onnx", "onnxruntime", "onnx_graphsurgeon", "ml_dtypes"):
        assert f"'{engine}'" not in done.stdout


def test_inspect_an_artifact(burnish: Burnish, artifact: Path) -> None:
    done = burnish("inspect", artifact, "--profile")
    assert done.code == 0
    assert "x: float32[2, 6]" in done.out
    assert "weights.bin" in done.out
    assert "native: 100.0% of operators, 100.0% of FLOPs" in done.out
    facts = json.loads(burnish("inspect", artifact, "--profile", "--json").out)
    assert all(row["microseconds"] >= 0 for row in facts["profile"])
    (row,) = (row for row in facts["profile"] if row["sources"] and "product" in row["sources"])
    assert row["flops"] == 2 * 2 * 6 * 4 + 2 * 4 * FUNCTIONS["Sigmoid"]
    assert row["bytes"] >= 4 * (2 * 6 + 6 * 4 + 2 * 4)
    assert 0 < row["bound_microseconds"] < row["microseconds"]
    assert row["bound_by"] in ("arithmetic", "L2", "L3", "memory")
    assert facts["machine"]["peaks"]["float32"] > 0
    assert [entry["entry"] for entry in facts["profile_entries"]] == [0]
    assert facts["profile_entries"][0]["waited"] >= 0


def test_inspect_says_in_brief_what_an_artifact_is(burnish: Burnish, artifact: Path) -> None:
    text = " ".join(burnish("inspect", artifact).out.split())
    for part in (
        "1 kernel, weights", "arena", "needs", "output y: float32[2, 4]", "passes: ",
        "precision f32: nothing is rounded to less",
    ):  # fmt: skip
        assert part in text
    facts = json.loads(burnish("inspect", artifact, "--json").out)
    assert facts["summaries"] == [{"calls": 1, "kernels": 1, "regions": 0}]
    assert "profile" not in facts
    assert "machine" not in facts


def test_compile_for_two_shapes(burnish: Burnish, open_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "two.burnish"
    options = ["--input-shape", "x=3,6", "--input-shape", "x=5,6", "--tune", "off"]
    done = burnish("compile", open_model, "-o", out, *options)
    assert "2 entries: x=3,6; x=5,6" in done.out
    report = json.loads(burnish("compile", open_model, "-o", out, *options, "--json").out)
    assert report["entries"] == [{"x": [3, 6]}, {"x": [5, 6]}]
    shown = burnish("inspect", out, "--profile").out
    assert shown.count("input  x: float32[5, 6]") == 1
    assert shown.count("entry 1") == 2
    done = burnish("run", out, "--self-test", "--repeat", "3")
    for entry in (0, 1):
        assert done.out.count(f"self-test: entry {entry}: y agrees") == 1
    tested = json.loads(burnish("run", out, "--self-test", "--json").out)
    assert [list(each) for each in tested["self_test_entries"]] == [["y"], ["y"]]
    assert tested["self_test"]["y"] == max(each["y"] for each in tested["self_test_entries"])
    assert done.out.count("median of 3 runs") == 2
    facts = json.loads(burnish("run", out, "--json").out)
    assert [each["outputs"]["y"]["shape"] for each in facts["entries"]] == [[3, 4], [5, 4]]
    np.save(tmp_path / "x.npy", np.ones((5, 6), np.float32))
    assert "y: float32[5, 4]" in burnish("run", out, "-i", f"x={tmp_path / 'x.npy'}").out
    done = burnish("run", out, "-o", tmp_path / "out.npz")
    assert "examples of 2 entries; give -i" in done.message
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("command", ["compile", "optimize"])
def test_inputs_that_become_constants_are_named(
    burnish: Burnish, tmp_path: Path, command: str
) -> None:
    model = small_model()
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [6, 4]))
    onnx.save(model, tmp_path / "m.onnx")
    done = burnish(command, tmp_path / "m.onnx", "-o", tmp_path / "out.onnx")
    (line,) = done.err.splitlines()
    assert line.startswith("no longer inputs, since the model has default values for them: 'w'; to")
    again = [command, tmp_path / "m.onnx", "-o", tmp_path / "out.onnx"]
    assert burnish(*again, "-q").err == ""
    assert json.loads(burnish(*again, "--json").out)["notices"] == [line]


def test_the_report_in_python_names_inputs_that_become_constants(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    model = small_model()
    _, report = api.optimize(model)
    assert report.notices == []
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [6, 4]))
    _, report = api.optimize(model)
    (notice,) = report.notices
    assert notice.startswith("no longer inputs, since the model has default values for them: 'w';")
    assert str(report).splitlines()[-1] == notice
    assert caplog.text == ""
    api.compile(model, tune="off", threads=1)
    assert notice in caplog.text


def test_compile_as_json(burnish: Burnish, open_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "folder"
    options = ["--input-shape", "x=3,6", "--threads", "1", "--json", "--target", "x86-64-v3"]
    done = burnish("compile", open_model, "-o", out, *options)
    report = json.loads(done.out)
    assert (report["target"], report["threads"]) == ("x86-64-v3", 1)
    assert report["files"]["model.so"] == (out / "model.so").stat().st_size
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["passes"][0] == {
        "name": "freeze-input-shapes", "options": {"shapes": {"x": [3, 6]}},
    }  # fmt: skip
    assert manifest["model"]["name"] == "open.onnx"
    assert len(manifest["model"]["sha256"]) == 64


@pytest.mark.parametrize("command", CALLS)
def test_help(burnish: Burnish, command: str) -> None:
    done = burnish(command, "--help")
    assert done.code == 0
    assert f"burnish {command}" in done.out


def test_no_command_prints_the_help(burnish: Burnish) -> None:
    done = burnish()
    assert all(command in done.out for command in CALLS)


def test_version(burnish: Burnish) -> None:
    assert burnish("--version").out == f"burnish {api.__version__}\n"


def test_compile_with_fewer_bits_says_how_far_that_moves_the_outputs(
    burnish: Burnish, tmp_path: Path
) -> None:
    if BFLOAT16 not in resolve("cpu").extensions:
        pytest.skip("needs a CPU with bfloat16")
    weights = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    ports = [onnx.helper.make_tensor_value_info(n, 1, [4, 16]) for n in "xy"]
    graph = onnx.helper.make_graph(
        [node], "g", ports[:1], ports[1:], [numpy_helper.from_array(weights, "w")]
    )
    path, out = tmp_path / "m.onnx", tmp_path / "out"
    opsets = [onnx.helper.make_opsetid("", 21)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    options = ("compile", path, "-o", out, "--tune", "off", "--precision", "bf16")
    done = burnish(*options)
    assert done.code == 0, done.err
    assert "products and their weights in bf16: 1 of 1 operators that gain by rounding" in done.out
    assert re.search(r"^  y: largest relative error \d\.\de-0\d$", done.out, re.MULTILINE)
    assert "products and their weights in bf16: 1 of 1" in burnish("inspect", out).out
    said = json.loads(burnish(*options, "--json").out)["precision"]
    assert 0 < said["errors"]["y"] < 1e-2
    failed = burnish(*options, "--tolerance", "1e-6")
    assert failed.code == 3
    assert "--tolerance" in failed.err
