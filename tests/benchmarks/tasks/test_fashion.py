"""The images that are shipped, and how they are fed and scored."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.tasks import pack_fashion
from benchmarks.tasks.fashion import CNN, VIT, FashionTask, load
from burnish.bench.task import Feeds, evaluate

LIMIT, MODEL_LIMIT = 5_000_000, 3_000_000


def test_splits() -> None:
    (test, labels), (calibration, _) = load("test"), load("calibration")
    assert test.shape == (10_000, 1, 28, 28)
    assert test.dtype == np.float32
    assert test.min() == 0
    assert test.max() == 1
    assert np.bincount(labels).tolist() == [1000] * 10
    assert calibration.shape == (512, 1, 28, 28)
    assert not {one.tobytes() for one in test} & {one.tobytes() for one in calibration}


def test_files_are_small_and_licensed() -> None:
    assert max(path.stat().st_size for path in pack_fashion.DATA.iterdir()) < LIMIT
    assert "MIT" in (pack_fashion.DATA / "LICENSE.fashion-mnist").read_text()


def test_evaluation_is_in_batches_of_one_size() -> None:
    _, labels = load("test")
    places = iter(range(0, 300, 100))

    def run(feeds: Feeds) -> dict[str, np.ndarray]:
        assert feeds["images"].shape == (100, 1, 28, 28)
        start = next(places)
        return {"logits": np.eye(10)[labels[start : start + 100]]}

    scores = evaluate(FashionTask(items=250), run)["accuracy"]
    assert scores.values.tolist() == [1.0] * 250


def test_calibration_is_in_full_batches() -> None:
    found = list(FashionTask(batch=100).calibration())
    assert len(found) == 5
    assert {feeds["images"].shape for feeds in found} == {(100, 1, 28, 28)}
    assert all((a["images"] != b["images"]).any() for a, b in pairwise(found))


@pytest.mark.parametrize("path", [CNN, VIT], ids=["cnn", "vit"])
def test_models_leave_work_to_passes(path: Path) -> None:
    model = onnx.load(path)
    (images,) = model.graph.input
    assert images.type.tensor_type.shape.dim[0].dim_param
    assert {"Conv", "BatchNormalization"} <= {node.op_type for node in model.graph.node}
    assert path.stat().st_size < MODEL_LIMIT
