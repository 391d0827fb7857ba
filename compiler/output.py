"""Writing a result: whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from burnish.errors import BurnishError, UsageError


class CannotWrite(BurnishError):
    """The result did not fit on the disk, or its folder cannot be written."""


def check_target(target: Path) -> None:
    """Complain now rather than after minutes of work.

    Raises:
        UsageError: no file can be written at ``target``.
    """
    if target.is_dir() or not target.name:
        raise UsageError(f"{target} is a folder; name the file to write in it")
    if not target.parent.is_dir():
        raise UsageError(f"cannot write {target}: there is no folder {target.parent}")


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a path to write a file to; it takes the place of ``target`` when the block ends.

    If the block fails, or is interrupted, whatever was at ``target`` is still there and nothing
    else is left behind.

    Raises:
        UsageError: no file can be written at ``target``.
        CannotWrite: the disk is full or refuses.
    """
    check_target(target)
    try:
        room = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise CannotWrite(f"cannot write {target}: {error.strerror}") from error
    try:
        draft = room / target.name
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotWrite(f"cannot write {target}: {reason}; nothing was changed") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)
