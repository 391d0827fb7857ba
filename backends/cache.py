"""Where burnish keeps what it may need again: compiled runtimes, the linker's own cache."""

from __future__ import annotations

import os
from pathlib import Path

from burnish.errors import BurnishError


def cache_folder(*parts: str) -> Path:
    """Return a folder below burnish's cache, made if need be.

    Raises:
        BurnishError: it cannot be made.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base, "burnish", *parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BurnishError(
            f"cannot make the cache folder {folder}: {error.strerror}; "
            "set XDG_CACHE_HOME to a folder that can be written"
        ) from error
    return folder
