"""One engine in a process of its own, driven over pipes.

Requests and replies are lines of JSON; arrays travel in .npz files that the requests name, under
numbers, since inputs and outputs may be called anything. The process does nothing between
requests. `burnish.bench.client` is the other end. This file is run as a script, by an interpreter
that may have no burnish.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO, TypeAlias

Request: TypeAlias = Mapping[str, Any]
PR_SET_PDEATHSIG = 1
"""Of prctl (2): the signal that comes when the parent ends."""
FOREIGN = ("tvm", "tvm_ffi", "onnx", "onnxruntime", "onnx_graphsurgeon", "openvino", "torch")
"""Packages whose presence in a process is reported, dependencies of compilers and other engines."""


class Worker:
    """Holds a loaded model and its feeds between requests."""

    def __init__(self) -> None:
        self.run: Callable[[Any], Any] | None = None
        self.feeds: dict[str, Any] = {}

    def handle(self, request: Request) -> dict[str, Any]:
        """Do what a request asks for and return the reply."""
        actions: dict[str, Callable[[Request], dict[str, Any]]] = {
            "load": self._load,
            "feed": self._feed,
            "outputs": self._outputs,
            "time": self._time,
            "status": self._status,
        }
        return actions[request["do"]](request)

    def _load(self, request: Request) -> dict[str, Any]:
        engines = beside("engines")
        # What was loaded before does not take memory beside it.
        self.run = None
        begin = time.perf_counter()
        shapes = {name: tuple(shape) for name, shape in request["shapes"].items()}
        job = engines.Job(Path(request["path"]), request["threads"], shapes, request["options"])
        module, colon, function = request["engine"].partition(":")
        if colon:
            loader = getattr(importlib.import_module(module), function)
        else:
            loader = engines.ENGINES[module]
        self.run = loader(job)
        return {"seconds": time.perf_counter() - begin}

    def _feed(self, request: Request) -> dict[str, Any]:
        import numpy as np

        with np.load(request["path"]) as file:
            arrays = [file[f"arr_{i}"] for i in range(len(file.files))]
        self.feeds = dict(zip(request["names"], arrays, strict=True))
        return {}

    def _outputs(self, request: Request) -> dict[str, Any]:
        """Run once and write the outputs to a file."""
        import numpy as np

        outputs = self._loaded()(self.feeds)
        with Path(request["path"]).open("wb") as file:
            np.savez(file, *outputs.values())
        return {"names": list(outputs)}

    def _time(self, request: Request) -> dict[str, Any]:
        """Time `count` runs one by one, after `warm` that do not count."""
        run, feeds = self._loaded(), self.feeds
        for _ in range(request["warm"]):
            run(feeds)
        seconds = []
        for _ in range(request["count"]):
            begin = time.perf_counter()
            run(feeds)
            seconds.append(time.perf_counter() - begin)
        return {"seconds": seconds}

    def _status(self, _: Request) -> dict[str, Any]:
        return {
            "resident": resident_bytes(),
            "foreign": [name for name in FOREIGN if name in sys.modules],
        }

    def _loaded(self) -> Callable[[Any], Any]:
        if self.run is None:
            raise RuntimeError("no model is loaded")
        return self.run


def beside(name: str) -> Any:
    """Import a module that lies beside this file, whether its package can be imported or not."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def resident_bytes() -> int:
    """Return the resident set size of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer requests until their stream ends; a failure is an answer too."""
    worker = Worker()
    for line in requests:
        try:
            reply = worker.handle(json.loads(line))
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> None:
    """Serve on the standard streams; what engines print goes to standard error."""
    if sys.platform == "linux":
        # Most of the time this process is stopped, and would never see that its streams ended.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, replies)


if __name__ == "__main__":
    # The folder of this file, whose modules would hide others of the same names.
    del sys.path[0]
    main()
