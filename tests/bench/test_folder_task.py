"""Tasks that are folders of .npz files."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from burnish import npz
from burnish.bench.loading import load_task
from burnish.bench.task import Feeds, Task, TaskFailed, evaluate


def last_axis(feeds: Feeds) -> dict[str, np.ndarray]:
    """A model whose logits are its input."""
    return {"logits": feeds["x"], "other": np.zeros(1)}


def task_of(folder: Path, **arrays: Any) -> Task:
    np.savez(folder / "a.npz", **arrays)
    return load_task(str(folder))


def test_classes(tmp_path: Path) -> None:
    logits = np.float32([[0, 1, 2], [3, 1, 2], [0, 4, 1]])
    np.savez(tmp_path / "b.npz", x=logits[:1], labels=np.array([2]))
    task = task_of(tmp_path, x=logits, labels=np.uint8([2, 0, 0]))
    scores = evaluate(task, last_axis)
    np.testing.assert_array_equal(scores["accuracy"].values, [1, 1, 0, 1])
    assert task.name == tmp_path.name
    assert task.input_shapes == [{"x": (1, 3)}, {"x": (3, 3)}]


def test_the_most_frequent_shapes_come_first(tmp_path: Path) -> None:
    for number, size in enumerate((2, 5, 5)):
        x = np.ones((size, 3), np.float32, order="F")
        np.savez(tmp_path / f"{number}.npz", x=x, labels=np.zeros(size, int))
    assert load_task(str(tmp_path)).input_shapes == [{"x": (5, 3)}, {"x": (2, 3)}]


@pytest.mark.parametrize(("axis", "shape"), [(-1, (2, 5, 4)), (1, (2, 4, 5))])
def test_labels_of_tokens_or_pixels(tmp_path: Path, axis: int, shape: tuple[int, ...]) -> None:
    labels = np.array([[0, 1, 2, 3, 0], [3, 3, 3, 3, 3]])
    logits = np.zeros(shape, np.float32)
    np.put_along_axis(logits, np.expand_dims(labels, axis), 1, axis)
    labels[1, :2] = 0
    scores = evaluate(task_of(tmp_path, x=logits, labels=labels), last_axis)["accuracy"]
    np.testing.assert_array_equal(scores.values, [5, 3])
    np.testing.assert_array_equal(scores.weights, [5, 5])


def test_values(tmp_path: Path) -> None:
    task = task_of(tmp_path, x=np.float32([[1], [2]]), labels=np.float32([[1.5], [2]]))
    scores = evaluate(task, last_axis)["mean-absolute-error"]
    np.testing.assert_array_equal(scores.values, [0.5, 0])
    assert not scores.higher_is_better


def test_calibration(tmp_path: Path) -> None:
    task = task_of(tmp_path, x=np.ones((1, 2)), labels=np.array([0]))
    with pytest.raises(TaskFailed, match=r"calibration holds no \.npz file"):
        list(task.calibration())
    (tmp_path / "calibration").mkdir()
    x = np.asfortranarray(np.arange(6).reshape(2, 3))
    np.savez_compressed(tmp_path / "calibration" / "a.npz", x=x, labels=np.array([0, 0]))
    (feeds,) = task.calibration()
    assert list(feeds) == ["x"]
    np.testing.assert_array_equal(feeds["x"], [[0, 1, 2], [3, 4, 5]])


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(TaskFailed, match="the evaluation split is empty"):
        load_task(str(tmp_path))


LOGITS = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x": LOGITS}, "a.npz has no array 'labels', only x"),
        ({"labels": np.array([0, 1])}, "has labels but no inputs"),
        ({"x": LOGITS, "labels": np.array([0])},
         r"labels have shape \(1,\), but output 'logits' has shape \(2, 3\); classes for it have "
         r"shape \(2,\)"),
        ({"x": LOGITS, "labels": np.array([[0, 1]])}, r"labels have shape \(1, 2\)"),
        ({"x": LOGITS, "labels": np.array([0, 3])}, "label 3 is no class of output 'logits'"),
        ({"x": LOGITS, "labels": np.array([0, -1])}, "label -1 is no class"),
        ({"x": LOGITS, "labels": np.array([0.0, 1.0])}, "floats of shape"),
        ({"x": LOGITS, "labels": np.array(["a", "b"])}, "labels are <U1; give integers"),
        ({"x": LOGITS, "labels": np.array([], int)}, "label no item"),
        ({"x": LOGITS, "labels": np.array(1)}, "label no item"),
        ({"x": LOGITS[0], "labels": np.array([1])}, "shape none at all"),
        ({"x": LOGITS * np.nan, "labels": np.array([0, 1])}, "the value of item 0 is nan"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], reason: str) -> None:
    with pytest.raises(TaskFailed, match=reason):
        evaluate(task_of(tmp_path, **arrays), last_axis)


@pytest.mark.parametrize(
    ("labels", "output"),
    [
        (np.array([0, 1]), np.array([["a", "b"], ["c", "d"]])),
        (np.array([0, 1]), np.array([["a", "b"], ["c", "d"]], object)),
        (np.float32([[0], [1]]), np.array([[1j], [2]])),
        (np.array([0, 1]), [{0: 0.5, 1: 0.5}, {0: 1.0, 1: 0.0}]),
    ],
)
def test_outputs_that_no_label_is_about(tmp_path: Path, labels: np.ndarray, output: Any) -> None:
    task = task_of(tmp_path, x=LOGITS, labels=labels)
    with pytest.raises(TaskFailed, match="output 'y' is no tensor of numbers"):
        evaluate(task, lambda feeds: {"y": output})


def test_classes_here_and_values_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", x=LOGITS, labels=LOGITS)
    task = task_of(tmp_path, x=LOGITS, labels=np.array([0, 1]))
    with pytest.raises(TaskFailed, match="integers in some files and floats in others"):
        evaluate(task, last_axis)


def write(path: Path, header: dict[str, Any], content: bytes) -> None:
    """Write a file with one array whose header says anything."""
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(data, header)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", data.getvalue() + content)


HUGE = {"descr": "<f4", "fortran_order": False, "shape": (1 << 45,)}
OBJECTS = {"descr": "|O", "fortran_order": False, "shape": (1,)}


@pytest.mark.parametrize(
    ("header", "reason"), [(HUGE, "is cut short"), (OBJECTS, "holds objects; give numbers")]
)
def test_hostile_headers(tmp_path: Path, header: dict[str, Any], reason: str) -> None:
    write(tmp_path / "a.npz", header, b"1234")
    with pytest.raises(TaskFailed, match=reason):
        evaluate(load_task(str(tmp_path)), last_axis)
    with pytest.raises(TaskFailed, match=reason):
        assert load_task(str(tmp_path)).input_shapes


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(40)])
def test_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(TaskFailed, match=r"a\.npz"):
        evaluate(load_task(str(tmp_path)), last_axis)


def patched(path: Path, flags: int, method: int) -> None:
    """Write an archive that says that its content is encrypted, or packed in an unknown way."""
    np.savez(path, x=LOGITS)
    content = bytearray(path.read_bytes())
    for header, place in ((0, 6), (content.index(b"PK\x01\x02"), 8)):
        content[header + place] |= flags
        content[header + place + 2] = method
    path.write_bytes(content)


@pytest.mark.parametrize(("flags", "method"), [(1, 0), (0, 99), (0, 14), (0, 12)])
def test_archives_that_cannot_be_unpacked(tmp_path: Path, flags: int, method: int) -> None:
    patched(tmp_path / "a.npz", flags, method)
    with pytest.raises(TaskFailed, match=r"cannot be read as \.npz"):
        evaluate(load_task(str(tmp_path)), last_axis)


@pytest.mark.parametrize(
    "text", ["(" * 5000, "{'a': [", "{1: 2, 'shape'", '"' * 3, "{}", "-" * 9000]
)
def test_headers_that_are_no_python(tmp_path: Path, text: str) -> None:
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header)
    with pytest.raises(TaskFailed, match=r"cannot be read as \.npz"):
        evaluate(load_task(str(tmp_path)), last_axis)


def test_a_file_that_is_no_array(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", "some text")
    with pytest.raises(TaskFailed, match=r"cannot be read as \.npz"):
        evaluate(load_task(str(tmp_path)), last_axis)


def test_large_files_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAX_BYTES", 1000)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((2, 3000)), labels=np.array([0, 1]))
    with pytest.raises(TaskFailed, match="split it into files of at most 1000"):
        evaluate(load_task(str(tmp_path)), last_axis)
