"""Running: wrong inputs, wrong files, wrong machines."""

from __future__ import annotations

import io
import platform
import zipfile
from pathlib import Path

import numpy as np
import pytest

from burnish.errors import GateFailed, InvalidInput, UnsupportedModel, UsageError
from tests.cli.conftest import Burnish

FAILED, USAGE, INVALID = (kind.exit_code for kind in (UnsupportedModel, UsageError, InvalidInput))

pytestmark = pytest.mark.usefixtures("whole_or_nothing")


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


def bad_inputs(folder: Path) -> dict[str, Path]:
    """Files that numpy reads as something else than arrays, or chokes on."""
    archive, plain = folder / "a.npz", folder / "b.npz"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("x", "some text")
    np.savez(folder / "c.npz", x=X)
    (folder / "c.npz").rename(folder / "c.npy")
    np.save(folder / "plain.npy", X)
    (folder / "plain.npy").rename(plain)
    truncated, cut = folder / "d.npz", folder / "e.npz"
    np.savez_compressed(truncated, x=X)
    content = truncated.read_bytes()
    truncated.write_bytes(content[:-40])
    cut.write_bytes(content[:60] + bytes(20) + content[80:])
    huge = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 60,)}
    np.lib.format.write_array_header_1_0(huge, header)
    (folder / "f.npy").write_bytes(huge.getvalue())
    return {"text": archive, "archive": folder / "c.npy", "no archive": plain,
            "truncated": truncated, "damaged": cut, "huge": folder / "f.npy"}  # fmt: skip


@pytest.mark.parametrize("case", ["text", "archive", "no archive", "truncated", "damaged", "huge"])
def test_files_that_hold_something_else(
    burnish: Burnish, artifact: Path, tmp_path: Path, case: str
) -> None:
    path = bad_inputs(tmp_path)[case]
    done = burnish("run", artifact, "-i", f"x={path}" if path.suffix == ".npy" else path)
    assert "no numpy array" in done.message
    assert done.code == INVALID


def test_input_files(burnish: Burnish, artifact: Path, tmp_path: Path) -> None:
    done = burnish("run", artifact, "-i", f"x={tmp_path / 'none.npy'}")
    assert "does not exist" in done.message
    assert done.code == INVALID
    (tmp_path / "text.npy").write_text("1 2 3")
    done = burnish("run", artifact, "-i", f"x={tmp_path / 'text.npy'}")
    assert "no numpy array" in done.message
    assert "pickle" not in done.message
    assert done.code == INVALID


def test_output_of_another_format(burnish: Burnish, artifact: Path, tmp_path: Path) -> None:
    done = burnish("run", artifact, "-o", tmp_path / "out.npy")
    assert "OUT.npz" in done.message
    assert done.code == USAGE


def test_model_instead_of_artifact(burnish: Burnish, model: Path) -> None:
    done = burnish("run", model)
    assert "compile it first" in done.message
    assert done.code == USAGE


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
    profiled = burnish("inspect", tmp_path / "a.burnish", "--profile")
    assert f"this artifact is for {there}" in profiled.message
    assert profiled.code == FAILED
    done = burnish("run", tmp_path / "a.burnish", "-o", tmp_path / "out.npz")
    assert f"this artifact is for {there}" in done.message
    assert done.code == FAILED
    assert burnish("inspect", tmp_path / "a.burnish").code == 0


def test_self_test_that_fails(
    burnish: Burnish, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from burnish.backends import self_test as module

    monkeypatch.setattr(module, "deviation", lambda name, *_: module.Deviation(name, float("nan")))
    done = burnish("run", artifact, "--self-test")
    assert "self-test failed" in done.message
    assert done.code == GateFailed.exit_code == 3
