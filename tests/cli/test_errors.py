"""Bad input: one clear message, the right exit code, nothing half-written, for every case."""

from __future__ import annotations

import platform
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from burnish import errors
from burnish.backends.artifact import Artifact
from burnish.cli import main
from burnish.ir import Graph
from tests.cli.conftest import Burnish, Outcome, small_model

FAILED, USAGE, INVALID, INTERRUPTED = 1, 2, 4, 130


@pytest.fixture(autouse=True)
def whole_or_nothing(tmp_path: Path) -> Iterator[None]:
    """After every test here: no output, and no scrap of one."""
    yield
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert not [name for name in left if name.startswith("out") or "/." in name or name[0] == "."]


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def parsed(text: str, path: Path) -> Path:
    header = '<ir_version: 10, opset_import: ["": 21]>\n'
    return save(onnx.parser.parse_model(header + text), path)


def external(path: Path, location: str, length: int = 96) -> Path:
    """The small model with its weight in file ``location``."""
    model = small_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return save(model, path)


# Files that are no model: each writes one and says what the message must contain.


def missing(folder: Path) -> tuple[Path, str]:
    return folder / "missing.onnx", "does not exist"


def a_folder(folder: Path) -> tuple[Path, str]:
    return folder, "is a folder"


def empty(folder: Path) -> tuple[Path, str]:
    path = folder / "empty.onnx"
    path.touch()
    return path, "is empty"


def not_a_model(folder: Path) -> tuple[Path, str]:
    path = folder / "text.onnx"
    path.write_text("<html>404 not found</html>" * 20)
    return path, "is not an ONNX model"


def truncated(folder: Path) -> tuple[Path, str]:
    path = folder / "short.onnx"
    path.write_bytes(small_model().SerializeToString()[:-60])
    return path, "truncated"


def external_missing(folder: Path) -> tuple[Path, str]:
    return external(folder / "external.onnx", "weights.bin"), "weights.bin"


def external_outside(folder: Path) -> tuple[Path, str]:
    (folder / "inside").mkdir()
    (folder / "secret.bin").write_bytes(bytes(96))
    return external(folder / "inside" / "model.onnx", "../secret.bin"), "refused for safety"


def external_absolute(folder: Path) -> tuple[Path, str]:
    return external(folder / "external.onnx", "/etc/hostname"), "refused for safety"


def external_too_short(folder: Path) -> tuple[Path, str]:
    (folder / "weights.bin").write_bytes(bytes(95))
    return external(folder / "external.onnx", "weights.bin"), "95"


def breaks_the_standard(folder: Path) -> tuple[Path, str]:
    model = small_model()
    model.graph.node[2].op_type = "Sigmoit"
    return save(model, folder / "checker.onnx"), "Sigmoit"


def undefined_value(folder: Path) -> tuple[Path, str]:
    model = small_model()
    model.graph.node[1].input[0] = "nowhere"
    return save(model, folder / "undefined.onnx"), "nowhere"


def cycle(folder: Path) -> tuple[Path, str]:
    model = small_model()
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    model.graph.node.extend(nodes)
    return save(model, folder / "cycle.onnx"), "cycle"


def damaged_weight(folder: Path) -> tuple[Path, str]:
    model = small_model()
    model.graph.initializer[0].raw_data = bytes(40)
    return save(model, folder / "damaged.onnx"), "damaged"


NO_MODELS = [
    missing, a_folder, empty, not_a_model, truncated, external_missing, external_outside,
    external_absolute, external_too_short, breaks_the_standard, undefined_value, cycle,
    damaged_weight,
]  # fmt: skip


@pytest.mark.parametrize("command", ["optimize", "compile", "inspect", "explain"])
@pytest.mark.parametrize("make", NO_MODELS, ids=lambda make: make.__name__)
def test_no_model(
    burnish: Burnish, tmp_path: Path, command: str, make: Callable[[Path], tuple[Path, str]]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path, expected = make(folder)
    out = ["-o", tmp_path / "out"] if command in ("optimize", "compile") else []
    if command == "inspect" and path.is_dir():
        expected = "is not an artifact"
    done = burnish(command, path, *out)
    assert expected in done.message
    assert done.code == INVALID
    assert done.out == ""


# Options that do not exist or do not fit.

WRONG_OPTIONS = {
    "unknown pass": (["--passes", "fold-constant"], "did you mean fold-constants"),
    "unknown skipped pass": (["--skip", "fuse-batchnorm"], "did you mean fuse-batch-norm"),
    "unknown preset": (["--preset", "defualt"], "did you mean default"),
    "unknown field": (["--set", "fold-constants.max_byte=1"], "did you mean max_bytes"),
    "field of an unknown pass": (["--set", "fold.max_bytes=1"], "unknown pass 'fold'"),
    "field of a skipped pass": (
        ["--set", "fold-constants.max_bytes=1", "--skip", "fold-constants"],
        "not among the passes",
    ),
    "field without a value": (["--set", "fold-constants.max_bytes"], "PASS.FIELD=VALUE"),
    "field of another type": (["--set", "fold-constants.max_bytes=big"], "a whole number"),
    "unknown input": (["--input-shape", "X=2,6"], "'X'"),
    "shape of another rank": (["--input-shape", "x=2,6,1"], "axes"),
    "shape that contradicts": (["--input-shape", "x=2,7"], "axis 1"),
    "shape that is none": (["--input-shape", "x=two,6"], "NAME=1,3,224,224"),
    "shape without a name": (["--input-shape", "2,6"], "NAME=1,3,224,224"),
    "shape given twice": (["--input-shape", "x=2,6", "--input-shape", "x=2,6"], "twice"),
    "opset that does not exist": (["--opset", "99"], "opset"),
    "opset below": (["--opset", "7"], "opset"),
    "opset that is no number": (["--opset", "new"], "--opset"),
    "unknown verification": (["--verify", "maybe"], "--verify"),
    "unknown option": (["--frobnicate"], "--frobnicate"),
}


@pytest.mark.parametrize("case", WRONG_OPTIONS)
@pytest.mark.parametrize("command", ["optimize", "compile"])
def test_wrong_option(
    burnish: Burnish, open_model: Path, tmp_path: Path, command: str, case: str
) -> None:
    options, expected = WRONG_OPTIONS[case]
    if command == "compile" and "--input-shape" not in options:
        options = [*options, "--input-shape", "x=2,6"]
    done = burnish(command, open_model, "-o", tmp_path / "out.onnx", *options)
    assert expected in done.message
    assert done.code == USAGE


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--target", "x86-64-v5"], "x86-64-v4"),
        (["--threads", "0"], "--threads"),
        (["--tune", "long"], "--tune"),
        (["--tune", "-1"], "--tune"),
    ],
)
def test_wrong_option_of_compile(
    burnish: Burnish, model: Path, tmp_path: Path, options: list[str], expected: str
) -> None:
    done = burnish("compile", model, "-o", tmp_path / "out", *options)
    assert expected in done.message
    assert done.code == USAGE


def test_unknown_command(burnish: Burnish) -> None:
    done = burnish("optimise", "model.onnx")
    assert "optimise" in done.message
    assert done.code == USAGE


def test_missing_argument(burnish: Burnish, model: Path) -> None:
    assert burnish("optimize", model).code == USAGE
    assert burnish("run").code == USAGE


@pytest.mark.parametrize("command", ["optimize", "compile"])
def test_output_that_cannot_be_written(
    burnish: Burnish, model: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("keep me")
    done = burnish(command, model, "-o", tmp_path / "folder")
    assert str(tmp_path / "folder") in done.message
    assert done.code == USAGE
    assert (tmp_path / "folder" / "letter.txt").read_text() == "keep me"


# Models that cannot be compiled.


def test_open_size_when_compiling(burnish: Burnish, tmp_path: Path) -> None:
    path = parsed(
        """
        g (float["batch", 3, "height", 8] image, int64["batch"] label, float[2] fixed)
          => (float["batch", 3, "height", 8] y) { y = Relu(image) }
        """,
        tmp_path / "open.onnx",
    )
    done = burnish("compile", path, "-o", tmp_path / "out")
    assert "--input-shape 'image=batch,3,height,8'" in done.message
    assert "--input-shape 'label=batch'" in done.message
    assert "fixed" not in done.message.replace("fixed shapes", "")
    assert done.code == USAGE


def test_unsupported_operator(burnish: Burnish, tmp_path: Path) -> None:
    node = helper.make_node("Quux", ["x"], ["y"], domain="org.example", name="odd")
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("org.example", 1)]
    path = save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "q.onnx")
    done = burnish("compile", path, "-o", tmp_path / "out")
    assert "Quux" in done.message
    assert done.code == FAILED


@pytest.mark.parametrize("target", ["cpu", "arm64:cortex-a76"])
def test_unsupported_dtype(burnish: Burnish, tmp_path: Path, target: str) -> None:
    path = parsed(
        'g (string[2] x) => (string[2] y) { y = StringNormalizer<case_change_action="UPPER">(x) }',
        tmp_path / "strings.onnx",
    )
    done = burnish("compile", path, "-o", tmp_path / "out", "--target", target)
    assert "string" in done.message.lower()
    assert done.code == FAILED


def test_operator_that_only_the_host_can_run(burnish: Burnish, tmp_path: Path) -> None:
    path = parsed(
        """
        g (float[2, 3, 3] x) => (float[2] y) { [volume] y = Det(x) }
        """,
        tmp_path / "det.onnx",
    )
    done = burnish("compile", path, "-o", tmp_path / "out", "--target", "arm64:cortex-a76")
    assert "Det" in done.message
    assert done.code == FAILED


# Running.


def array(path: Path, value: np.ndarray) -> Path:
    np.save(path, value)
    return path


X = np.zeros((2, 6), np.float32)
WRONG_INPUTS = {
    "wrong name": (["X={x}"], X, "no input 'X'"),
    "wrong shape": (["x={x}"], X[:1], "has shape [1, 6], and [2, 6] is expected"),
    "wrong rank": (["x={x}"], X[None], "has shape [1, 2, 6]"),
    "wrong dtype": (["x={x}"], X.astype(np.float64), "is of dtype float64"),
    "given twice": (["x={x}", "x={x}"], X, "given twice"),
    "one more": (["x={x}", "z={x}"], X, "no input 'z'"),
    "no name": (["{x}"], X, "NAME=IN.npy"),
}


@pytest.mark.parametrize("case", WRONG_INPUTS)
def test_wrong_input(burnish: Burnish, artifact: Path, tmp_path: Path, case: str) -> None:
    items, value, expected = WRONG_INPUTS[case]
    path = array(tmp_path / "x.npy", value)
    inputs = [text for item in items for text in ("-i", item.format(x=path))]
    done = burnish("run", artifact, *inputs, "-o", tmp_path / "out.npz")
    assert expected in done.message
    assert done.code == USAGE


def test_missing_input(burnish: Burnish, artifact: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz")
    done = burnish("run", artifact, "-i", tmp_path / "none.npz")
    assert "input 'x' is missing" in done.message or "give" in done.message
    assert done.code == USAGE


def test_input_files(burnish: Burnish, artifact: Path, tmp_path: Path) -> None:
    done = burnish("run", artifact, "-i", f"x={tmp_path / 'none.npy'}")
    assert "does not exist" in done.message
    assert done.code == INVALID
    (tmp_path / "text.npy").write_text("1 2 3")
    done = burnish("run", artifact, "-i", f"x={tmp_path / 'text.npy'}")
    assert "no numpy array" in done.message
    assert done.code == INVALID


def test_pickled_input_is_not_executed(burnish: Burnish, artifact: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([object()]), allow_pickle=True)
    done = burnish("run", artifact, "-i", f"x={tmp_path / 'x.npy'}")
    assert done.code == INVALID


@pytest.mark.parametrize("command", ["run", "inspect"])
def test_no_artifact(burnish: Burnish, tmp_path: Path, command: str) -> None:
    (tmp_path / "text.burnish").write_text("no archive")
    assert burnish(command, tmp_path / "missing.burnish").code == INVALID
    done = burnish(command, tmp_path / "text.burnish")
    assert "is not an artifact" in done.message
    assert done.code == INVALID


def test_damaged_artifact(burnish: Burnish, artifact: Path, tmp_path: Path) -> None:
    data = bytearray(artifact.read_bytes())
    data[data.index(b"\x7fELF") + 4096] ^= 0xFF
    copy = tmp_path / "damaged.burnish"
    copy.write_bytes(data)
    done = burnish("run", copy)
    assert "damaged" in done.message
    assert done.code == INVALID
    copy.write_bytes(data[: len(data) // 2])
    assert burnish("run", copy).code == INVALID


OTHER = {"x86_64": ("aarch64", "arm64:cortex-a76"), "aarch64": ("x86_64", "x86-64-v3")}


def test_artifact_for_another_processor(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    here = platform.machine()
    there, target = OTHER[here]
    assert burnish("compile", model, "-o", tmp_path / "a.burnish", "--target", target).code == 0
    done = burnish("run", tmp_path / "a.burnish", "-o", tmp_path / "out.npz")
    assert f"this artifact is for {there}" in done.message
    assert done.code == FAILED
    assert burnish("inspect", tmp_path / "a.burnish").code == 0


def test_self_test_that_fails(
    burnish: Burnish, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from burnish.backends import artifact as module

    monkeypatch.setattr(module, "deviation", lambda name, *_: module.Deviation(name, float("nan")))
    done = burnish("run", artifact, "--self-test")
    assert "self-test failed" in done.message
    assert done.code == errors.GateFailed.exit_code == 3


# The machine gives up, or the user does.


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system refuse files beyond a few bytes while results are saved."""
    for kind in (Graph, Artifact):
        monkeypatch.setattr(kind, "save", limited(kind.save))
    monkeypatch.setattr(np, "savez", limited(np.savez))


def limited(function: Callable[..., None]) -> Callable[..., None]:
    def call(*args: object, **options: object) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
        try:
            function(*args, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return call


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("out", ["out", "out.burnish"])
def test_full_disk_when_compiling(burnish: Burnish, model: Path, tmp_path: Path, out: str) -> None:
    done = burnish("compile", model, "-o", tmp_path / out)
    assert f"cannot write {tmp_path / out}" in done.message
    assert done.code == FAILED


@pytest.mark.usefixtures("full_disk")
def test_full_disk_when_optimizing(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    done = burnish("optimize", model, "-o", tmp_path / "out.onnx")
    assert f"cannot write {tmp_path / 'out.onnx'}" in done.message
    assert done.code == FAILED


@pytest.mark.usefixtures("full_disk")
def test_full_disk_when_running(burnish: Burnish, artifact: Path, tmp_path: Path) -> None:
    done = burnish("run", artifact, "-o", tmp_path / "out.npz")
    assert f"cannot write {tmp_path / 'out.npz'}" in done.message
    assert done.code == FAILED


@pytest.mark.usefixtures("full_disk")
def test_full_disk_keeps_what_was_there(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    before = tmp_path / "kept.onnx"
    before.write_text("the previous result")
    assert burnish("optimize", model, "-o", before).code == FAILED
    assert before.read_text() == "the previous result"


@pytest.mark.parametrize("command", ["optimize", "compile"])
@pytest.mark.parametrize("moment", ["burnish.pipeline.run_pass", "os.replace"])
def test_interrupt(
    burnish: Burnish,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    moment: str,
) -> None:
    monkeypatch.setattr(moment, lambda *args, **options: signal.raise_signal(signal.SIGINT))
    done = burnish(command, model, "-o", tmp_path / "out.onnx")
    assert "interrupted" in done.message
    assert done.code == INTERRUPTED


def test_interrupt_of_a_process(model: Path, tmp_path: Path) -> None:
    """The same through a real process: passes are slowed down, then Ctrl-C comes."""
    code = (
        "import sys, time, burnish.pipeline as p\n"
        "def slow(*args): print('ready', flush=True); time.sleep(60)\n"
        "p.run_pass = slow\n"
        "from burnish.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", code, "optimize", str(model), "-o", str(tmp_path / "out.onnx")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert Outcome(process.returncode, out, err).message == (
        "burnish: interrupted; nothing was written"
    )
    assert process.returncode == INTERRUPTED


# What is not the user's fault, and what -v adds.


def test_a_bug_is_called_one(
    burnish: Burnish, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("burnish.report.describe_graph", crash)
    done = burnish("inspect", model)
    assert "this is a bug in burnish (ZeroDivisionError: by zero)" in done.message
    assert done.code == FAILED


def test_traceback_only_on_demand(burnish: Burnish, tmp_path: Path) -> None:
    assert "Traceback" not in burnish("inspect", tmp_path / "missing.onnx").err
    done = burnish("inspect", tmp_path / "missing.onnx", "-v")
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("burnish: ")


def test_a_pass_that_is_undone_is_named(
    burnish: Burnish, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from burnish.passes.cleanup.remove_dead_code import RemoveDeadCode

    def crash(*args: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(RemoveDeadCode, "run", crash)
    path = tmp_path / "result.onnx"
    done = burnish("optimize", model, "-o", path)
    assert done.code == 0
    assert "pass remove-dead-code was undone: it crashed" in done.err
    assert "Traceback" not in done.err
    assert "Traceback" in burnish("optimize", model, "-o", path, "-v").err


def test_exit_codes() -> None:
    kinds = (errors.UnsupportedModel, errors.UsageError, errors.GateFailed, errors.InvalidInput)
    assert [kind.exit_code for kind in kinds] == [1, 2, 3, 4]
    assert main(["--version"]) == 0
