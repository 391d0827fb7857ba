"""Where burnish keeps what it may need again: compiled runtimes, the linker's own cache."""

from __future__ import annotations

import functools
import logging
import os
import tempfile
from pathlib import Path

_LOG = logging.getLogger(__name__)


def cache_folder(*parts: str) -> Path:
    """Return a folder below burnish's cache, made if need be.

    Where that cannot be written, it is below a temporary folder that goes with this process.

    Raises:
        OSError: not even a temporary folder can be made.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        # The linker runs in a folder of its own, so a relative path would not do.
        folder = Path(base or Path.home() / ".cache", "burnish", *parts).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(folder)
    except (OSError, RuntimeError):  # RuntimeError: this user has no home
        folder = Path(_stand_in(base).name, *parts)
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.cache
def _stand_in(base: str | None) -> tempfile.TemporaryDirectory[str]:
    """A folder for this process in place of ``base``; making it is what the warning is about."""
    _LOG.warning(
        "the cache folder below %s cannot be used, so nothing is kept for the next time; "
        "set XDG_CACHE_HOME to a folder that can be written",
        base or "the home folder",
    )
    return tempfile.TemporaryDirectory(prefix="burnish-cache-")
