"""What was found out before: how fast candidates of kernels are, and their object code.

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
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from burnish.backends.cache import cache_folder
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.errors import BurnishError
from burnish.target import Target

_LOG = logging.getLogger(__name__)

_TOOLS = ("apache-tvm", "apache-tvm-ffi")

_SPENT, _PLAN = "spent on ", "plan of "
KEPT_OBJECTS = 4096
"""Kernels whose object code is kept; the oldest go first."""


@dataclass(frozen=True)
class Record:
    """What tuning knows of one kernel."""

    config: TileConfig | None = None
    """The best candidate so far; None for the first choice."""
    done: bool = False
    """Whether every candidate has been tried."""
    trials: Mapping[TileConfig | None, float | None] = field(default_factory=dict)
    """Seconds by candidate; None for one that failed and is not to be tried again."""

    @property
    def best_seconds(self) -> float | None:
        """Of the fastest candidate so far."""
        return min((s for s in self.trials.values() if s is not None), default=None)


class ScheduleCache:
    """Records by kernel key for one target, and object code by symbol."""

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

    def get(self, key: str) -> Record | None:
        """What is known of a kernel."""
        try:
            return _record(self._known[key]) if key in self._known else None
        except (TypeError, ValueError, KeyError) as error:
            self._warn(f"an entry of the schedule cache is ignored: {error!r}")
            return None

    def put(self, records: Mapping[str, Record]) -> None:
        """Remember records, and those that other processes have written meanwhile."""
        if records:
            self._store({key: _entry(record) for key, record in records.items()})

    def _store(self, entries: Mapping[str, Any]) -> None:
        # Theirs count where both have one: what was read at the start may be older.
        with suppress(OSError, ValueError, RecursionError):
            self._known |= self._read()
        self._known |= entries
        text = json.dumps(self._known, indent=0, sort_keys=True)
        self._write({f"{self._scope}.json": text.encode()})

    def spent(self, model: str) -> float:
        """Seconds that tuning has spent on a model."""
        seconds = self._known.get(f"{_SPENT}{model}", 0.0)
        return seconds if type(seconds) is float and 0 <= seconds < float("inf") else 0.0

    def spend(self, model: str, seconds: float) -> None:
        """Add to what tuning has spent on a model."""
        self._store({f"{_SPENT}{model}": self.spent(model) + seconds})

    def plan(self, model: str) -> list[int] | None:
        """Numbers of the calls of a model that run alone; None if that is not known."""
        found = self._known.get(f"{_PLAN}{model}")
        if not isinstance(found, list) or any(type(number) is not int for number in found):
            return None
        return found

    def put_plan(self, model: str, alone: list[int]) -> None:
        """Remember which calls of a model run alone."""
        self._store({f"{_PLAN}{model}": alone})

    def object(self, symbol: str) -> bytes | None:
        """The object file of a kernel."""
        if self._folder is None:
            return None
        path = self._folder / f"{self._scope}-{symbol}.object"
        try:
            data = path.read_bytes()
        except OSError:
            return None
        with suppress(OSError):
            os.utime(path)
        digest, body = data[:32], data[32:]
        return body if _digest(symbol, body) == digest else None

    def put_objects(self, objects: Mapping[str, bytes]) -> None:
        """Remember object files by symbol."""
        if objects:
            self._write({
                f"{self._scope}-{symbol}.object": _digest(symbol, data) + data
                for symbol, data in objects.items()
            })  # fmt: skip
            self._trim()

    def _read(self) -> dict[str, Any]:
        if self._folder is None:
            return {}
        path = self._folder / f"{self._scope}.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        if not isinstance(known, dict):
            raise ValueError(f"{path} holds no table")  # noqa: TRY004 - a corrupt file
        return known

    def _write(self, files: Mapping[str, bytes]) -> None:
        """Write each file whole or not at all; several processes may do so at once."""
        if self._folder is None:
            return
        try:
            # In a folder of its own, which goes whatever happens.
            with tempfile.TemporaryDirectory(dir=self._folder) as room:
                for name, data in files.items():
                    draft = Path(room, name)
                    draft.write_bytes(data)
                    draft.replace(self._folder / name)
        except OSError as error:
            self._warn(f"the schedule cache cannot be written: {error}")

    def _trim(self) -> None:
        if self._folder is None:
            return
        try:
            found = sorted(self._folder.glob("*.object"), key=_age)
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


def _entry(record: Record) -> dict[str, Any]:
    """A record as the file has it."""
    trials = [[_fields(config), seconds] for config, seconds in record.trials.items()]
    return {"config": _fields(record.config), "done": record.done, "trials": trials}


def _record(entry: Any) -> Record:
    """A record from the file.

    Raises:
        TypeError, ValueError, KeyError: it is none.
    """
    if type(entry["done"]) is not bool:
        raise ValueError(f"done is {entry['done']!r}")
    trials = {_config(config): _seconds(seconds) for config, seconds in entry["trials"]}
    return Record(_config(entry["config"]), entry["done"], trials)


def _fields(config: TileConfig | None) -> dict[str, Any] | None:
    return None if config is None else asdict(config)


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) is not float or not 0 < value < float("inf"):
        raise ValueError(f"a time is {value!r}")
    return value


def _config(entry: Any) -> TileConfig | None:
    """A configuration as the file has it.

    Raises:
        TypeError: it has other fields.
        ValueError: a size is none.
    """
    if entry is None:
        return None
    config = TileConfig(**entry)
    for name, value in asdict(config).items():
        wanted = bool if isinstance(getattr(TileConfig, name, 1), bool) else int
        if type(value) is not wanted or (wanted is int and value < 1):
            raise ValueError(f"{name} is {value!r}")
    return config


def _identity(target: Target) -> str:
    """A target as text, the same in every process: sets have no order."""
    return str({f.name: _plain(getattr(target, f.name)) for f in fields(target)})


def _digest(symbol: str, data: bytes) -> bytes:
    """What tells a damaged object file, or that of another kernel."""
    return hashlib.sha256(symbol.encode() + data).digest()


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
