"""What was chosen before: configurations of kernels, and the object code made with them.

Keyed by the kernel's structure, the target and the versions of the tools, so that a stale entry
is never found. A cache that cannot be read or written costs one warning, never a compilation.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from burnish.backends.cache import cache_folder
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.errors import BurnishError
from burnish.target import Target

_LOG = logging.getLogger(__name__)

_TOOLS = ("apache-tvm", "apache-tvm-ffi")

KEPT_OBJECTS = 64
"""Programs whose object code is kept; the oldest go first."""


class ScheduleCache:
    """Configurations by kernel key for one target, and object code by program key."""

    def __init__(self, target: Target) -> None:
        """Open the cache for ``target``; an unreadable one counts as empty."""
        tools = [*map(metadata.version, _TOOLS), _source_digest(), _identity(target)]
        self._scope = hashlib.sha256("|".join(tools).encode()).hexdigest()[:16]
        self._warned = False
        self._known: dict[str, Any] = {}
        self._folder: Path | None = None
        try:
            self._folder = cache_folder("schedules")
            self._known = self._read()
        except (OSError, ValueError, RecursionError, BurnishError) as error:
            self._warn(f"the schedule cache cannot be read and counts as empty: {error}")

    def get(self, key: str) -> TileConfig | None:
        """The configuration chosen for a kernel."""
        try:
            return _config(self._known[key]) if key in self._known else None
        except (TypeError, ValueError) as error:
            self._warn(f"an entry of the schedule cache is ignored: {error}")
            return None

    def put(self, chosen: Mapping[str, TileConfig]) -> None:
        """Remember configurations, and those that other processes have written meanwhile."""
        with suppress(OSError, ValueError, RecursionError):
            self._known = self._read() | self._known
        self._known |= {key: asdict(config) for key, config in chosen.items()}
        text = json.dumps(self._known, indent=0, sort_keys=True)
        self._write(f"{self._scope}.json", text.encode())

    def objects(self, key: str) -> list[bytes] | None:
        """The object files of a program."""
        if self._folder is None:
            return None
        path = self._folder / f"{self._scope}-{key}.objects"
        try:
            data = path.read_bytes()
        except OSError:
            return None
        with suppress(OSError):
            os.utime(path)
        return _unpack(data)

    def put_objects(self, key: str, objects: Sequence[bytes]) -> None:
        """Remember the object files of a program."""
        self._write(f"{self._scope}-{key}.objects", _pack(objects))
        self._trim()

    def _read(self) -> dict[str, Any]:
        if self._folder is None:
            return {}
        path = self._folder / f"{self._scope}.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        if not isinstance(known, dict):
            raise ValueError(f"{path} holds no table")  # noqa: TRY004 - a corrupt file
        return known

    def _write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all; several processes may do so at once."""
        if self._folder is None:
            return
        try:
            # In a folder of its own, which goes whatever happens.
            with tempfile.TemporaryDirectory(dir=self._folder) as room:
                draft = Path(room, name)
                draft.write_bytes(data)
                draft.replace(self._folder / name)
        except OSError as error:
            self._warn(f"the schedule cache cannot be written: {error}")

    def _trim(self) -> None:
        if self._folder is None:
            return
        try:
            found = sorted(self._folder.glob("*.objects"), key=_age)
            for path in found[:-KEPT_OBJECTS]:
                path.unlink(missing_ok=True)
        except OSError as error:
            self._warn(f"the schedule cache cannot be trimmed: {error}")

    def _warn(self, text: str) -> None:
        if not self._warned:
            _LOG.warning("%s", text)
        self._warned = True


def _age(path: Path) -> float:
    """When a file was used last; 0 if another process has just removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _config(entry: Any) -> TileConfig:
    """A configuration as the file has it.

    Raises:
        TypeError: it has other fields.
        ValueError: a size is none.
    """
    config = TileConfig(**entry)
    for name, value in asdict(config).items():
        wanted = bool if isinstance(getattr(TileConfig, name, 1), bool) else int
        if type(value) is not wanted or (wanted is int and value < 1):
            raise ValueError(f"{name} is {value!r}")
    return config


def _identity(target: Target) -> str:
    """A target as text, the same in every process: sets have no order."""
    return str({f.name: _plain(getattr(target, f.name)) for f in fields(target)})


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value


def _source_digest() -> str:
    """A hash of our own code generator: another version makes other kernels."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    about_targets = Path(sys.modules[Target.__module__].__file__ or "")
    for path in (*sorted([*here.glob("cpu/**/*.py"), *here.glob("kernels/*.py")]), about_targets):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _pack(objects: Sequence[bytes]) -> bytes:
    """A checksum, then each object behind its length."""
    body = b"".join(len(data).to_bytes(8, "little") + data for data in objects)
    return hashlib.sha256(body).digest() + body


def _unpack(data: bytes) -> list[bytes] | None:
    body = data[32:]
    if hashlib.sha256(body).digest() != data[:32]:
        return None
    objects, start = [], 0
    while start < len(body):
        size = int.from_bytes(body[start : start + 8], "little")
        objects.append(body[start + 8 : start + 8 + size])
        start += 8 + size
    return objects
