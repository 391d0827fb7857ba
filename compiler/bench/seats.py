"""Engines that models are timed against, and the interpreters that hold them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "BURNISH_PEERS_PYTHON"
"""Names interpreters that have what this one lacks, separated as in PATH."""
LIMIT = 60.0
"""Seconds after which an interpreter that is asked what it has counts as hanging."""
PROBE = (
    "import importlib.metadata as m, json, sys\n"
    "found = {}\n"
    "for name in sys.argv[1:]:\n"
    "    try: found[name] = m.version(name)\n"
    "    except m.PackageNotFoundError: pass\n"
    "print(json.dumps(found))"
)


@dataclass(frozen=True, slots=True)
class Level:
    """An engine at less than all its optimizations."""

    loader: str
    """As `burnish.bench.client.Engine` takes it."""
    title: str
    """For people: which optimizations it has left."""


@dataclass(frozen=True, slots=True)
class PeerEngine:
    """An engine by the name it has in figures."""

    name: str
    """In figures and options."""
    title: str
    """For people."""
    package: str
    """The distribution that it comes with."""
    loader: str = ""
    """As `burnish.bench.client.Engine` takes it, if that is another name."""
    lower: tuple[Level, ...] = ()
    """What is timed in its place where its results are wrong, most optimized first."""


ORT = PeerEngine(
    "ort",
    "ONNX Runtime",
    "onnxruntime",
    lower=(
        Level("ort-layout", "extended and layout optimizations"),
        Level("ort-extended", "extended optimizations"),
        Level("ort-basic", "basic optimizations"),
        Level("oracle", "no optimizations"),
    ),
)
OPENVINO = PeerEngine("openvino", "OpenVINO", "openvino")
OPENVINO_BF16 = PeerEngine("openvino-bf16", "OpenVINO in bf16", "openvino")


class NotInstalled(Exception):
    """No interpreter at hand has an engine; the message says what to do."""


class NoInterpreter(Exception):
    """What was named as an interpreter cannot be started."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where an engine can be run."""

    peer: PeerEngine
    python: Path = Path(sys.executable)
    version: str = ""
    path: Path | None = None
    """What it loads instead of the ONNX file."""


def interpreters(named: Sequence[Path] = ()) -> tuple[Path, ...]:
    """This interpreter, those that are named, and those of `$BURNISH_PEERS_PYTHON`."""
    listed = filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))
    return (Path(sys.executable), *named, *map(Path, listed))


def seat(peer: PeerEngine, pythons: Sequence[Path]) -> Seat:
    """Find the first interpreter that has an engine.

    Raises:
        NotInstalled: none has.
        NoInterpreter: one cannot be started.
    """
    for python in pythons:
        version = _versions(python, (peer.package,)).get(peer.package)
        if version is not None:
            return Seat(peer, python, version)
    raise NotInstalled(
        f"{peer.title} is not timed: no {peer.package} here; pip install it, or name an "
        f"interpreter that has it by {VARIABLE}"
    )


def _versions(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """The versions of those packages that an interpreter has."""
    try:
        done = subprocess.run(
            [str(python), "-c", PROBE, *packages], capture_output=True, text=True, check=True,
            timeout=LIMIT,
        )  # fmt: skip
        found: dict[str, str] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, json.JSONDecodeError) as error:
        raise NoInterpreter(f"{python} does not run as a Python interpreter: {error}") from None
    return found
