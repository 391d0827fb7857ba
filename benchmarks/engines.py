"""The engines that are measured, as a worker process loads them.

Each loader imports its engine itself, so that a worker holds one engine and nothing of another.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.inputs import Array

Feeds = Mapping[str, Array]
Run = Callable[[Feeds], dict[str, Array]]


def load_burnish(path: Path, threads: int) -> Run:
    """Load a compiled artifact, which was compiled for a number of threads."""
    import burnish

    artifact = burnish.load_artifact(path)

    def run(feeds: Feeds) -> dict[str, Array]:
        outputs: dict[str, Array] = artifact.run(feeds)
        return outputs

    return run


def load_ort(path: Path, threads: int) -> Run:
    """Load an ONNX file into ONNX Runtime with all of its optimizations."""
    return _ort_session(path, threads, "ORT_ENABLE_ALL")


def load_oracle(path: Path, threads: int) -> Run:
    """Load an ONNX file into ONNX Runtime with its optimizations disabled."""
    return _ort_session(path, threads, "ORT_DISABLE_ALL")


def load_reference(path: Path, threads: int) -> Run:
    """Load an ONNX file into ONNX's reference evaluator, which is slow and knows old opsets."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))

    def run(feeds: Feeds) -> dict[str, Array]:
        return dict(zip(evaluator.output_names, evaluator.run(None, dict(feeds)), strict=True))

    return run


def _ort_session(path: Path, threads: int, level: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]

    def run(feeds: Feeds) -> dict[str, Array]:
        return dict(zip(names, session.run(None, dict(feeds)), strict=True))

    return run


ENGINES: Mapping[str, Callable[[Path, int], Run]] = {
    "burnish": load_burnish,
    "ort": load_ort,
    "oracle": load_oracle,
    "reference": load_reference,
}
