"""Tasks in Python code of the user's, whatever that code does."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent

import numpy as np
import pytest

from burnish.bench.loading import load_task
from burnish.bench.task import Feeds, TaskFailed, evaluate
from burnish.bench.user_task import UserTask
from burnish.errors import BurnishError, UnsupportedModel, UsageError

START, HANG, ENOUGH = 60.0, 0.3, 1.5
"""Seconds: enough to start, those after which code that hangs is ended, and enough for little."""

TASK = """
import os
import sys
import time

import numpy as np
from burnish.bench.task import Scores


class Task:
    name = "signs"
    input_shapes = [{"x": (1, 2)}]

    def calibration(self):
        for i in range(3):
            yield {"x": np.full((1, 2), i, np.float32)}

    def evaluate(self, run):
        BODY

TASK = Task()
broken = 7
"""
BODY = """
print("this is no answer")
assert sys.stdin.read() == ""
items = [run({"x": np.float32([[i, -i]])})["y"].argmax() == 0 for i in range(4)]
return {"accuracy": Scores.of(items)}
"""


def echo(feeds: Feeds) -> dict[str, np.ndarray]:
    return {"y": feeds["x"]}


def slow_echo(feeds: Feeds) -> dict[str, np.ndarray]:
    time.sleep(ENOUGH / 3)
    return echo(feeds)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes a module `mine` whose task evaluates as told into the working folder."""
    monkeypatch.chdir(tmp_path)

    def write(body: str, name: str = "mine") -> None:
        text = TASK.replace("BODY", indent(dedent(body).strip(), 8 * " ").strip())
        (tmp_path / f"{name}.py").write_text(text)

    return write


@pytest.mark.parametrize("text", ["mine:TASK", "mine:Task", "mine.py:TASK"])
def test_a_task_scores_a_model(write: Callable[[str], None], text: str) -> None:
    write(BODY)
    task = load_task(text, START)
    assert task.name == "signs"
    assert task.input_shapes == [{"x": (1, 2)}]
    assert [float(feeds["x"][0, 0]) for feeds in task.calibration()] == [0, 1, 2]
    for _ in range(2):
        scores = evaluate(task, echo)
        np.testing.assert_array_equal(scores["accuracy"].values, [1, 1, 1, 1])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('no such file')", r"ValueError: no such file \(.*mine.py, line 19\)"),
        ("sys.exit(3)", "mine:TASK: SystemExit: 3"),
        ("os.kill(os.getpid(), 9)", r"mine:TASK: its process crashed \(SIGKILL\)"),
        ("os._exit(3)", r"its process crashed \(exit code 3\)"),
        ("return {'accuracy': Scores.of([])}", "no items: the evaluation split is empty"),
        ("return {'accuracy': Scores.of([1, float('nan')])}", "the value of item 1 is nan"),
        ("return 0.93", "evaluate returned a float"),
        ("run(np.ones(3))", "feeds are a ndarray; they have to be a dict"),
        ("run({'x': [object()]})", "what is fed to 'x' holds objects"),
    ],
)
def test_code_that_fails(write: Callable[[str], None], body: str, reason: str) -> None:
    write(body)
    task = load_task("mine:TASK", START)
    with pytest.raises(TaskFailed, match=reason):
        evaluate(task, echo)
    # The next use starts another process if need be.
    assert len(list(task.calibration())) == 3


def test_a_crash_while_the_model_runs(write: Callable[[str], None]) -> None:
    write("""
        import threading
        threading.Timer(0.05, os._exit, [5]).start()
        run({"x": np.ones((1, 2))})
        time.sleep(1000)
    """)
    with pytest.raises(TaskFailed, match=r"its process crashed \(exit code 5\)"):
        evaluate(load_task("mine:TASK", START), slow_echo)


@pytest.mark.parametrize(
    "body",
    ["time.sleep(1000)", "while True: run({'x': np.ones((1, 2))})", "os.fork(); time.sleep(1000)"],
)
def test_code_that_hangs(write: Callable[[str], None], body: str) -> None:
    write(body)
    task = UserTask("mine:TASK", START)
    task.limit = HANG
    with pytest.raises(TaskFailed, match=r"mine:TASK did not finish in 0\.3 s of its own"):
        evaluate(task, echo)


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_processes_that_it_started_end_with_it(write: Callable[[str], None]) -> None:
    write("""
        copy = os.fork()
        if copy:
            open("copy", "w").write(str(copy))
        time.sleep(1000)
    """)
    task = UserTask("mine:TASK", START)
    task.limit = HANG
    with pytest.raises(TaskFailed, match="did not finish"):
        evaluate(task, echo)
    copy, deadline = int(Path("copy").read_text()), time.monotonic() + START
    while is_running(copy) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(copy)


def test_a_copy_of_its_process_does_not_answer(write: Callable[[str], None]) -> None:
    write("os.fork()\n" + dedent(BODY))
    task = load_task("mine:TASK", START)
    assert evaluate(task, echo)["accuracy"].metric == 1
    assert evaluate(task, lambda feeds: {"y": -feeds["x"]})["accuracy"].metric == 0.25


def test_a_process_that_hangs_up(
    write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("burnish.backends.child.ENDING", 0.1)
    write("os.closerange(3, 100); time.sleep(1000)")
    with pytest.raises(TaskFailed, match="its process closed its end of the pipe and went on"):
        evaluate(load_task("mine:TASK", START), echo)


def test_runs_of_the_model_do_not_count(write: Callable[[str], None]) -> None:
    write(BODY)
    task = UserTask("mine:TASK", START)
    task.limit = ENOUGH
    assert evaluate(task, slow_echo)["accuracy"].metric == 1


def test_a_model_that_fails_is_told_as_such(write: Callable[[str], None]) -> None:
    write(BODY)
    task = load_task("mine:TASK", START)

    def refuse(_: Feeds) -> dict[str, np.ndarray]:
        raise UnsupportedModel("ONNX Runtime cannot run the model")

    with pytest.raises(UnsupportedModel, match="cannot run the model"):
        evaluate(task, refuse)
    assert evaluate(task, echo)["accuracy"].metric == 1


def test_ctrl_c_leaves_no_answer_behind(
    write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(BODY)
    task = load_task("mine:TASK", START)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("burnish.backends.child.Child._read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(task, echo)
    assert evaluate(task, echo)["accuracy"].metric == 1


def test_a_file_with_several_tasks_or_none(write: Callable[[str], None]) -> None:
    write(BODY)
    # Its class is no other task, nor is what it imports.
    assert load_task("mine.py", START).name == "signs"
    text = Path("mine.py").read_text()
    Path("made.py").write_text(text.replace("TASK = Task()", "AGAIN = TASK = _HIDDEN = Task()"))
    Path("two.py").write_text(f"{text}\nOTHER = Task()\n")
    with pytest.raises(UsageError, match=r"two.py has 2 tasks, TASK, OTHER: write two.py:TASK"):
        load_task("two.py", START)
    assert load_task("made.py", START).name == "signs"
    Path("one_class.py").write_text(text.replace("TASK = Task()", ""))
    assert load_task("one_class.py", START).name == "signs"
    Path("none.py").write_text("from one_class import Task, np\ndef evaluate(run): pass\n")
    with pytest.raises(UsageError, match=r"none.py has no task, which is an object with name, "):
        load_task("none.py", START)


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        ("{'x': (1, 2)}", [{"x": (1, 2)}]),
        ("({'x': [np.int64(1), 2]},)", [{"x": (1, 2)}]),
        ("[]", []),
        ("(1, 2)", "input_shapes is (1, 2); make it a list of dicts"),
        ("[{'x': 3}]", "make it a list of dicts"),
        ("{'x': (1.5, 2)}", "make it a list of dicts"),
        ("None", "input_shapes is None; make it a list of dicts"),
    ],
)
def test_forms_of_input_shapes(write: Callable[[str], None], shapes: str, found: object) -> None:
    write(BODY)
    text = Path("mine.py").read_text().replace('[{"x": (1, 2)}]', shapes)
    Path("mine.py").write_text(text)
    if isinstance(found, str):
        with pytest.raises(TaskFailed, match=re.escape(found)):
            load_task("mine.py", START)
    else:
        assert load_task("mine.py", START).input_shapes == found


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("nowhere", UsageError, "no folder of that name; give a folder of .npz files, or a task"),
        ("nowhere:TASK", UsageError, "no module 'nowhere' here"),
        ("nowhere.py:TASK", UsageError, "nowhere.py does not exist"),
        ("mine:TUSK", UsageError, "unknown name 'TUSK'; did you mean TASK"),
        ("mine:broken", UsageError, "is an object of type int without name and input_shapes and"),
        ("raising:TASK", TaskFailed, "RuntimeError: at import"),
        ("wanting:TASK", TaskFailed, "ModuleNotFoundError: No module named 'not_installed'"),
    ],
)
def test_what_is_no_task(
    write: Callable[[str], None], text: str, kind: type[BurnishError], reason: str
) -> None:
    write(BODY)
    Path("raising.py").write_text("raise RuntimeError('at import')")
    Path("wanting.py").write_text("import not_installed")
    with pytest.raises(kind, match=reason):
        load_task(text, START)
