"""Artifacts on the disk: whole or not at all, and never somebody else's files."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from burnish.backends.archive import Contents, open_files, write_files
from burnish.errors import BurnishError, InvalidInput, UsageError

CONTENTS: Contents = {
    "manifest.json": lambda: (b"{}",),
    "weights.bin": lambda: (b"abc", memoryview(b"def")),
    "regions/0.onnx": lambda: (b"x" * 5000,),
}


@pytest.fixture(params=["model", "model.burnish"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def test_round_trip(path: Path) -> None:
    write_files(path, CONTENTS)
    files = open_files(path)
    assert sorted(files.names()) == sorted(CONTENTS)
    assert files.read("weights.bin") == b"abcdef"
    assert files.read("regions/0.onnx") == b"x" * 5000


def test_replaces_an_artifact(path: Path) -> None:
    write_files(path, CONTENTS | {"report.json": lambda: (b"old",)})
    write_files(path, CONTENTS | {"weights.bin": lambda: (b"new",)})
    files = open_files(path)
    assert files.read("weights.bin") == b"new"
    assert "report.json" not in files.names()


def broken() -> Iterator[bytes]:
    yield b"partial"
    raise KeyboardInterrupt


def test_an_interruption_leaves_what_was_there(path: Path) -> None:
    write_files(path, CONTENTS)
    with pytest.raises(KeyboardInterrupt):
        write_files(path, {"manifest.json": broken})
    assert open_files(path).read("weights.bin") == b"abcdef"
    assert os.listdir(path.parent) == [path.name]


def test_an_interruption_leaves_nothing_new(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_files(path, CONTENTS | {"late": broken})
    assert os.listdir(path.parent) == []


def full_disk() -> Iterator[bytes]:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_one_clear_error(path: Path) -> None:
    with pytest.raises(BurnishError, match="the disk is full; nothing was changed"):
        write_files(path, {"manifest.json": full_disk})
    assert os.listdir(path.parent) == []


def test_zip_is_aligned_stored_and_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.burnish", tmp_path / "b.burnish"
    write_files(first, CONTENTS)
    write_files(second, CONTENTS)
    assert first.read_bytes() == second.read_bytes()
    files = open_files(first)
    assert all(files.locate(name)[1] % 4096 == 0 for name in CONTENTS)
    with zipfile.ZipFile(first) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == list(CONTENTS)
        assert {info.date_time[0] for info in archive.infolist()} == {1980}


def test_a_folder_of_something_else_is_not_replaced(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is no artifact"):
        write_files(path, CONTENTS)
    assert (path / "thesis.tex").read_text() == "years of work"


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("notes")
    with pytest.raises(UsageError, match="is a file"):
        write_files(tmp_path / "model", CONTENTS)


def test_a_link_is_not_followed(path: Path) -> None:
    path.symlink_to("elsewhere")
    with pytest.raises(UsageError, match="symbolic link"):
        write_files(path, CONTENTS)


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    write_files(tmp_path / "model", CONTENTS)
    assert open_files(tmp_path / "model").read("weights.bin") == b"abcdef"


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/./b", "a\\b"])
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "evil.burnish"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(InvalidInput, match="it holds a file named"):
        open_files(path)


def test_compressed_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "packed.burnish"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b"x" * 1000)
    with pytest.raises(InvalidInput, match="is compressed or encrypted"):
        open_files(path)


@pytest.mark.parametrize("keep", [0, 1, 100, 5000])
def test_a_truncated_zip_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.burnish"
    write_files(path, CONTENTS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InvalidInput, match="is not an artifact"):
        open_files(path)


def test_what_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        open_files(tmp_path / "nothing")
    with pytest.raises(InvalidInput, match=r"it has no manifest\.json"):
        open_files(tmp_path)
