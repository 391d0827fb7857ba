"""The passes, by name. A table of strings, so that listing them imports none."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from burnish.errors import UsageError
from burnish.pipeline import Pass
from burnish.suggest import unknown

PASSES: dict[str, str] = {
    "canonical-forms": "burnish.passes.fusion.canonical_forms:CanonicalForms",
    "center-residual-stream": "burnish.passes.folding.residual_stream:CenterResidualStream",
    "common-subexpressions": "burnish.passes.cleanup.common_subexpressions:CommonSubexpressions",
    "compensate-channels": "burnish.passes.quantization.compensate_channels:CompensateChannels",
    "convert-float16": "burnish.passes.quantization.convert_float16:ConvertFloat16",
    "correct-bias": "burnish.passes.quantization.correct_bias:CorrectBias",
    "equalize-channels": "burnish.passes.quantization.equalize_channels:EqualizeChannels",
    "expand-quantized": "burnish.passes.quantization.expand_quantized:ExpandQuantized",
    "fix-norm-scale": "burnish.passes.folding.norm_scale:FixNormScale",
    "fold-attention-biases": "burnish.passes.folding.attention_biases:FoldAttentionBiases",
    "fold-constants": "burnish.passes.cleanup.fold_constants:FoldConstants",
    "fold-layer-norm": "burnish.passes.folding.layer_norm:FoldLayerNorm",
    "freeze-input-shapes": "burnish.passes.cleanup.freeze_input_shapes:FreezeInputShapes",
    "fuse-attention": "burnish.passes.fusion.attention_heads:FuseAttention",
    "fuse-batch-norm": "burnish.passes.fusion.batch_norm:FuseBatchNorm",
    "fuse-consecutive-linear": "burnish.passes.fusion.consecutive_linear:FuseConsecutiveLinear",
    "fuse-gemm-transposes": "burnish.passes.fusion.gemm_transposes:FuseGemmTransposes",
    "fuse-matmul-add": "burnish.passes.fusion.matmul_add:FuseMatMulAdd",
    "fuse-pad": "burnish.passes.fusion.pad:FusePad",
    "infer-shapes": "burnish.passes.cleanup.infer_shapes:InferShapes",
    "inline-control-flow": "burnish.passes.cleanup.inline_control_flow:InlineControlFlow",
    "integer-products": "burnish.passes.quantization.integer_products:IntegerProducts",
    "lower-attention": "burnish.passes.cleanup.lower_attention:LowerAttention",
    "lower-exotic": "burnish.passes.cleanup.lower_exotic:LowerExotic",
    "lower-quantized": "burnish.passes.quantization.lower_quantized:LowerQuantized",
    "merge-adapters": "burnish.passes.adapters.merge_adapters:MergeAdapters",
    "merge-branches": "burnish.passes.fusion.merge_branches:MergeBranches",
    "merge-constants": "burnish.passes.cleanup.merge_constants:MergeConstants",
    "merge-products": "burnish.passes.fusion.merge_products:MergeProducts",
    "merge-reductions": "burnish.passes.cleanup.merge_reductions:MergeReductions",
    "merge-slices": "burnish.passes.cleanup.merge_slices:MergeSlices",
    "move-quantization": "burnish.passes.quantization.move_quantization:MoveQuantization",
    "move-transposes": "burnish.passes.cleanup.move_transposes:MoveTransposes",
    "move-views": "burnish.passes.cleanup.move_views:MoveViews",
    "narrow-products": "burnish.passes.precision.narrow_products:NarrowProducts",
    "narrow-weights": "burnish.passes.precision.narrow_weights:NarrowWeights",
    "prune-channels": "burnish.passes.pruning.prune_channels:PruneChannels",
    "quantize-dynamic": "burnish.passes.quantization.quantize_dynamic:QuantizeDynamic",
    "quantize-int8": "burnish.passes.quantization.quantize_int8:QuantizeInt8",
    "rearrange-blocks": "burnish.passes.cleanup.rearrange_blocks:RearrangeBlocks",
    "rebuild-shapes": "burnish.passes.cleanup.rebuild_shapes:RebuildShapes",
    "recognise-activations": "burnish.passes.fusion.activations:RecogniseActivations",
    "recognise-attention": "burnish.passes.fusion.attention:RecogniseAttention",
    "recognise-gelu": "burnish.passes.fusion.gelu:RecogniseGelu",
    "recognise-group-norm": "burnish.passes.fusion.group_norm:RecogniseGroupNorm",
    "recognise-layer-norm": "burnish.passes.fusion.layer_norm:RecogniseLayerNorm",
    "recognise-local-response": "burnish.passes.fusion.local_response:RecogniseLocalResponse",
    "recognise-lp-norm": "burnish.passes.fusion.lp_norm:RecogniseLpNorm",
    "recognise-rectifiers": "burnish.passes.fusion.rectifiers:RecogniseRectifiers",
    "recognise-rotary": "burnish.passes.fusion.rotary:RecogniseRotary",
    "recognise-softmax": "burnish.passes.fusion.softmax:RecogniseSoftmax",
    "regroup-slices": "burnish.passes.cleanup.regroup_slices:RegroupSlices",
    "remove-blocks": "burnish.passes.pruning.remove_blocks:RemoveBlocks",
    "remove-dead-code": "burnish.passes.cleanup.remove_dead_code:RemoveDeadCode",
    "remove-no-ops": "burnish.passes.cleanup.remove_no_ops:RemoveNoOps",
    "remove-redundant-channels": (
        "burnish.passes.folding.redundant_channels:RemoveRedundantChannels"
    ),
    "resolve-sequences": "burnish.passes.cleanup.resolve_sequences:ResolveSequences",
    "rotate-heads": "burnish.passes.pruning.rotate_heads:RotateHeads",
    "round-weights": "burnish.passes.quantization.round_weights:RoundWeights",
    "scale-channels": "burnish.passes.quantization.scale_channels:ScaleChannels",
    "simplify-arithmetic": "burnish.passes.cleanup.simplify_arithmetic:SimplifyArithmetic",
    "simplify-chains": "burnish.passes.cleanup.simplify_chains:SimplifyChains",
    "simplify-elementwise": "burnish.passes.cleanup.simplify_elementwise:SimplifyElementwise",
    "simplify-loops": "burnish.passes.cleanup.simplify_loops:SimplifyLoops",
    "simplify-shapes": "burnish.passes.cleanup.simplify_shapes:SimplifyShapes",
    "sink-views": "burnish.passes.cleanup.sink_views:SinkViews",
    "smooth-activations": "burnish.passes.quantization.smooth_activations:SmoothActivations",
    "standardise-contrib-ops": "burnish.passes.fusion.contrib:StandardiseContribOps",
    "upgrade-opset": "burnish.passes.cleanup.upgrade_opset:UpgradeOpset",
    "widen-half": "burnish.passes.cleanup.widen_half:WidenHalf",
}
"""Name -> "module:Class", sorted."""


def get_pass(name: str, **options: Any) -> Pass:
    """The pass called ``name`` with ``options`` set and the rest at their defaults.

    Raises:
        UsageError: there is no such pass.
    """
    if name not in PASSES:
        raise UsageError(unknown("pass", name, PASSES))
    module, _, kind = PASSES[name].partition(":")
    step = getattr(import_module(module), kind)(**options)
    assert isinstance(step, Pass)
    return step
