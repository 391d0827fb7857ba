"""What a measurement has to say about the machine it was taken on."""

from __future__ import annotations

import datetime
import importlib.metadata
import logging
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from burnish.output import CannotWrite

logger = logging.getLogger(__name__)

PACKAGES = ("burnish", "apache-tvm", "onnxruntime", "onnx", "numpy", "ziglang")


@dataclass(frozen=True, slots=True)
class Environment:
    """Machine, software and date of a measurement."""

    date: str
    """UTC, to the second."""
    cpu: str
    cores: int
    system: str
    python: str
    versions: dict[str, str]
    load: float
    """Load average of the last minute, before measuring; above zero the machine had other work."""

    def beside(self, peers: Mapping[str, str]) -> Environment:
        """The same with versions of other engines that are compared with, by package."""
        return replace(self, versions=self.versions | dict(peers))

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def __str__(self) -> str:
        """Return one line for people."""
        tools = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.date}, {self.cores} x {self.cpu}, load {self.load:.1f}, {tools}"


def record_environment(peers: Mapping[str, str] | None = None) -> Environment:
    """Describe this machine as it is now.

    Args:
        peers: versions of other engines that are compared with, by package.
    """
    versions = {}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    versions |= peers or {}
    now = datetime.datetime.now(datetime.UTC)
    return Environment(
        date=now.strftime("%Y-%m-%d %H:%M:%S"),
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=versions,
        load=os.getloadavg()[0],
    )


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


@contextmanager
def machine_to_ourselves() -> Iterator[None]:
    """Hold a lock that everything timed on this machine takes; wait for it if need be.

    Raises:
        CannotWrite: the file that is locked can neither be opened nor made.
    """
    path = Path(gettempdir(), "burnish-timing.lock")
    try:
        opened = _opened(path)
    except OSError as error:
        raise CannotWrite(f"cannot lock {path}, as timing needs: {error.strerror}") from error
    with os.fdopen(opened) as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            logger.warning("waiting for another measurement, which holds %s", path)
            begun = time.perf_counter()
            try:
                flock(lock, LOCK_EX)
            finally:
                _WAITS.append(time.perf_counter() - begun)
        yield


_WAITS: list[float] = []
"""Seconds that this process has waited for others, each time."""


class Stopwatch:
    """Measures how long something takes, without the time that it waits for others' measurements.

    That says nothing about what is measured, and may be minutes.
    """

    def __init__(self) -> None:
        self._begun, self._waits = time.perf_counter(), len(_WAITS)

    @property
    def seconds(self) -> float:
        """Wall clock since the beginning, less what was waited."""
        return time.perf_counter() - self._begun - sum(_WAITS[self._waits :])


def _opened(path: Path) -> int:
    """Open what is locked: not emptied, nor through a link, since it may be another user's.

    Systems refuse to make a file where another's is, in a folder that all can write.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        made = os.open(path, flags | os.O_CREAT, 0o644)
        # Whatever the mask: others have to be able to open it.
        os.fchmod(made, 0o644)
        return made
