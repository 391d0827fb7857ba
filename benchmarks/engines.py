"""Engines of the suite's own that a worker process loads, by "module:function".

The interpreter may have no burnish.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from burnish.bench.engines import Array, Feeds, Job, Run


def load_torch(job: Job, mode: str = "default") -> Run:
    """Compile the torch module that the model of that file in the zoo was exported from.

    In a mode of inductor; weights are constants to it ("freezing"), as its documentation advises
    for inference on CPUs.
    """
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise RuntimeError("torch.compile needs a C++ compiler, and there is no g++ here")
    import torch
    from torch._inductor import config

    from benchmarks.builders.torch_export import intercepted
    from benchmarks.cache import run_builder
    from benchmarks.zoo import find

    model = find(job.path.stem)
    if "torch" not in model.needs:
        raise RuntimeError(f"{model.name} was not exported from torch here")
    with intercepted() as found:
        run_builder(model, job.path)
    (module,) = found
    config.freezing = True
    torch.set_num_threads(job.threads)
    compiled = torch.compile(module.model.eval(), mode=mode, dynamic=False)
    bound: Feeds = {}
    arguments: list[Any] = []

    def run(feeds: Feeds) -> dict[str, Array]:
        nonlocal bound
        if feeds is not bound:
            arguments[:] = [torch.from_numpy(feeds[name]) for name in module.inputs]
            bound = feeds
        with torch.no_grad():
            results = compiled(*arguments)
        tensors = results if isinstance(results, tuple | list) else (results,)
        return {n: t.numpy() for n, t in zip(module.outputs, tensors, strict=True)}

    return run


def load_torch_autotuned(job: Job) -> Run:
    """The same after inductor has timed its kernels."""
    return load_torch(job, "max-autotune")
