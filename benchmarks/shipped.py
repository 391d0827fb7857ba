"""The models that the onnx package ships for tests of backends: optimized, compiled, compared."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from benchmarks.comparison import Disagreement, worst_error
from benchmarks.compiling import CommandFailed, compile_artifact, optimize_model
from benchmarks.inputs import Array
from burnish.bench.client import Engine, EngineFailed

NETWORKS, LAYERS = "light", "pytorch-converted"
"""Folders of the package with whole networks and with single layers."""


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """One model of the onnx package, with inputs for it."""

    family: str
    name: str
    path: Path
    feeds: dict[str, Array]


@dataclass(frozen=True, slots=True)
class ShippedEvidence:
    """What became of one shipped model."""

    family: str
    name: str
    optimizing: str | None = None
    """Why it could not be optimized or then differed from the oracle; None if all went well."""
    compiling: str | None = None
    """Why it could not be compiled or then differed from the oracle; None if all went well."""
    regions: int | None = None

    @property
    def native(self) -> bool:
        """Whether it compiled, agrees, and needs no other engine."""
        return self.compiling is None and self.regions == 0

    def __str__(self) -> str:
        """Return one line for people."""
        compiled = self.compiling or ("native" if self.native else f"{self.regions} regions")
        return f"{self.name}: {self.optimizing or 'optimized'}; {compiled}"


def find_shipped() -> Iterator[ShippedModel]:
    """Yield the shipped models, in the order of their names."""
    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for path in sorted((data / NETWORKS).glob("*.onnx")):
        yield ShippedModel(NETWORKS, path.stem, path, _ramps(path))
    for folder in sorted((data / LAYERS).iterdir()):
        path = folder / "model.onnx"
        yield ShippedModel(LAYERS, folder.name, path, _recorded(path))


def gather_shipped(jobs: int = 2) -> Iterator[ShippedEvidence]:
    """Optimize, compile and compare every shipped model, `jobs` at a time; nothing is timed."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(gather_one, find_shipped())


def gather_one(model: ShippedModel) -> ShippedEvidence:
    """Optimize, compile and compare one shipped model."""
    judge, expected = _expect(model)
    with tempfile.TemporaryDirectory(prefix="burnish-shipped-") as folder:
        optimized, artifact = Path(folder, "optimized.onnx"), Path(folder, "artifact")
        optimizing = compiling = regions = None
        try:
            optimize_model(model.path, optimized)
            worst_error(_outputs(judge, optimized, model.feeds), expected)
        except (CommandFailed, EngineFailed, Disagreement) as failure:
            optimizing = str(failure)
        try:
            shapes = {name: feed.shape for name, feed in model.feeds.items()}
            compiled = compile_artifact(model.path, artifact, shapes, threads=1, tune="off")
            regions = compiled.regions
            worst_error(_outputs("burnish", artifact, model.feeds), expected)
        except (CommandFailed, EngineFailed, Disagreement) as failure:
            compiling = str(failure)
    return ShippedEvidence(model.family, model.name, optimizing, compiling, regions)


def _expect(model: ShippedModel) -> tuple[str, dict[str, Array]]:
    """Return what a model gives, and the engine that says so.

    ONNX Runtime has no kernels for operators as they were before opset 7; the reference evaluator
    stands in for it there.
    """
    try:
        return "oracle", _outputs("oracle", model.path, model.feeds)
    except EngineFailed:
        return "reference", _outputs("reference", model.path, model.feeds)


def _outputs(engine: str, path: Path, feeds: dict[str, Array]) -> dict[str, Array]:
    with Engine(engine) as worker:
        worker.load(path, threads=1)
        worker.feed(feeds)
        return worker.outputs()


def _ramps(path: Path) -> dict[str, Array]:
    """Return inputs that rise from 0 to 1, as the package's own test runner makes them."""
    feeds = {}
    for entry in _true_inputs(path):
        shape = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        size = int(np.prod(shape))
        feeds[entry.name] = (np.arange(size) / size).astype(np.float32).reshape(shape)
    return feeds


def _recorded(path: Path) -> dict[str, Array]:
    """Return the inputs recorded beside a model."""
    feeds = {}
    for index, entry in enumerate(_true_inputs(path)):
        tensor = TensorProto()
        file = path.parent / "test_data_set_0" / f"input_{index}.pb"
        tensor.ParseFromString(file.read_bytes())
        feeds[entry.name] = numpy_helper.to_array(tensor)
    return feeds


def _true_inputs(path: Path) -> list[onnx.ValueInfoProto]:
    """Return the graph inputs that are not initializers."""
    graph = onnx.load(path).graph
    constants = {one.name for one in graph.initializer}
    return [one for one in graph.input if one.name not in constants]
