"""The lock that everything timed takes, and what is written down of the machine."""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any

import pytest

from burnish.bench import environment
from burnish.bench.environment import Stopwatch, machine_to_ourselves, record_environment


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the lock lies, in a folder of the test's own."""
    monkeypatch.setattr(environment, "gettempdir", lambda: str(tmp_path))
    return tmp_path / "burnish-timing.lock"


def is_free(path: Path) -> bool:
    with path.open() as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_one_at_a_time(lock: Path) -> None:
    before = os.umask(0o077)
    try:
        with machine_to_ourselves():
            pass
    finally:
        os.umask(before)
    with machine_to_ourselves():
        assert not is_free(lock)
    assert is_free(lock)
    # Others of this machine have to be able to open it.
    assert lock.stat().st_mode & 0o444 == 0o444


def test_a_stopwatch_does_not_count_what_was_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(environment.time, "perf_counter", lambda: now[0])
    watch = Stopwatch()
    now[0] = 5.0
    monkeypatch.setattr(environment, "_WAITS", [*environment._WAITS, 3.0])
    assert watch.seconds == 2.0
    assert Stopwatch().seconds == 0.0


def test_waits_are_noted(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(environment, "_WAITS", waits)

    def busy(_: object, how: int) -> None:
        if how & LOCK_NB:
            raise BlockingIOError

    monkeypatch.setattr(environment, "flock", busy)
    with machine_to_ourselves():
        assert len(waits) == 1


def test_an_error_gives_it_back(lock: Path) -> None:
    with pytest.raises(ValueError, match="no time"), machine_to_ourselves():
        raise ValueError("no time")
    assert is_free(lock)


def test_a_file_that_is_there_is_not_made(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be another user's, where systems refuse what would make it."""
    lock.write_text("theirs")
    lock.chmod(0o444)
    right = os.open

    def guarded(path: Any, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", str(path))
        return right(path, flags, *mode)

    monkeypatch.setattr(os, "open", guarded)
    with machine_to_ourselves():
        assert not is_free(lock)
    assert lock.read_text() == "theirs"


def test_peers_stand_beside_what_was_recorded() -> None:
    found = record_environment()
    beside = found.beside({"openvino": "2026.1"})
    assert beside.versions == {**found.versions, "openvino": "2026.1"}
    assert beside.date == found.date
