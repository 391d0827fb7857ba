"""Artifacts: right answers, clear refusals, the same bytes, and nothing read that was tampered."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from burnish.backends.artifact import LIBRARY, WEIGHTS, Artifact, load_artifact
from burnish.backends.build import Provenance, build_artifact
from burnish.backends.program import Call
from burnish.backends.self_test import Vector
from burnish.errors import BurnishError, GateFailed, InvalidInput, UnsupportedModel, UsageError
from burnish.target import Target
from tests.backends.artifact import toy
from tests.depth import part


def test_runs(artifact: Artifact) -> None:
    x = toy.sample(3)
    np.testing.assert_array_equal(artifact.run({"x": x})["y"], toy.answer(x))


def test_a_result_is_the_callers_own(artifact: Artifact) -> None:
    first = artifact.run({"x": toy.sample(1)})["y"]
    kept = first.copy()
    artifact.run({"x": toy.sample(2)})
    np.testing.assert_array_equal(first, kept)


def test_arrays_of_any_layout(artifact: Artifact) -> None:
    x = toy.sample()
    room = np.zeros((2 * x.shape[0], x.shape[1] + 1), np.float32)
    room[::2, 1:] = x
    shifted = np.frombuffer(b"123" + x.tobytes(), np.uint8)[3:].view(np.float32)
    for same in (np.asfortranarray(x), room[::2, 1:], shifted.reshape(x.shape)):
        np.testing.assert_array_equal(artifact.run({"x": same})["y"], toy.answer(x))


def test_inputs_are_not_written(artifact: Artifact) -> None:
    x = toy.sample()
    x.flags.writeable = False
    artifact.run({"x": x})
    np.testing.assert_array_equal(x, toy.sample())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'x' is missing; the inputs are x"),
        (toy.sample(), "inputs are a mapping of names to arrays, not one ndarray"),
        (3, "inputs are a mapping of names to arrays, not one int"),
        ({"x": toy.sample(), "z": toy.sample()}, "there is no input 'z'; the inputs are x"),
        ({"x": toy.sample().astype("f8")}, "'x' is of dtype float64, and float32 is expected"),
        ({"x": toy.sample()[:3]}, r"'x' has shape \[3, 53\], and \[37, 53\] is expected"),
        ({"x": toy.sample().ravel()}, r"'x' has shape \[1961\]"),
        ({"x": toy.sample().astype(">f4")}, "'x' is of dtype >f4"),
    ],
)
def test_wrong_inputs_are_refused(
    artifact: Artifact, inputs: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        artifact.run(inputs)


@pytest.mark.parametrize("name", ["saved", "saved.burnish"])
def test_saved_and_loaded(artifact: Artifact, tmp_path: Path, name: str) -> None:
    artifact.save(tmp_path / name)
    again = load_artifact(tmp_path / name)
    assert again.self_test()[0].error == 0
    assert again.manifest == artifact.manifest
    assert [str(port) for port in again.inputs] == ["x: float32[37, 53]"]
    again.save(tmp_path / "third.burnish")
    artifact.save(tmp_path / "fourth.burnish")
    assert (tmp_path / "third.burnish").read_bytes() == (tmp_path / "fourth.burnish").read_bytes()


def test_same_input_same_bytes(kernels: bytes, target: Target, tmp_path: Path) -> None:
    for name in ("a.burnish", "b.burnish"):
        vector = Vector({"x": toy.sample()}, {"y": toy.answer(toy.sample())})
        made = build_artifact([toy.make_program(kernels)], target, [vector], Provenance())
        made.save(tmp_path / name)
    assert (tmp_path / "a.burnish").read_bytes() == (tmp_path / "b.burnish").read_bytes()


def test_the_library_says_nothing_about_where_it_was_made(
    artifact: Artifact, tmp_path: Path
) -> None:
    artifact.save(tmp_path / "m")
    library = (tmp_path / "m" / LIBRARY).read_bytes()
    assert b"/tmp" not in library
    assert str(Path.home()).encode() + b"/" not in library


def test_self_test_fails_on_a_wrong_answer(kernels: bytes, target: Target) -> None:
    wrong = toy.answer(toy.sample())
    wrong[0, 0] += 0.01
    vector = Vector({"x": toy.sample()}, {"y": wrong})
    made = build_artifact([toy.make_program(kernels)], target, [vector], Provenance())
    with pytest.raises(GateFailed, match=r"self-test failed: output y is off by 0\.00"):
        made.self_test()


def change_manifest(saved: Path, change: Callable[[dict[str, object]], object]) -> None:
    data = json.loads((saved / "manifest.json").read_text())
    change(data)
    (saved / "manifest.json").write_text(json.dumps(data))


@pytest.mark.parametrize("name", [LIBRARY, WEIGHTS, "selftest.npz", "burnish.h"])
def test_a_changed_file_is_refused(saved: Path, name: str) -> None:
    data = bytearray((saved / name).read_bytes())
    data[-1] ^= 1
    (saved / name).write_bytes(data)
    with pytest.raises(InvalidInput, match=f"{name} is damaged"):
        load_artifact(saved)


@pytest.mark.parametrize("name", [LIBRARY, WEIGHTS])
@pytest.mark.parametrize("verify", [True, False])
def test_a_truncated_file_is_refused(saved: Path, name: str, verify: bool) -> None:
    data = (saved / name).read_bytes()
    (saved / name).write_bytes(data[:-1])
    with pytest.raises(InvalidInput, match=f"{name} has {len(data) - 1} bytes, not {len(data)}"):
        load_artifact(saved, verify=verify)


def test_a_missing_file_is_refused(saved: Path) -> None:
    (saved / WEIGHTS).unlink()
    with pytest.raises(InvalidInput, match=r"has no weights\.bin"):
        load_artifact(saved)


def test_a_file_the_manifest_does_not_list_is_refused(saved: Path) -> None:
    change_manifest(saved, lambda data: data["files"].pop(WEIGHTS))  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match=r"lists no weights\.bin"):
        load_artifact(saved)


def test_weights_of_another_model_are_refused_by_the_library_itself(saved: Path) -> None:
    data = bytearray((saved / WEIGHTS).read_bytes())
    data[20] ^= 1  # in the header's hash
    (saved / WEIGHTS).write_bytes(data)
    with pytest.raises(InvalidInput, match="holds the weights of another model"):
        load_artifact(saved, verify=False).run({"x": toy.sample()})


@pytest.mark.parametrize("shape", [[1, 1], [1 << 45], [1 << 61, 4]])
def test_a_manifest_that_lies_about_shapes_is_refused(saved: Path, shape: list[int]) -> None:
    def lie(data: dict[str, object]) -> None:
        data["entries"][0]["outputs"][0]["shape"] = shape  # type: ignore[index]

    change_manifest(saved, lie)
    with pytest.raises(InvalidInput, match="disagree about the inputs and outputs"):
        load_artifact(saved).run({"x": toy.sample()})


def patch_elf(saved: Path, machine: int) -> None:
    data = bytearray((saved / LIBRARY).read_bytes())
    data[18:20] = machine.to_bytes(2, "little")
    (saved / LIBRARY).write_bytes(data)


def test_another_architecture_is_one_clear_error(saved: Path) -> None:
    patch_elf(saved, 243)
    with pytest.raises(UnsupportedModel, match="this artifact is for riscv64, and this machine is"):
        load_artifact(saved, verify=False).run({"x": toy.sample()})


def test_it_can_be_inspected_where_it_cannot_run(saved: Path) -> None:
    patch_elf(saved, 243)
    assert load_artifact(saved, verify=False).manifest.native == {"operators": 1.0}


def test_what_is_no_library_is_one_clear_error(saved: Path) -> None:
    size = (saved / LIBRARY).stat().st_size
    (saved / LIBRARY).write_bytes(b"MZ".ljust(size, b"\0"))
    with pytest.raises(InvalidInput, match="is not a shared library"):
        load_artifact(saved, verify=False).run({"x": toy.sample()})


def test_replacing_an_artifact_that_is_loaded(kernels: bytes, target: Target, saved: Path) -> None:
    old = load_artifact(saved)
    x = toy.sample()
    old.run({"x": x})
    program = toy.make_program(kernels)
    program.calls = [Call("twice", (program.inputs[0], program.outputs[0]))]
    vector = Vector({"x": x}, {"y": 2 * x})
    build_artifact([program], target, [vector], Provenance()).save(saved)
    np.testing.assert_array_equal(load_artifact(saved).run({"x": x})["y"], 2 * x)
    np.testing.assert_array_equal(old.run({"x": x})["y"], toy.answer(x))


def test_threads_are_checked(saved: Path) -> None:
    with pytest.raises(UsageError, match="threads must be at least 1, not 0"):
        load_artifact(saved, threads=0)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads(saved: Path, threads: int) -> None:
    loaded = load_artifact(saved, threads=threads)
    assert loaded.native.threads == threads
    for seed in range(20):
        x = toy.sample(seed)
        np.testing.assert_array_equal(loaded.run({"x": x})["y"], toy.answer(x))


def test_profile_names_every_call(artifact: Artifact) -> None:
    times = artifact.profile({"x": toy.sample()}, repeat=5)
    assert [each.name for each in times] == ["twice", "add", "reverse"]
    assert all(0 < each.seconds < 1 for each in times)
    assert [each.rounds for each in times] == [1, 1, 1]


def test_libraries_of_earlier_versions_are_profiled(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact.native._c, "profile_rounds", None)  # what they lack
    times = artifact.profile({"x": toy.sample()}, repeat=2)
    assert [each.rounds for each in times] == [None, None, None]


RUN_ALONE = """
import sys
import zipfile
from burnish.backends.artifact import load_artifact
load_artifact(sys.argv[1]).self_test()
heavy = {"tvm", "tvm_ffi", "onnx", "onnxruntime", "onnx_graphsurgeon", "ziglang", "rich", "typer"}
found = sorted(heavy & {name.partition(".")[0] for name in sys.modules})
assert not found, found
"""


def test_running_imports_numpy_and_nothing_heavy(saved: Path) -> None:
    subprocess.run([sys.executable, "-c", RUN_ALONE, str(saved)], check=True)


def test_the_weights_stay_where_they_are(artifact: Artifact, tmp_path: Path) -> None:
    artifact.save(tmp_path / "m.burnish")
    loaded = load_artifact(tmp_path / "m.burnish")
    loaded.run({"x": toy.sample()})
    with open("/proc/self/maps") as maps:
        assert any(str(tmp_path / "m.burnish") in line for line in maps)


def test_an_archive_that_was_packed_anew_is_one_clear_error(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.burnish"
    with zipfile.ZipFile(again, "w") as archive:
        for path in saved.iterdir():
            archive.write(path, path.name)
    with pytest.raises(InvalidInput, match="use the archive as burnish wrote it, or unpack it"):
        load_artifact(again).run({"x": toy.sample()})


def test_the_default_is_no_more_threads_than_processors(saved: Path) -> None:
    code = f"""
import os
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from burnish.backends.artifact import load_artifact
from tests.depth import part
assert load_artifact({str(saved)!r}).native.threads == 1
assert load_artifact({str(saved)!r}, threads=2).native.threads == 2
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_processor_that_lacks_a_feature_is_told_so(kernels: bytes, target: Target) -> None:
    flags = Path("/proc/cpuinfo").read_text().replace("_", "-").split()
    absent = [name for name in ("amx-tile", "avx512-fp16", "avx-vnni") if name not in flags]
    if target.arch != "x86_64" or not absent:
        pytest.skip("needs an x86 processor without one of the newest features")
    feature = {"avx512-fp16": "avx512fp16", "avx-vnni": "avxvnni"}.get(absent[0], absent[0])
    newer = replace(target, features=target.features | {feature})
    made = build_artifact([toy.make_program(kernels)], newer, [], Provenance())
    with pytest.raises(UnsupportedModel, match=f"needs a processor with {feature}, which this"):
        made.run({"x": toy.sample()})


@settings(
    max_examples=part(400), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.data())
def test_damage_anywhere_is_one_clear_error_or_harmless(
    data: st.DataObject, artifact: Artifact, tmp_path: Path
) -> None:
    whole, damaged = tmp_path / "whole.burnish", tmp_path / "damaged.burnish"
    if not whole.exists():
        artifact.save(whole)
    content = bytearray(whole.read_bytes())
    # Most damage belongs where structure is: the manifest at the start, the directory at the end.
    size = len(content)
    places = st.one_of(st.integers(0, 3000), st.integers(size - 500, size - 1))
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    damaged.write_bytes(content)
    try:
        loaded = load_artifact(damaged)
    except BurnishError:
        return
    assert loaded._files.read(LIBRARY) == artifact._files.read(LIBRARY)
