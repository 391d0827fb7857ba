"""The command line of burnish, run as anybody would run it: in a process of its own, timed."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.comparison import LOSSY
from benchmarks.inputs import Shape

LIMIT = 600.0
"""Seconds after which a command counts as hanging."""


class CommandFailed(Exception):
    """A command ended with another exit code than 0; the message is the command's own."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """An artifact and what it took to make it."""

    path: Path
    seconds: float
    """Wall-clock time of the whole command, start-up included."""
    peak: int = 0
    """Resident bytes of the largest of its processes, at most."""

    @property
    def manifest(self) -> dict[str, Any]:
        """What the artifact says about itself."""
        content: dict[str, Any] = json.loads((self.path / "manifest.json").read_text("utf-8"))
        return content

    @property
    def regions(self) -> int:
        """How many parts of the model ONNX Runtime has to run."""
        return sum(
            "region" in segment
            for entry in self.manifest["entries"]
            for segment in entry["segments"]
        )

    @property
    def native_share(self) -> float:
        """The share of operators, 0 to 1, that run as native kernels."""
        return float(self.manifest["native"]["operators"])

    @property
    def library(self) -> Path:
        """The one shared library of the artifact."""
        (library,) = self.path.rglob("*.so")
        return library


def compile_artifact(
    model: Path,
    artifact: Path,
    shapes: Mapping[str, Shape],
    *,
    threads: int,
    tune: str | None = None,
    precision: str | None = None,
    cache: Path | None = None,
    skip: Sequence[str] = (),
) -> Compiled:
    """Compile a model for this machine with `burnish compile`.

    Args:
        model: the ONNX file.
        artifact: the folder to write.
        shapes: of every input; scalars are left out, as nothing about them can be open.
        threads: how many the artifact shall use.
        tune: "off" or seconds; the command's default if None.
        precision: of arithmetic; the command's default if None.
        cache: folder for what burnish keeps between runs; the user's own if None.
        skip: names of passes to leave out.

    Raises:
        CommandFailed: if the command fails or takes longer than `LIMIT`.
    """
    arguments = ["compile", str(model), "-o", str(artifact), "--target", "cpu"]
    arguments += ["--threads", str(threads), *shape_options(shapes)]
    if tune is not None:
        arguments += ["--tune", tune]
    if precision is not None:
        # How far off the result is, is measured; only what can be no rounding shall stop here.
        arguments += ["--precision", precision, "--tolerance", str(max(LOSSY.values()))]
    if skip:
        arguments += ["--skip", ",".join(skip)]
    usage = run_burnish(arguments, cache=cache)
    return Compiled(artifact, usage.seconds, usage.peak)


def optimize_model(model: Path, output: Path, shapes: Mapping[str, Shape] | None = None) -> float:
    """Rewrite a model with `burnish optimize` and return the seconds it took.

    Raises:
        CommandFailed: if the command fails or takes longer than `LIMIT`.
    """
    arguments = ["optimize", str(model), "-o", str(output), *shape_options(shapes or {})]
    return run_burnish(arguments).seconds


def make(
    model: Path, output: Path, arguments: Sequence[str], *, limit: float = LIMIT
) -> dict[str, Any]:
    """Run `burnish compile`, or `burnish optimize` for an .onnx file.

    Args:
        model: the ONNX file.
        output: what to write.
        arguments: more options of the command.
        limit: seconds after which it counts as hanging.

    Returns:
        What it says with ``--json``, with ``seconds`` and ``peak`` bytes of the whole command.

    Raises:
        CommandFailed: it fails or takes longer.
    """
    command = "optimize" if output.suffix == ".onnx" else "compile"
    fixed = [command, str(model), "-o", str(output), "--json"]
    usage = run_burnish([*fixed, *arguments], limit=limit)
    said: dict[str, Any] = json.loads(usage.output)
    return {**said, "seconds": usage.seconds, "peak": usage.peak}


def inspect_artifact(artifact: Path, cache: Path | None = None) -> dict[str, Any]:
    """Return what `burnish inspect --profile` says of an artifact.

    Args:
        artifact: of this machine.
        cache: as of `compile_artifact`; in a new one the machine's limits are measured as well.

    Raises:
        CommandFailed: if the command fails or takes longer than `LIMIT`.
    """
    usage = run_burnish(["inspect", str(artifact), "--profile", "--json"], cache=cache)
    content: dict[str, Any] = json.loads(usage.output)
    return content


def shape_options(shapes: Mapping[str, Shape]) -> list[str]:
    """Return the `--input-shape` options for shapes by input name."""
    return [
        part
        for name, shape in shapes.items()
        if shape
        for part in ("--input-shape", f"{name}={','.join(map(str, shape))}")
    ]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command that succeeded printed and took."""

    output: str
    seconds: float
    peak: int
    """Resident bytes of the largest of its processes, at most: never less than this one's."""


def run_burnish(
    arguments: Sequence[str], *, cache: Path | None = None, limit: float = LIMIT
) -> Usage:
    """Run a burnish command.

    Raises:
        CommandFailed: if it fails or takes longer than ``limit`` seconds.
    """
    environment = dict(os.environ)
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache)
    command = [str(Path(sys.executable).with_name("burnish")), *arguments]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+", errors="replace") as log:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=log
        )
        timer = threading.Timer(limit, process.kill)
        timer.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode < 0 and seconds >= limit:
            raise CommandFailed(f"no end after {limit:.0f} s")
        for stream in (out, log):
            stream.seek(0)
        if process.returncode != 0:
            raise CommandFailed(f"exit code {process.returncode}: {last_message(log.read())}")
        return Usage(out.read(), seconds, used.ru_maxrss * 1024)


def last_message(text: str) -> str:
    """Return what a failed command said last: burnish's own message if there is one."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("burnish: ")]
    return (own or lines or ["it said nothing"])[-1][:400]
