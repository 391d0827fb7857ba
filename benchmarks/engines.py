"""The engines that are measured, as a worker process loads them.

Each loader imports its engine itself, so that a worker holds one engine and nothing of another.
What a run returns may lie in memory of the engine's own, until the next run.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.inputs import Array, Shape

Feeds = Mapping[str, Array]
Run = Callable[[Feeds], dict[str, Array]]


@dataclass(frozen=True, slots=True)
class Job:
    """What an engine is to load."""

    path: Path
    """An ONNX file or an artifact; `torch.compile` takes the zoo's model of that name."""
    threads: int
    shapes: Mapping[str, Shape]
    """Of every input, for engines that compile for them."""


def load_burnish(job: Job) -> Run:
    """Load a compiled artifact, which was compiled for a number of threads."""
    import burnish

    artifact = burnish.load_artifact(job.path)

    def run(feeds: Feeds) -> dict[str, Array]:
        outputs: dict[str, Array] = artifact.run(feeds)
        return outputs

    return run


def load_reference(job: Job) -> Run:
    """Load an ONNX file into ONNX's reference evaluator, which is slow and knows old opsets."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(job.path))

    def run(feeds: Feeds) -> dict[str, Array]:
        return dict(zip(evaluator.output_names, evaluator.run(None, dict(feeds)), strict=True))

    return run


def load_ort(job: Job, level: str) -> Run:
    """Load an ONNX file into ONNX Runtime with the optimizations of `level`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(
        str(job.path), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]

    def run(feeds: Feeds) -> dict[str, Array]:
        return dict(zip(names, session.run(None, dict(feeds)), strict=True))

    return run


def load_openvino(job: Job, precision: str) -> Run:
    """Compile an ONNX file with OpenVINO for the job's shapes, one stream, for latency.

    Inputs are bound once, without a copy, and outputs are read where they lie. A run is started
    and waited for: in the Python of OpenVINO that takes less time than `infer`, which gathers
    outputs in a dictionary of its own.
    """
    import openvino

    core = openvino.Core()
    model = core.read_model(job.path)
    model.reshape({name: list(shape) for name, shape in job.shapes.items()})
    # Compiling adds names of values inside the model to those of outputs.
    names = [port.any_name for port in model.outputs]
    request = core.compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": job.threads,
            "INFERENCE_PRECISION_HINT": precision,
        },
    ).create_infer_request()
    bound: Feeds = {}

    def run(feeds: Feeds) -> dict[str, Array]:
        nonlocal bound
        if feeds is not bound:
            for name, array in feeds.items():
                request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
            bound = feeds
        request.start_async()
        request.wait()
        return {name: request.get_output_tensor(i).data for i, name in enumerate(names)}

    return run


def load_torch(job: Job, mode: str) -> Run:
    """Compile the torch module that a model of the zoo was exported from, in a mode of inductor.

    Weights are constants to it ("freezing"), as its documentation advises for inference on CPUs.
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


ENGINES: Mapping[str, Callable[[Job], Run]] = {
    "burnish": load_burnish,
    "ort": partial(load_ort, level="ORT_ENABLE_ALL"),
    "ort-layout": partial(load_ort, level="ORT_ENABLE_LAYOUT"),
    "ort-extended": partial(load_ort, level="ORT_ENABLE_EXTENDED"),
    "ort-basic": partial(load_ort, level="ORT_ENABLE_BASIC"),
    "oracle": partial(load_ort, level="ORT_DISABLE_ALL"),
    "reference": load_reference,
    "openvino": partial(load_openvino, precision="f32"),
    "openvino-bf16": partial(load_openvino, precision="bf16"),
    "torch": partial(load_torch, mode="default"),
    "torch-max-autotune": partial(load_torch, mode="max-autotune"),
}
