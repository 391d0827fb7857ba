"""The engines that are measured, as a worker process loads them.

Each loader imports its engine itself, so that a worker holds one engine and nothing of another;
the interpreter may have no more than that engine and numpy, so this module imports nothing of
burnish. What a run returns may lie in memory of the engine's own, until the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
Shape: TypeAlias = tuple[int, ...]
Feeds: TypeAlias = Mapping[str, Array]
Run: TypeAlias = Callable[[Feeds], dict[str, Array]]


@dataclass(frozen=True, slots=True)
class Job:
    """What an engine is to load."""

    path: Path
    """An ONNX file or an artifact."""
    threads: int
    shapes: Mapping[str, Shape]
    """Of every input, for engines that compile for them."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of this engine alone."""


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
    """Load an ONNX file into ONNX Runtime with the optimizations of `level`.

    Of these, those are left out that the job's option `disabled` names. With `written`, what it
    makes of the model goes to a file of that name.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if "written" in job.options:
        options.optimized_model_filepath = job.options["written"]
    session: Any = onnxruntime.InferenceSession(
        str(job.path),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(job.options.get("disabled", ())) or None,
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
}
