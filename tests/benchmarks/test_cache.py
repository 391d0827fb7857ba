"""The cache builds what is missing, whole or not at all, and notices what has changed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import cache
from benchmarks.cache import MANIFEST, Zoo, ZooError, sha256
from benchmarks.zoo import Model, find

HAND_MADE = find("functions")


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return Zoo(tmp_path / "zoo")


def test_builds_and_records(zoo: Zoo) -> None:
    assert not zoo.is_built(HAND_MADE)
    zoo.build(HAND_MADE)
    path = zoo.path(HAND_MADE)
    record = json.loads((zoo.folder / MANIFEST).read_text())["functions"]
    assert record["files"] == {"functions.onnx": sha256(path)}
    assert record["licence"] == "Apache-2.0"
    assert "onnx" in record["built_with"]
    zoo.verify(HAND_MADE)


def test_building_twice_gives_the_same_bytes(zoo: Zoo) -> None:
    for name in ("functions", "relic", "detector"):
        zoo.build(find(name))
        first = sha256(zoo.path(find(name)))
        zoo.build(find(name))
        assert sha256(zoo.path(find(name))) == first


def test_asking_for_what_is_not_built_says_what_to_run(zoo: Zoo) -> None:
    with pytest.raises(ZooError, match=r"functions is not in .* run: make zoo"):
        zoo.path(HAND_MADE)


def test_notices_a_changed_file(zoo: Zoo) -> None:
    zoo.build(HAND_MADE)
    with zoo.path(HAND_MADE).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ZooError, match="has changed since it was built"):
        zoo.verify(HAND_MADE)


def test_a_deleted_file_is_not_built(zoo: Zoo) -> None:
    zoo.build(HAND_MADE)
    zoo.path(HAND_MADE).unlink()
    assert not zoo.is_built(HAND_MADE)


@pytest.mark.parametrize("change", [{"revision": 99}, {"options": {"name": "loop"}}])
def test_a_changed_recipe_is_not_built(zoo: Zoo, change: dict[str, object]) -> None:
    zoo.build(HAND_MADE)
    assert not zoo.is_built(replace(HAND_MADE, **change))  # type: ignore[arg-type]


def test_refuses_a_copy_with_another_checksum(zoo: Zoo) -> None:
    altered = replace(HAND_MADE, sha256="0" * 64)
    with pytest.raises(ZooError, match="expected sha256 0000"):
        zoo.build(altered)
    assert not list(zoo.folder.glob("*.onnx"))


def test_names_missing_packages(zoo: Zoo) -> None:
    lacking = replace(HAND_MADE, needs=("onnx", "no_such_package"))
    with pytest.raises(ZooError, match=r"needs no_such_package; run: pip install -e '.\[zoo\]'"):
        zoo.build(lacking)


def test_a_failing_builder_leaves_nothing(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    def builder(path: Path, *, name: str) -> None:
        path.write_bytes(b"half a mod")
        print("about to fail")
        raise RuntimeError("exporter broke")

    def finder(model: Model) -> object:
        return builder

    monkeypatch.setattr(cache, "find_builder", finder)
    with pytest.raises(RuntimeError, match="exporter broke") as caught:
        zoo.build(HAND_MADE)
    assert "about to fail" in caught.value.__notes__[0]
    assert list(zoo.folder.iterdir()) == []


def test_packaged_models_are_what_the_table_says(zoo: Zoo) -> None:
    model = find("ppocr-v4-cls")
    zoo.build(model)
    assert sha256(zoo.path(model)) == model.sha256
