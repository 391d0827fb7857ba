"""The cache folder: where the user wants it, and never the reason that a compile fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.backends.cache import cache_folder


def test_it_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    assert cache_folder("a", "b") == tmp_path / "new" / "burnish" / "a" / "b"
    assert cache_folder("a", "b").is_dir()
    assert caplog.records == []


@pytest.mark.parametrize("place", ["{tmp}/file", "{tmp}/file/below", "/proc/nowhere"])
def test_one_that_cannot_be_made_is_replaced_with_one_warning(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", place.format(tmp=tmp_path))
    folders = [cache_folder("zig"), cache_folder("runtime"), cache_folder("zig")]
    for folder in folders:
        (folder / "probe").write_text("it can be written")
    assert folders[0] == folders[2] != folders[1]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "set XDG_CACHE_HOME to a folder that can be written" in record.getMessage()
