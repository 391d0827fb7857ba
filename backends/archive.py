"""The files of an artifact, in a folder or in one zip, written whole or not at all.

In the zip nothing is compressed and every file begins on a page, so that the weights are mapped
from where they are. Order, times and permissions are fixed: equal files make equal bytes.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from burnish.backends.manifest import NAME as MANIFEST
from burnish.errors import BurnishError, InvalidInput, UsageError

SUFFIX = ".burnish"
PAGE = 4096

Chunks: TypeAlias = Iterable[bytes | memoryview]
Contents: TypeAlias = Mapping[str, Callable[[], Chunks]]
"""By file name, in order, a function that yields the bytes."""

_LOCAL_HEADER = 30
_ZIP64_EXTRA = 20
_ZIP64_LIMIT = (1 << 31) - 1
_PADDING = 0xD935
"""The tag by which zip files mark padding."""

_ZIP_ERRORS = (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, struct.error)
"""What zipfile raises for a file that is damaged, or is none."""


class Files(ABC):
    """The files of an artifact that lies on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all files."""

    @abstractmethod
    def locate(self, name: str) -> tuple[Path, int, int]:
        """Return where a file lies: path, start and size in bytes.

        Raises:
            InvalidInput: the artifact has no such file.
        """

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a file piece by piece."""
        path, offset, left = self.locate(name)
        with path.open("rb") as file:
            file.seek(offset)
            while left:
                piece = file.read(min(left, 1 << 20))
                if not piece:
                    raise InvalidInput(f"{self.path}: {name} is cut short")
                left -= len(piece)
                yield piece

    def read(self, name: str) -> bytes:
        """Return a whole file."""
        return b"".join(self.chunks(name))


class FolderFiles(Files):
    """An artifact that is a folder."""

    def names(self) -> list[str]:
        """Return the names of all files, with / between their parts."""
        found = (path for path in self.path.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.path).as_posix() for path in found)

    def locate(self, name: str) -> tuple[Path, int, int]:
        """Return the path of a file; it starts at 0."""
        path = self.path / name
        try:
            status = path.stat()
        except OSError as error:
            raise InvalidInput(f"{self.path} has no {name}: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput(f"{self.path}: {name} is not a file")
        return path, 0, status.st_size


class ZipFiles(Files):
    """An artifact that is one file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            with zipfile.ZipFile(path) as archive:
                self._places = dict(_stored(archive, path))
        except _ZIP_ERRORS as error:
            raise InvalidInput(f"{path} is not an artifact: {error}") from error

    def names(self) -> list[str]:
        """Return the names in the order of the archive."""
        return list(self._places)

    def locate(self, name: str) -> tuple[Path, int, int]:
        """Return the archive's path and where in it the file lies."""
        if name not in self._places:
            raise InvalidInput(f"{self.path} has no {name}")
        return self.path, *self._places[name]


def open_files(path: Path) -> Files:
    """Open the artifact at `path`.

    Raises:
        InvalidInput: there is none.
    """
    if path.is_dir():
        if not (path / MANIFEST).is_file():
            raise InvalidInput(f"{path} is not an artifact: it has no {MANIFEST}")
        return FolderFiles(path)
    if not path.exists():
        raise InvalidInput(f"{path} does not exist")
    return ZipFiles(path)


def _stored(archive: zipfile.ZipFile, path: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield start and size of each member, checked against the size of the file."""
    total = path.stat().st_size
    seen: set[str] = set()
    with path.open("rb") as file:
        for info in archive.infolist():
            name = info.filename
            parts = name.split("/")
            if name in seen or "\\" in name or any(part in ("", ".", "..") for part in parts):
                raise InvalidInput(f"{path} is not an artifact: it holds a file named {name!r}")
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                raise InvalidInput(f"{path} is not an artifact: {name} is compressed or encrypted")
            seen.add(name)
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER)
            name_bytes, extra_bytes = struct.unpack_from("<HH", header, _LOCAL_HEADER - 4)
            start = info.header_offset + _LOCAL_HEADER + name_bytes + extra_bytes
            if start + info.file_size > total:
                raise InvalidInput(f"{path}: {name} is cut short")
            yield name, (start, info.file_size)


def write_files(path: Path, contents: Contents) -> None:
    """Write an artifact: a zip if `path` ends in .burnish, else a folder.

    What stood at `path` before is replaced at the very end, and only if it is an artifact.

    Raises:
        UsageError: something else stands at `path`.
        BurnishError: it cannot be written.
    """
    as_zip = path.suffix == SUFFIX
    check_replaceable(path)
    try:
        with _scratch(path) as scratch:
            fresh = scratch / "new"
            (_write_zip if as_zip else _write_folder)(fresh, contents)
            _replace(fresh, path, scratch)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise BurnishError(f"cannot write {path}: {reason}; nothing was changed") from error


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """Yield a folder on the same disk as `path` that is gone afterwards, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_replaceable(path: Path) -> None:
    """Complain now rather than after minutes of work.

    Raises:
        UsageError: no artifact can be written at `path`, because something else is there or there
            is no such folder.
    """
    as_zip = path.suffix == SUFFIX
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_symlink():
        raise UsageError(f"{path} is a symbolic link; name the place itself, or another")
    if path.is_dir():
        empty = not any(path.iterdir())
        if as_zip or not (empty or (path / MANIFEST).is_file()):
            raise UsageError(f"{path} is a folder that is no artifact; choose another name")
    elif path.exists() and not as_zip:
        raise UsageError(f"{path} is a file; remove it, choose another name, or end it in {SUFFIX}")


def _replace(fresh: Path, path: Path, scratch: Path) -> None:
    if not path.is_dir():
        os.replace(fresh, path)
        return
    old = scratch / "old"
    try:
        os.rename(path, old)
        os.rename(fresh, path)
    except BaseException:  # Ctrl-C as well: the old artifact must not go with the scratch folder
        if not path.exists():
            os.rename(old, path)
        raise


def _write_folder(folder: Path, contents: Contents) -> None:
    for name, chunks in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines(chunks())


def _write_zip(path: Path, contents: Contents) -> None:
    with path.open("wb") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
        for name, chunks in contents.items():
            _add(archive, raw, name, chunks)


def _add(archive: zipfile.ZipFile, raw: BinaryIO, name: str, chunks: Callable[[], Chunks]) -> None:
    """Add a member that begins on a page."""
    large = sum(len(piece) for piece in chunks()) > _ZIP64_LIMIT
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    header = _LOCAL_HEADER + len(name.encode()) + (_ZIP64_EXTRA if large else 0)
    padding = -(raw.tell() + header + 4) % PAGE
    info.extra = struct.pack("<HH", _PADDING, padding) + bytes(padding)
    with archive.open(info, "w", force_zip64=large) as member:
        for piece in chunks():
            cast("BinaryIO", member).write(piece)
