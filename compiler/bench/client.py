"""Worker processes as the measuring process sees them: started, woken, asked, put to sleep."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from burnish.bench.engines import Array, Shape
from burnish.onnx_runtime import SILENCE

WORKER = Path(__file__).with_name("worker.py")
LIMIT = 900.0
"""Seconds after which a worker that does not answer counts as hanging: far more than loading the
largest model takes, or a block of its runs."""


class EngineFailed(Exception):
    """An engine could not load or run a model; the message is the engine's own."""


class Engine:
    """One engine in a worker process, which is stopped whenever it is not answering.

    Thread pools go on spinning after a run; a stopped process cannot, so the engine measured next
    has the cores to itself.
    """

    def __init__(
        self, name: str, python: Path = Path(sys.executable), limit: float = LIMIT
    ) -> None:
        """Start a worker.

        Args:
            name: a key of `burnish.bench.engines.ENGINES`, or "module:function" that takes a job
                and returns what runs it, as these do.
            python: the interpreter that has what the engine needs.
            limit: seconds that it has for an answer.
        """
        self.name = name
        self.limit = limit
        paths = [_home(name), os.environ.get("PYTHONPATH", "")]
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._files = tempfile.TemporaryDirectory(prefix="burnish-benchmark-")
        self._process = subprocess.Popen(
            [str(python), str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
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
            EngineFailed: if the worker answers with an error, or not at all, or dies.
        """
        try:
            self._process.send_signal(signal.SIGCONT)
            self._pipe("stdin").write(json.dumps(request).encode() + b"\n")
            self._pipe("stdin").flush()
            line = self._line(time.monotonic() + self.limit)
        except BrokenPipeError:
            line = b""
        if not line:
            raise EngineFailed(f"{self.name}: the worker died: {self._last_words()}")
        self._process.send_signal(signal.SIGSTOP)
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise EngineFailed(f"{self.name}: {_shortened(reply['error'])}")
        return reply

    def _line(self, deadline: float) -> bytes:
        """Read a reply; empty if the worker has ended.

        Raises:
            EngineFailed: none comes; the worker is ended then.
        """
        pieces: list[bytes] = []
        source = self._pipe("stdout").fileno()
        # A reply is one line, and comes only when it is asked for.
        while not pieces or not pieces[-1].endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([source], [], [], left)[0]:
                self._process.kill()
                raise EngineFailed(
                    f"{self.name}: no answer in {self.limit:g} s; it hangs, or the model is too "
                    "large for this machine"
                )
            piece = os.read(source, 1 << 16)
            if not piece:
                return b""
            pieces.append(piece)
        return b"".join(pieces)

    def _pipe(self, name: str) -> Any:
        pipe = getattr(self._process, name)
        assert pipe is not None
        return pipe

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
