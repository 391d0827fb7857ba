"""Worker processes as the measuring process sees them: started, woken, asked, put to sleep."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from burnish.bench.engines import Array, Shape
from burnish.onnx_runtime import SILENCE

WORKER = Path(__file__).with_name("worker.py")


class EngineFailed(Exception):
    """An engine could not load or run a model; the message is the engine's own."""


class Engine:
    """One engine in a worker process, which is stopped whenever it is not answering.

    Thread pools go on spinning after a run; a stopped process cannot, so the engine measured next
    has the cores to itself.
    """

    def __init__(self, name: str, python: Path = Path(sys.executable)) -> None:
        """Start a worker.

        Args:
            name: a key of `burnish.bench.engines.ENGINES`, or "module:function" that takes a job
                and returns what runs it, as these do.
            python: the interpreter that has what the engine needs.
        """
        self.name = name
        paths = [_home(name), os.environ.get("PYTHONPATH", "")]
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._files = tempfile.TemporaryDirectory(prefix="burnish-benchmark-")
        self._process = subprocess.Popen(
            [str(python), str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={
                **os.environ,
                SILENCE: "1",
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            },
        )

    def __enter__(self) -> Self:
        """Return itself; the process runs already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self.end()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()
        self._files.cleanup()

    def load(
        self,
        path: Path,
        threads: int,
        shapes: Mapping[str, Shape] | None = None,
        **options: Any,
    ) -> float:
        """Load a model or artifact and return how many seconds that took.

        Args:
            path: the ONNX file or artifact.
            threads: how many the engine may use.
            shapes: of every input, for engines that compile for them.
            options: of this engine alone, plain values.
        """
        what = {"engine": self.name, "path": str(path.resolve())}
        reply = self._ask(do="load", **what, threads=threads, shapes=dict(shapes or {}),
                          options=options)  # fmt: skip
        return float(reply["seconds"])

    def feed(self, feeds: Mapping[str, Array]) -> None:
        """Give the worker the inputs of the runs to come."""
        path = Path(self._files.name, "feeds.npz")
        with path.open("wb") as file:
            np.savez(file, *feeds.values())
        self._ask(do="feed", path=str(path), names=list(feeds))

    def outputs(self) -> dict[str, Array]:
        """Run once and return the outputs by name."""
        path = Path(self._files.name, "outputs.npz")
        names = self._ask(do="outputs", path=str(path))["names"]
        with np.load(path) as file:
            return {str(name): file[f"arr_{index}"] for index, name in enumerate(names)}

    def time(self, count: int, *, warm: int) -> list[float]:
        """Return the seconds of each of `count` runs, after `warm` that are not counted."""
        return [float(one) for one in self._ask(do="time", count=count, warm=warm)["seconds"]]

    def resident(self) -> int:
        """Return the resident set size of the worker in bytes."""
        return int(self._ask(do="status")["resident"])

    def foreign(self) -> list[str]:
        """Return the compilers and other engines that the worker has imported."""
        return [str(one) for one in self._ask(do="status")["foreign"]]

    def _ask(self, **request: Any) -> dict[str, Any]:
        """Wake the worker, send a request, wait for the reply, stop the worker.

        Raises:
            EngineFailed: if the worker answers with an error or dies.
        """
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise EngineFailed(f"{self.name}: the worker has no pipes")
        try:
            process.send_signal(signal.SIGCONT)
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise EngineFailed(f"{self.name}: the worker died: {self._last_words()}")
        process.send_signal(signal.SIGSTOP)
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise EngineFailed(f"{self.name}: {_shortened(reply['error'])}")
        return reply

    def _last_words(self) -> str:
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return f"exit status {status}; {' '.join(lines[-3:])[-500:]}"


def _home(name: str) -> str:
    """The folder that an interpreter needs on its path to import the loader called ``name``."""
    package = name.partition(":")[0].partition(".")[0]
    spec = importlib.util.find_spec(package) if ":" in name else None
    if spec is None or spec.origin is None:
        return ""
    origin = Path(spec.origin)
    return str(origin.parent.parent if origin.name == "__init__.py" else origin.parent)


def _shortened(text: str) -> str:
    """Put a message on one line of bounded length: engines name the place first, the cause last."""
    line = " ".join(text.split())
    return line if len(line) <= 400 else f"{line[:150]} ... {line[-250:]}"
