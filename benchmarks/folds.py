"""Exact folds on real models: adapters that vanish, normalizations that need no mean."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from benchmarks.cache import Zoo
from benchmarks.comparison import Disagreement, worst_error
from benchmarks.compiling import LIMIT, CommandFailed, last_message
from benchmarks.inputs import Array, draw_feeds
from benchmarks.verdicts import Verdict, or_none
from benchmarks.zoo import Model, find

ADAPTED = ("lora-dynamo", "lora-torchscript", "repadapter-dynamo", "repadapter-torchscript")
RANKS = (4, 8)
"""Channels of the adapters in these models; nothing else in them has so few."""
CENTERED, UNCENTERED = "deit-tiny-dynamo", "minilm-torchscript"
"""A model whose LayerNormalizations become RMSNormalizations, and one whose cannot."""
RULE = "layer-norm-to-rms-norm"
EXACT, CLOSE = 1e-9, 1e-5


@dataclass(frozen=True, slots=True)
class FoldEvidence:
    """What became of one model."""

    model: str
    error: float | None = None
    """Largest relative error of any output; None if that was not to be measured."""
    left: tuple[str, ...] = ()
    """Weights of adapters that are still there."""
    fired: int = 0
    """How often the rule fired that this is about."""
    reasons: tuple[str, ...] = ()
    """Why it did not elsewhere."""
    failure: str | None = None

    def __str__(self) -> str:
        """One line for people."""
        if self.failure:
            return f"{self.model}: {self.failure}"
        error = "" if self.error is None else f", error {self.error:.1e}"
        return f"{self.model}: {self.fired} folds{error}"


def gather_folds(zoo: Zoo) -> Iterator[FoldEvidence]:
    """Optimize the models that have something to fold."""
    for name in ADAPTED:
        yield _guarded(find(name), zoo, _adapted)
    for name in (CENTERED, UNCENTERED):
        yield _guarded(find(name), zoo, _normalized)


def _guarded(model: Model, zoo: Zoo, gather: Any) -> FoldEvidence:
    try:
        with tempfile.TemporaryDirectory(prefix="burnish-folds-") as folder:
            found: FoldEvidence = gather(model, zoo.path(model), Path(folder))
            return found
    except (CommandFailed, Disagreement) as failure:
        return FoldEvidence(model.name, failure=str(failure))


def _adapted(model: Model, source: Path, folder: Path) -> FoldEvidence:
    """Merge the adapters of a model in double precision, judged by the reference evaluator."""
    wide, merged = folder / "wide.onnx", folder / "merged.onnx"
    onnx.save(widened(onnx.load(str(source))), wide)
    _burnish("optimize", wide, "-o", merged, "--verify", "off")
    feeds = draw_feeds(model.inputs, model.cases[0])
    error = worst_error(_evaluate(merged, feeds), _evaluate(wide, feeds))
    explained = _explain(wide, "merge-adapters")
    graph = onnx.load(str(merged)).graph
    left = tuple(t.name for t in graph.initializer if set(t.dims) & set(RANKS) and len(t.dims) == 2)
    fired = sum(len(entry["fired"]) for entry in explained)
    return FoldEvidence(model.name, error, left, fired)


def _normalized(model: Model, source: Path, folder: Path) -> FoldEvidence:
    """Take the mean out of LayerNormalization, for the opset that has RMSNormalization."""
    report = json.loads(_burnish("optimize", source, "-o", folder / "out.onnx", "--opset", "23",
                                 "--verify", "end", "--json"))  # fmt: skip
    entries = _explain(source, "center-residual-stream", "--opset", "23")
    fired = sum(one["rule"] == RULE for entry in entries for one in entry["fired"])
    misses = (one for entry in entries for one in entry["near_misses"] if one["rule"] == RULE)
    reasons = tuple(dict.fromkeys(str(one["reason"]) for one in misses))
    return FoldEvidence(model.name, report["error"], (), fired, reasons)


def _explain(source: Path, name: str, *options: str) -> list[dict[str, Any]]:
    report = json.loads(_burnish("explain", source, "--pass", name, "--json", *options))
    entries: list[dict[str, Any]] = report["passes"]
    return entries


def _burnish(*arguments: object) -> str:
    command = [str(Path(sys.executable).with_name("burnish")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise CommandFailed(last_message(done.stderr))
    return done.stdout


def _evaluate(path: Path, feeds: dict[str, Array]) -> dict[str, Array]:
    """Run ONNX's reference evaluator, with an error function that is as exact as the rest."""
    from burnish.oracle import Oracle

    found: dict[str, Array] = Oracle(str(path), reference=True).run(feeds)
    return found


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with double precision in place of single, changed in place."""
    graph = model.graph
    for tensor in graph.initializer:
        _widen(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen(attribute.t)
            elif attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
    return model


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def judge_adapters(found: list[FoldEvidence]) -> Verdict:
    """No adapter is left, and the rest is exact."""
    rows = [one for one in found if one.model in ADAPTED]
    bad = [
        one.model for one in rows
        if one.failure or one.left or not one.fired or one.error is None or one.error > EXACT
    ]  # fmt: skip
    errors = [one.error for one in rows if one.error is not None]
    worst = f", error at most {max(errors):.1e}" if errors else ""
    text = f"{len(rows) - len(bad)} of {len(ADAPTED)}{worst}; not: {or_none(bad)}"
    return Verdict(not bad and len(rows) == len(ADAPTED), text)


def judge_centering(found: list[FoldEvidence]) -> Verdict:
    """The mean goes where that is exact, and stays with a reason where it is not."""
    rows = {one.model: one for one in found}
    one, other = rows.get(CENTERED), rows.get(UNCENTERED)
    if one is None or other is None or one.failure or other.failure:
        return Verdict(False, "; ".join(str(row) for row in (one, other) if row) or "nothing")
    folded = one.fired > 0 and one.error is not None and one.error <= CLOSE
    refused = other.fired == 0 and bool(other.reasons)
    why = other.reasons[0] if other.reasons else "no reason"
    return Verdict(folded and refused, f"{one}; {other.model} refused: {why}")
