"""Calibration data from files and from Python code."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from burnish import npz
from burnish.calibration import Calibration, load_data
from burnish.calibration.cutting import Cut, samples_of
from burnish.errors import BurnishError, InvalidInput, UsageError
from burnish.ir import Graph
from burnish.testing import graph

LIMIT = 60.0


def taking(*inputs: str) -> Graph:
    """A model with inputs as they are written in ONNX's text form."""
    body = "; ".join(f"y{i} = Identity({one.split()[-1]})" for i, one in enumerate(inputs))
    outputs = ", ".join(f"{one.split()[0]} y{i}" for i, one in enumerate(inputs))
    return graph(f"g ({', '.join(inputs)}) => ({outputs}) {{ {body} }}".replace(";", "\n"))


OPEN = taking('float["n",2] x')
IMAGES = np.arange(12, dtype=np.float32).reshape(6, 2)


def found(text: str | Path, model: Graph = OPEN, samples: int | None = None) -> list[list[object]]:
    calibration = Calibration(load_data(str(text), LIMIT), samples=samples)
    return [[a.tolist() for a in feeds.values()] for feeds in calibration.feeds(model)]


def test_each_item_of_a_file_is_a_sample(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", x=IMAGES[4:], labels=np.array([0, 1]))
    np.savez(tmp_path / "a.npz", x=IMAGES[:4])
    assert found(tmp_path) == [[[row]] for row in IMAGES.tolist()]
    assert len(found(tmp_path, samples=5)) == 5


def test_labels_may_be_an_input(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", labels=IMAGES)
    assert len(found(tmp_path, taking('float["n",2] labels'))) == 6


def test_one_file_is_enough(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=IMAGES)
    np.save(tmp_path / "b.npy", IMAGES)
    assert found(tmp_path / "a.npz") == found(tmp_path / "b.npy")


def test_files_of_one_array_each(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", IMAGES[:3])
    np.save(tmp_path / "1.npy", np.asfortranarray(IMAGES[3:]))
    assert found(tmp_path) == [[[row]] for row in IMAGES.tolist()]


def test_items_without_their_first_axis(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", IMAGES)
    assert found(tmp_path, taking("float[2] x")) == [[row] for row in IMAGES.tolist()]


def test_files_of_one_array_for_two_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", IMAGES)
    with pytest.raises(UsageError, match="holds one array, and the model takes x, z"):
        found(tmp_path, taking("float[2] x", "float[2] z"))


def test_the_batch_of_a_model_that_has_a_fixed_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=IMAGES)
    assert found(tmp_path, taking("float[4,2] x")) == [[IMAGES[:4].tolist()]]
    assert len(found(tmp_path, taking("float[3,2] x"))) == 2
    assert len(found(tmp_path, taking("float[6,2] x"))) == 1
    with pytest.raises(UsageError, match=r"\(6, 2\), and the model takes \[8, 2\]"):
        found(tmp_path, taking("float[8,2] x"))


def test_the_only_axis_of_a_signal_is_no_batch(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", IMAGES.reshape(-1))
    assert found(tmp_path, taking('float["time"] x')) == [[list(range(12))]]


def test_arrays_of_several_lengths_are_not_cut(tmp_path: Path) -> None:
    model = taking('float["n",2] x', 'float["m",2] z')
    np.savez(tmp_path / "a.npz", x=IMAGES, z=IMAGES[:3])
    assert [len(array) for array in found(tmp_path, model)[0]] == [6, 3]


def test_the_calibration_split_of_a_task(tmp_path: Path) -> None:
    np.savez(tmp_path / "evaluation.npz", x=IMAGES, labels=np.zeros(6, int))
    (tmp_path / "calibration").mkdir()
    with pytest.raises(InvalidInput, match=r"calibration holds no \.npz or \.npy"):
        load_data(str(tmp_path))
    np.savez(tmp_path / "calibration" / "a.npz", x=IMAGES[:1])
    assert found(tmp_path) == [[[IMAGES[0].tolist()]]]


def test_what_is_in_memory_is_never_cut() -> None:
    model = taking("float[1,2] x")
    assert list(samples_of(model, {"x": IMAGES}, Cut.NEVER)) == [{"x": IMAGES}]
    with pytest.raises(UsageError, match=r"\(6, 2\)"):
        list(Calibration([{"x": IMAGES}]).feeds(model))


def test_items_that_fill_no_batch_are_left_out_with_a_notice(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=IMAGES)
    odd, even = (Calibration(load_data(str(tmp_path))) for _ in range(2))
    assert len(list(odd.feeds(taking("float[4,2] x")))) == 1
    assert len(list(odd.feeds(taking("float[4,2] x")))) == 1
    (notice,) = odd.notices
    assert "leaves out 2 items: the model takes exactly 4 at a time" in notice
    assert len(list(even.feeds(taking("float[3,2] x")))) == 2
    assert not even.notices


@pytest.mark.parametrize("text", ["nowhere", "nowhere.npz", "module", ":x", "module:", "a.py:1x"])
def test_what_names_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="no folder or file of that name; give a folder"):
        load_data(text)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"holds no \.npz or \.npy file"):
        load_data(str(tmp_path))


def test_a_folder_of_both_kinds(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=IMAGES)
    np.save(tmp_path / "b.npy", IMAGES)
    with pytest.raises(InvalidInput, match=r"\.npz and \.npy"):
        load_data(str(tmp_path))


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    np.save(tmp_path / "b.npy", IMAGES)
    assert len(found(tmp_path)) == 6


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read as .npy"),
        (b"no array", "cannot be read as .npy"),
        (b"\x93NUMPY\x01\x00\x06\x00{'a':\n", "cannot be read as .npy"),
        (b"\x93NUMPY\x07\x00\x06\x00{'a':\n", "in a version of numpy's format not known"),
    ],
)
def test_files_that_are_no_arrays(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InvalidInput, match=reason) as caught:
        found(tmp_path)
    assert caught.value.exit_code == 4


def test_headers_that_promise_too_much(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 45,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"1234")
    with pytest.raises(InvalidInput, match="is cut short"):
        found(tmp_path)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"x": 1}]), allow_pickle=True)
    with pytest.raises(InvalidInput, match="holds objects"):
        found(tmp_path)


def test_archives_that_unpack_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAX_BYTES", 1000)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((300, 2), np.float32))
    with pytest.raises(InvalidInput, match="split it into files of at most 1000"):
        found(tmp_path)
    (tmp_path / "a.npz").unlink()
    np.save(tmp_path / "a.npy", np.zeros((300, 2), np.float32))
    with pytest.raises(InvalidInput, match="split it into files of at most 1000"):
        found(tmp_path)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", "some text")
    with pytest.raises(InvalidInput, match=r"cannot be read as \.npz"):
        found(tmp_path)


CODE = """
import numpy as np

def made(n, batch=1):
    return [{"x": np.full((batch, 2), i, np.float32)} for i in range(n)]

def listed():
    print("this is no answer")
    return made(3)

def yielded():
    yield from made(3)

ready = made(3)
generator = (one for one in made(3))

class Task:
    name = "task"
    def calibration(self):
        yield from made(3)

TASK = Task()

def batched():
    return made(2, batch=6)

def random():
    yield {"x": np.random.default_rng().random((1, 2)).astype(np.float32)}

def fails():
    yield made(1)[0]
    raise KeyError("no such picture")

def leaves():
    raise SystemExit(0)

def crashes():
    import os
    os.abort()

def hangs():
    import time
    yield made(1)[0]
    time.sleep(60)

def number():
    return 7

def one_dict():
    return made(1)[0]

def no_dicts():
    return [1, 2]

def objects():
    return [{"x": [object()]}]

def nothing():
    return []
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "own_data.py"
    path.write_text(dedent(CODE))
    return path


@pytest.mark.parametrize("name", ["listed", "yielded", "ready", "generator", "Task", "TASK"])
def test_code_that_gives_samples(code: Path, name: str) -> None:
    expected = [[[[float(i)] * 2]] for i in range(3)]
    assert found(f"{code}:{name}") == expected


def test_a_module_of_the_folder_at_hand(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(code.parent)
    assert len(found("own_data:listed")) == 3


TASK_ALONE = """
class Task:
    def calibration(self):
        return [{"x": np.zeros((1, 2), np.float32)}]
"""


@pytest.mark.parametrize(
    "text",
    [
        "def calibration():\n    return [{'x': np.zeros((1, 2), np.float32)}]\nTASK = 1",
        TASK_ALONE,
        TASK_ALONE + "TASK = same = Task()",
    ],
)
def test_a_file_with_one_thing_that_gives_samples(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.py"
    path.write_text(f"import numpy as np\n{text}\n")
    assert found(path) == [[[[0, 0]]]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1", "no function calibration and no task"),
        (TASK_ALONE + "one = Task()\nother = Task()", "and 2 tasks, one, other: write .*:NAME"),
    ],
)
def test_a_file_in_which_it_is_not_clear(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=reason):
        found(path)


def test_batches_of_code_are_cut_only_for_fixed_models(code: Path) -> None:
    assert len(found(f"{code}:batched")) == 2
    assert len(found(f"{code}:batched", taking("float[3,2] x"))) == 4


def test_code_is_run_once(code: Path) -> None:
    calibration = Calibration(load_data(f"{code}:random", LIMIT))
    first, second = (next(iter(calibration.feeds(OPEN)))["x"].tolist() for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("fails", InvalidInput, r"KeyError: 'no such picture' \(.*own_data.py, line"),
        ("leaves", InvalidInput, "SystemExit"),
        ("crashes", InvalidInput, r"its process crashed \(SIGABRT\)"),
        ("number", UsageError, "gives a int; name a function"),
        ("one_dict", UsageError, "gives a dict; name a function"),
        ("no_dicts", InvalidInput, "feeds are a int; they have to be a dict"),
        ("objects", InvalidInput, "'x' holds objects"),
        ("nothing", InvalidInput, "the calibration data is empty"),
        ("lsted", UsageError, "did you mean listed"),
    ],
)
def test_code_that_gives_none(code: Path, name: str, kind: type[BurnishError], reason: str) -> None:
    with pytest.raises(kind, match=reason):
        found(f"{code}:{name}")


def test_code_that_hangs(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = load_data(f"{code}:hangs", LIMIT)
    samples = iter(source)
    next(samples)
    monkeypatch.setattr(source, "_limit", 0.3)
    with pytest.raises(InvalidInput, match=r"did not give a sample within 0.3 s; it hangs"):
        next(samples)


def test_code_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        found(f"{tmp_path}/nowhere.py:x")
    with pytest.raises(UsageError, match="no module 'nowhere_at_all'"):
        found("nowhere_at_all:x")


def test_sources_can_be_read_again(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=IMAGES)

    def names(source: Iterator[dict[str, np.ndarray]]) -> list[str]:
        return [name for feeds in source for name in feeds]

    source = load_data(str(tmp_path))
    assert names(iter(source)) == names(iter(source)) == ["x"]
