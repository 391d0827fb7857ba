"""Real models are as good after the default passes as before, item by item (some of the items)."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import burnish
from benchmarks.builders.packaged import package_folder
from benchmarks.tasks import fashion, magika, ocr
from benchmarks.zoo import find
from burnish.bench.loading import load_task
from burnish.bench.task import evaluate
from burnish.oracle import Oracle
from tests.depth import slow

ROOT = Path(__file__).resolve().parents[3]


def model(name: str) -> Path:
    """The path of a model that is shipped here or in a package."""
    if name.startswith("fashion"):
        return fashion.MODELS / f"{name}.onnx"
    options = find(name).options
    if find_spec(options["package"]) is None:
        pytest.skip(f"{options['package']} is not installed")
    return package_folder(options["package"]) / options["file"]


@pytest.mark.parametrize(
    ("name", "task", "least"),
    [
        ("fashion-cnn", replace(fashion.TASK, items=500), 0.9),
        slow("fashion-vit", replace(fashion.TASK, items=500), 0.88),
        slow("magika", replace(magika.TASK, each=2), 0.85),
        slow("ppocr-v4-rec", replace(ocr.TASK, items=12), 0.6),
    ],
)
def test_the_default_passes_cost_nothing(name: str, task: Any, least: float) -> None:
    graph = burnish.load(model(name))
    better, _ = burnish.optimize(graph)
    before, after = (evaluate(task, Oracle(one, threads=1).run) for one in (graph, better))
    assert next(iter(before.values())).metric >= least
    assert list(before) == list(after)
    for metric in before:
        np.testing.assert_array_equal(before[metric].values, after[metric].values)


def test_tasks_can_be_named_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    task = load_task("benchmarks.tasks.fashion:TASK")
    assert task.name == "fashion-mnist"
    assert task.input_shapes == [{"images": (100, 1, 28, 28)}]
    feeds = next(iter(task.calibration()))
    np.testing.assert_array_equal(feeds["images"], next(fashion.TASK.calibration())["images"])
