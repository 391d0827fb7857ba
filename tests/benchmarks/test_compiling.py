"""The command line as benchmarks run it."""

import json
from pathlib import Path

import pytest

from benchmarks.compiling import CommandFailed, Compiled, last_message, run_burnish, shape_options


def artifact(folder: Path, regions: list[bool]) -> Compiled:
    segments = [{"region": "0.onnx"} if is_region else {"first": 0} for is_region in regions]
    manifest = {"entries": [{"segments": segments}], "native": {"operators": 0.75}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "model.so").write_bytes(b"")
    return Compiled(folder, 1.0)


def test_reads_what_the_manifest_says(tmp_path: Path) -> None:
    compiled = artifact(tmp_path, [False, True, True])
    assert compiled.regions == 2
    assert compiled.native_share == 0.75
    assert compiled.library == tmp_path / "model.so"


def test_an_artifact_without_regions_has_none(tmp_path: Path) -> None:
    assert artifact(tmp_path, [False]).regions == 0


def test_scalars_need_no_shape_option() -> None:
    assert shape_options({"x": (1, 3), "steps": ()}) == ["--input-shape", "x=1,3"]


def test_failures_carry_the_message(tmp_path: Path) -> None:
    missing = tmp_path / "missing.onnx"
    with pytest.raises(CommandFailed, match=r"exit code 4: burnish: .*missing\.onnx"):
        run_burnish(["inspect", str(missing)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("warning: x\nburnish: no such pass\nwarning: y\n", "burnish: no such pass"),
        ("Traceback\n  deep\nKeyError:   'x'\n", "KeyError: 'x'"),
        ("", "it said nothing"),
    ],
)
def test_the_last_message_is_burnish_own(text: str, message: str) -> None:
    assert last_message(text) == message
