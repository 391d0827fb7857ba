"""Measuring a machine: figures that make sense, kept for the next time, never a reason to fail."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from burnish.backends import roofline_probe
from burnish.backends.roofline import Level, Roofline
from burnish.backends.roofline_probe import Cache, machine_roofline, measure
from burnish.target import Target, processors, resolve

FOUND = Roofline(
    "toy", 2, {"float32": 2e11}, (Level("L2", 1000, 2e11), Level("memory", None, 3e10))
)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Nothing is measured but how often it would be; the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls: list[int] = []

    def count(target: Target, caches: tuple[Cache, ...]) -> Roofline:
        calls.append(target.threads)
        return FOUND

    monkeypatch.setattr(roofline_probe, "measure", count)
    return calls


def kept(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "burnish" / "roofline").iterdir()
    return path


def test_it_is_measured_once_for_each_number_of_threads(measured: list[int]) -> None:
    for threads in (2, 2, 1, 2, 1):
        assert machine_roofline(threads) == FOUND
    assert measured == [2, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"of": "another machine"},
        {"levels": []},
        {"levels": [{"name": "L2", "capacity": 1000, "bandwidth": 1e11}]},
        {"levels": [{"name": "memory", "capacity": None, "bandwidth": 0}]},
        {"levels": [{"name": "memory", "capacity": None}]},
        {"peaks": {}},
        {"peaks": {"float32": "fast"}},
        {"peaks": {"float32": float("nan")}},
        {"peaks": 7},
    ],
    ids=repr,
)
def test_what_is_not_ours_is_measured_anew_with_one_warning(
    measured: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, object]
) -> None:
    machine_roofline(2)
    path = kept(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert machine_roofline(2) == machine_roofline(2) == FOUND
    assert measured == [2, 2]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "\udcff", "[" * 100_000])
def test_a_damaged_file_is_replaced_with_one_warning(
    measured: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    machine_roofline(2)
    kept(tmp_path).write_bytes(text.encode(errors="surrogateescape"))
    assert machine_roofline(2) == machine_roofline(2) == FOUND
    assert measured == [2, 2]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_cache_that_cannot_be_written_costs_one_warning(
    measured: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert machine_roofline(2) == FOUND
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_folder_in_the_place_of_the_file_costs_no_more_than_warnings(
    measured: list[int], tmp_path: Path
) -> None:
    machine_roofline(2)
    path = kept(tmp_path)
    path.unlink()
    path.mkdir()
    assert machine_roofline(2) == FOUND


def test_a_machine_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROUNDS": 1, "BUDGET": 0.002, "MEMORY": (1 << 20, 2 << 20)}.items():
        monkeypatch.setattr(roofline_probe, name, value)
    found = measure(resolve("cpu", 2), (Cache(2, 1 << 16, 2), Cache(3, 1 << 20, 1)))
    assert [level.name for level in found.levels] == ["L2", "L3", "memory"]
    assert [level.capacity for level in found.levels] == [1 << 17, 1 << 20, None]
    assert found.threads == 2
    assert all(1e8 < level.bandwidth < 1e14 for level in found.levels)
    assert 1e8 < found.peaks["float32"] < 1e14


@pytest.mark.parametrize(
    ("threads", "size", "told_apart"), [(1, 8 << 20, True), (64, 8 << 20, False)]
)
def test_a_cache_smaller_than_those_before_it_is_left_out(
    threads: int, size: int, told_apart: bool
) -> None:
    caches = (Cache(2, 1 << 20, threads), Cache(3, size, 1))
    assert bool(roofline_probe._part(caches[1], caches, threads)) is told_apart


def test_threads_get_processors_of_their_own_first() -> None:
    processors = roofline_probe._processors(2)
    assert len(processors) == 2
    assert len(set(roofline_probe._processors(1000))) >= len(set(processors))


def test_a_system_that_tells_nothing_of_processors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(roofline_probe, "_SYSTEM", tmp_path)
    count = os.cpu_count() or 1
    assert resolve("cpu").threads == len(processors()) == count
    assert roofline_probe._processors(count + 1) == [*range(count), 0]
    assert roofline_probe._caches(2, resolve("cpu", 2)) == [Cache(2, resolve("cpu").l2, 2)]
