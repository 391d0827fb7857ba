"""Writing results: whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from burnish.errors import BurnishError, UsageError

ARTIFACT_MARK = "manifest.json"
"""A folder that holds this file is an artifact, and may be replaced by another one."""


class CannotWrite(BurnishError):
    """The result did not fit on the disk, or its folder cannot be written."""


@contextmanager
def staged(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path to write a file or a folder to; it becomes ``target`` when the block ends.

    If the block fails, or is interrupted, whatever was at ``target`` is still there and nothing
    else is left behind.

    Raises:
        UsageError: ``target`` cannot be written: no such folder, or a folder that is no artifact.
        CannotWrite: the disk is full or gave up.
    """
    target = Path(target)
    check_target(target)
    try:
        room = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise CannotWrite(f"cannot write in {target.parent}: {error.strerror}") from error
    try:
        draft = room / target.name
        yield draft
        _put(draft, target, room)
    except OSError as error:
        if error.errno is None or not _is_below(error.filename, room):
            raise
        reason = error.strerror or str(error)
        raise CannotWrite(f"cannot write {target}: {reason}; nothing was left behind") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)


def check_target(target: Path) -> None:
    if not target.name:
        raise UsageError(f"cannot write to {str(target)!r}; name a file")
    if not target.parent.is_dir():
        raise UsageError(f"cannot write {target}: the folder {target.parent} does not exist")
    if target.is_dir() and any(target.iterdir()) and not (target / ARTIFACT_MARK).is_file():
        raise UsageError(f"{target} is a folder with other things in it; name another output")


def _is_below(filename: object, room: Path) -> bool:
    """Whether an error concerns the draft; one without a file name came from writing to it."""
    return filename is None or str(filename).startswith(str(room))


def _put(draft: Path, target: Path, room: Path) -> None:
    """Move what is at ``draft`` (and files beside it, such as external data) to the target."""
    beside = [path for path in room.iterdir() if path != draft]
    _sync(draft)
    if target.is_dir():
        target.rename(room / ".old")
    for path in beside:
        path.replace(target.parent / path.name)
    draft.replace(target)


def _sync(draft: Path) -> None:
    """Have the system report a full disk now rather than after the move."""
    for path in [draft] if draft.is_file() else draft.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
