"""The schedule cache: found again by other processes, and never the reason that a compile fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from burnish.backends import schedule_cache
from burnish.backends.cpu.schedule.nests import TileConfig
from burnish.backends.schedule_cache import Record, ScheduleCache
from burnish.target import Target, resolve

CONFIG = TileConfig(rows=6, vectors=2, unroll=4, row_block=3, column_block=2, columns_slow=False)
RECORD = Record(CONFIG, done=True, trials={None: 0.5, CONFIG: 0.25, TileConfig(1, 1): None})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "burnish" / "schedules"


@pytest.fixture
def target() -> Target:
    return resolve("x86-64-v4")


def only_table(folder: Path) -> Path:
    (path,) = folder.glob("*.json")
    return path


def test_what_was_put_is_found_again(target: Target) -> None:
    ScheduleCache(target).put({"k": RECORD})
    ScheduleCache(target).put_objects({"p": b"one", "q": b""})
    again = ScheduleCache(target)
    assert again.get("k") == RECORD
    assert again.get("other") is None
    assert again.object("p") == b"one"
    assert again.object("q") == b""
    assert again.object("r") is None


def test_every_process_looks_in_the_same_place(target: Target) -> None:
    """Sets of features have another order in each."""
    program = (
        "from burnish.backends.schedule_cache import ScheduleCache; "
        "from burnish.target import resolve; "
        "print(ScheduleCache(resolve('x86-64-v4'))._scope)"
    )
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    scope = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert scope == ScheduleCache(target)._scope


def test_another_target_finds_nothing(target: Target) -> None:
    ScheduleCache(target).put({"k": RECORD})
    assert ScheduleCache(resolve("x86-64-v4", threads=2)).get("k") is None


def test_what_another_process_wrote_meanwhile_stays(target: Target) -> None:
    mine, other = ScheduleCache(target), ScheduleCache(target)
    other.put({"theirs": RECORD})
    mine.put({"mine": RECORD})
    again = ScheduleCache(target)
    assert again.get("theirs") == again.get("mine") == RECORD


def test_what_another_process_found_out_since_is_not_undone(target: Target) -> None:
    ScheduleCache(target).put({"k": Record()})
    mine, other = ScheduleCache(target), ScheduleCache(target)
    other.put({"k": RECORD})
    mine.put({"mine": RECORD})
    assert ScheduleCache(target).get("k") == RECORD


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {},
        {"config": None, "done": 1, "trials": []},
        {"config": None, "done": True, "trials": [1]},
        {"config": None, "done": True, "trials": [[None, -1.0]]},
        {"config": None, "done": True, "trials": [[None, "fast"]]},
        *(
            {"config": config, "done": True, "trials": []}
            for config in (
                {"rows": 1},
                {"rows": 0, "vectors": 1},
                {"rows": "6", "vectors": 1},
                {"rows": 6, "vectors": 1, "columns_slow": 1},
                {"rows": 6, "vectors": 1, "later": 1},
            )
        ),
    ],
)
def test_a_strange_entry_is_ignored(
    target: Target, folder: Path, entry: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ScheduleCache(target).put({"other": RECORD})
    table = json.loads(only_table(folder).read_text())
    only_table(folder).write_text(json.dumps({"k": entry, **table}))
    cache = ScheduleCache(target)
    assert cache.get("k") is None
    assert cache.get("other") == RECORD
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_table_of_another_user_costs_one_warning(
    target: Target, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    ScheduleCache(target).put({"k": RECORD})
    monkeypatch.setattr(ScheduleCache, "_read", refuse)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    cache = ScheduleCache(target)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    cache.put({"k": RECORD})
    cache.put_objects({"p": b"code"})
    assert cache.object("p") is None
    assert cache.get("k") == RECORD
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("text", ["", "[]", "{", "\udcff", "[" * 100_000])
def test_a_damaged_table_counts_as_empty(target: Target, folder: Path, text: str) -> None:
    ScheduleCache(target).put({"k": RECORD})
    only_table(folder).write_bytes(text.encode(errors="surrogateescape"))
    cache = ScheduleCache(target)
    assert cache.get("k") is None
    cache.put({"new": RECORD})
    assert ScheduleCache(target).get("new") == RECORD


def test_damaged_objects_are_not_used(target: Target, folder: Path) -> None:
    ScheduleCache(target).put_objects({"p": b"code"})
    (path,) = folder.glob("*.object")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert ScheduleCache(target).object("p") is None


def test_time_spent_on_a_model_adds_up(target: Target, folder: Path) -> None:
    ScheduleCache(target).spend("m", 2.0)
    ScheduleCache(target).spend("m", 3.0)
    ScheduleCache(target).put({"k": RECORD})
    assert ScheduleCache(target).spent("m") == 5.0
    assert ScheduleCache(target).spent("n") == 0.0
    (path,) = folder.glob("*.json")
    text = path.read_text()
    for other in ('"long"', "-5.0", "NaN", "Infinity"):
        path.write_text(text.replace("5.0", other))
        assert ScheduleCache(target).spent("m") == 0.0


def test_objects_of_other_kernels_count_as_absent(target: Target, folder: Path) -> None:
    cache = ScheduleCache(target)
    cache.put_objects({"p": b"code of p", "q": b"code of q"})
    (p,), (q,) = folder.glob("*-p.object"), folder.glob("*-q.object")
    p.write_bytes(q.read_bytes())
    assert cache.object("p") is None
    assert cache.object("q") == b"code of q"


def test_nothing_stays_of_a_write_that_fails(
    target: Target, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    cache = ScheduleCache(target)
    monkeypatch.setattr(Path, "write_bytes", full)
    cache.put({"k": RECORD})
    cache.put_objects({"p": b"code"})
    assert list(folder.iterdir()) == []
    assert len(caplog.records) == 1
    assert cache.get("k") == RECORD


def test_the_oldest_objects_go(
    target: Target, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_cache, "KEPT_OBJECTS", 2)
    cache = ScheduleCache(target)
    for number, symbol in enumerate("abc"):
        cache.put_objects({symbol: symbol.encode()})
        for path in folder.glob(f"*-{symbol}.object"):
            os.utime(path, (number, number))
    assert sorted(path.name[-8:] for path in folder.glob("*.object")) == ["b.object", "c.object"]
