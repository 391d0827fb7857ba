"""Results are written whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from burnish.errors import UsageError
from burnish.output import CannotWrite, check_target, staged


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.npz"
    with staged(target) as draft:
        draft.write_text("half")
        assert not target.exists()
        draft.write_text("whole")
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "out.npz"
    target.write_text("before")
    with pytest.raises(type(error)), staged(target) as draft:  # noqa: PT012
        draft.write_text("half")
        raise error
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="No space left"), staged(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_places_where_nothing_can_be_written(tmp_path: Path) -> None:
    check_target(tmp_path / "new")
    for wrong in (tmp_path, tmp_path / "missing" / "new", Path()):
        with pytest.raises(UsageError):
            check_target(wrong)
