"""ONNX Runtime's own optimizers: which of them change a model, found by leaving each out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import onnx

from burnish.bench.client import Engine, EngineFailed
from burnish.bench.columns import Rival, Rivals

OPTIMIZERS = (
    "AttentionFusion", "BiasGeluFusion", "BiasSoftmaxFusion", "CastChainElimination",
    "CastElimination", "CommonSubexpressionElimination", "ConstantFolding", "ConstantSharing",
    "ConvActivationFusion", "ConvAddActivationFusion", "ConvAddFusion", "ConvBNFusion",
    "ConvMulFusion", "DivMulFusion", "DoubleQDQPairsRemover", "DynamicQuantizeMatMulFusion",
    "EliminateDropout", "EliminateIdentity", "EliminateSlice", "EmbedLayerNormFusion",
    "EnsureUniqueDQForNodeUnit", "ExpandElimination", "FastGeluFusion", "FuseReluClip",
    "GatherSliceToSplitFusion", "GatherToSliceFusion", "GatherToSplitFusion", "GeluFusionL1",
    "GeluFusionL2", "GemmActivationFusion", "GemmSumFusion", "GemmTransposeFusion",
    "LabelEncoderFusion", "LayerNormFusionL1", "LayerNormFusionL2", "MatMulActivationFusion",
    "MatMulAddFusion", "MatMulIntegerToFloatFusion", "MatMulScaleFusion",
    "MatMul_BatchNormalization_Fusion", "MatmulTransposeFusion", "NchwcTransformer",
    "NhwcTransformer", "NoopElimination", "NotWhereFusion", "Pad_Fusion",
    "PreShapeNodeElimination", "QDQFinalCleanupTransformer", "QDQPropagationTransformer",
    "QDQSelectorActionTransformer", "QuickGeluFusion", "RemoveDuplicateCastTransformer",
    "ReshapeFusion", "SimplifiedLayerNormFusion", "SkipLayerNormFusion",
    "SliceConcatToSpaceToDepthFusion", "TransposeOptimizer", "UnsqueezeElimination",
    "WhereDummyDq",
)  # fmt: skip
"""Those of releases 1.23 to 1.31 that rewrite models for processors. A release passes over names
that it does not know, so they are known by what leaving them out changes."""


def ablated(
    rivals: Rivals, best: Rival, report: Callable[[int, int], None] | None = None
) -> Iterator[Rival]:
    """Yield ONNX Runtime on the original without each optimizer that does something to it.

    Args:
        rivals: what checks them before they are timed.
        best: ONNX Runtime with all of them.
        report: called with how many are done and how many there are.
    """
    if best.seating is None:
        rivals.notes.append("ONNX Runtime's optimizers are not left out: it does not run the model")
        return
    seen: dict[str, str] = {}
    without_effect = 0
    with Engine(best.seating.loader) as engine:
        for done, name in enumerate(("", *OPTIMIZERS)):
            if report:
                report(done, len(OPTIMIZERS))
            options = {"disabled": [name] if name else []}
            written = rivals.folder / "optimized.onnx"
            rival = Rival(f"onnxruntime without {name}", best.version)
            try:
                engine.load(
                    best.seating.path, best.seating.threads, best.seating.shapes,
                    written=str(written), **options,
                )  # fmt: skip
                content = signature(written)
            except EngineFailed as failure:
                if name:
                    rival.failure = str(failure)
                    yield rival
                continue
            if content in seen:
                without_effect += 1
                continue
            seen[content] = name
            if name:
                yield rivals.seated(rival, replace(best.seating, options=options))
    rivals.notes.append(
        f"{without_effect} of {len(OPTIMIZERS)} optimizers of ONNX Runtime do nothing to this "
        "model that others do not do as well"
    )


def signature(path: Path) -> str:
    """A hash of the operators of a model and its weights, in no order and without names.

    ONNX Runtime gives what it makes other names, and writes it in another order, every time.
    """
    graph = onnx.load(str(path)).graph
    operators = sorted(
        f"{node.domain}:{node.op_type}/{len(node.input)}/{len(node.output)} "
        + " ".join(sorted(sha256(a.SerializeToString()).hexdigest() for a in node.attribute))
        for node in graph.node
    )
    weights = []
    for tensor in graph.initializer:
        tensor.ClearField("name")
        weights.append(sha256(tensor.SerializeToString(deterministic=True)).hexdigest())
    return sha256("\n".join([*operators, *sorted(weights)]).encode()).hexdigest()
