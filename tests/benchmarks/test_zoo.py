"""The table of models: consistent, complete, and fed legally."""

import ast
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cache import default_folder, find_builder
from benchmarks.inputs import (
    Boxes,
    Case,
    FileBytes,
    Input,
    Integers,
    PaddingMask,
    TextPicture,
    cases,
    draw_feeds,
)
from benchmarks.zoo import MAIN_JOB, MODELS, Group, Model, find


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_builder_exists(model: Model) -> None:
    module, _, function = model.builder.partition(":")
    spec = importlib.util.find_spec("benchmarks.builders")
    assert spec is not None
    folder = Path(next(iter(spec.submodule_search_locations or ())))
    tree = ast.parse((folder / f"{module}.py").read_text("utf-8"))
    (found,) = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    parameters = {one.arg for one in found.args.kwonlyargs}
    assert set(model.options) <= parameters


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_case_has_legal_feeds(model: Model) -> None:
    for case in model.cases:
        feeds = draw_feeds(model.inputs, case, seed=3)
        assert list(feeds) == [one.name for one in model.inputs]
        for one in model.inputs:
            assert feeds[one.name].shape == case.shapes[one.name]
            assert feeds[one.name].dtype == one.dtype
            assert feeds[one.name].flags.c_contiguous


def test_names_are_unique_and_found() -> None:
    assert len({model.name for model in MODELS}) == len(MODELS)
    assert find("magika").name == "magika"
    with pytest.raises(KeyError, match="no model 'resnet'"):
        find("resnet")


def test_groups_say_what_the_tuples_hold() -> None:
    assert tuple(model for model in MODELS if model.group is Group.MAIN_JOB) == MAIN_JOB


def test_packaged_models_have_expected_checksums() -> None:
    for model in MODELS:
        assert (model.sha256 is not None) == (model.builder == "packaged:copy")


def test_finding_a_builder_imports_it() -> None:
    assert find_builder(find("loop")).__name__ == "from_text"


def test_same_seed_draws_the_same_feeds() -> None:
    model = find("ppocr-v4-rec")
    first, again, other = (
        draw_feeds(model.inputs, model.cases[0], seed)["x"] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_mask_is_ones_then_zeros() -> None:
    mask = PaddingMask()(np.random.default_rng(0), (50, 9))
    assert set(np.unique(mask)) == {0, 1}
    assert (np.diff(mask, axis=1) <= 0).all()
    assert mask.sum(axis=1).min() >= 5


def test_short_files_are_filled_up() -> None:
    content = FileBytes(filler=256)(np.random.default_rng(0), (8, 2048))
    assert content.min() >= 0
    assert content.max() == 256
    assert (np.diff((content == 256).astype(int), axis=1) >= 0).all()


def test_pictures_show_something() -> None:
    picture = TextPicture()(np.random.default_rng(0), (2, 3, 48, 192))
    assert picture.min() >= -1
    assert picture.max() <= 1
    assert picture.std() > 0.2


def test_scalar_inputs_are_drawn() -> None:
    feeds = draw_feeds((Input("mask", "int64", PaddingMask()),), cases("mask", (1, 4))[0])
    assert feeds["mask"].shape == (1, 4)
    scripted = find("scripted-torchscript")
    assert draw_feeds(scripted.inputs, scripted.cases[0])["steps"].shape == ()


def test_indices_of_a_scatter_do_not_repeat() -> None:
    rows = Integers(2, 14, distinct_along=1)(np.random.default_rng(0), (4, 5, 6))
    assert rows.shape == (4, 5, 6)
    assert rows.min() >= 2
    assert rows.max() < 14
    assert (np.diff(np.sort(rows, axis=1), axis=1) > 0).all()


def test_boxes_have_corners_in_order() -> None:
    left, top, right, bottom = Boxes(48.0)(np.random.default_rng(0), (20, 4)).T
    assert (left <= right).all()
    assert (top <= bottom).all()
    assert bottom.max() < 48


def test_cases_give_all_inputs_the_shape() -> None:
    (one,) = cases(("a", "b"), (2, 3))
    assert one == Case("2x3", {"a": (2, 3), "b": (2, 3)})


def test_environment_moves_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BURNISH_ZOO", str(tmp_path))
    assert default_folder() == tmp_path
