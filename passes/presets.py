"""Presets: which passes a run makes, in order.

Read a preset from top to bottom; a comment stands where the order matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from burnish.errors import UsageError
from burnish.passes import get_pass
from burnish.pipeline import Pass
from burnish.suggest import unknown

FOLDED = {"max": 1 << 62, "compile": 1 << 30}
"""Bytes that folded constants may have, where that is not the pass's own default: as large as they
get; as weights may well be that are made when the model runs, but no kernel packs them then."""


def minimal() -> list[str]:
    """What no model loses anything by: nothing is computed twice, in vain or late."""
    return [*_static(), *_tidy(), "simplify-elementwise"]


def default() -> list[str]:
    """``minimal`` and every exact fusion that the opset of the model has operators for."""
    return [
        *_static(),
        "standardise-contrib-ops",
        *_tidy(),
        # Before weights are looked at: a product has one form then, however it is exported.
        "canonical-forms",
        # Before anything else goes into weights or joins products that read the same value.
        "merge-adapters",
        *_recognise(),
        *_fuse(),
        *_fold(),
        # After recognition and folding, which look at query, key and value one by one; before
        # products get their bias as Gemm. Not when compiling: native code does not gain by it.
        "merge-products",
        # Before biases become part of products, which need two axes for that.
        "move-views",
        "fuse-matmul-add",
        # After recognition, which knows halves and heads as slices.
        "regroup-slices",
        "rearrange-blocks",
        # After additions: what is added is transposed with the product.
        "fuse-gemm-transposes",
        # After what looks at heads as an axis. Not when compiling: lower-attention undoes it.
        "fuse-attention",
        *_tidy(),
    ]


def maximum() -> list[str]:
    """``default``, and constants are folded however large they get."""
    return default()


def compiling() -> list[str]:
    """What comes before code generation, on top of what the preset asks for."""
    return [
        "freeze-input-shapes",
        # Before the opset is raised: an old Softmax is one of today's if its axis is the last.
        "infer-shapes",
        # Before anything is recognised: old opsets lack LayerNormalization, Gelu and Attention.
        "upgrade-opset",
        # Before anything looks at operators: there are only known ones then.
        "expand-quantized",
        "infer-shapes",
        "fold-constants",
        *_unroll(),
        # Before chains are simplified and shapes are inferred again, for what it writes.
        "standardise-contrib-ops",
        # Before recognition, which then need not know half precision casts.
        "widen-half",
        # Before chains are simplified, for what it writes.
        "lower-attention",
        # Before recognition as well: attention may be written by Einsum.
        "lower-exotic",
        # Definitions may loop, as that of LinearAttention does.
        "inline-control-flow",
        *_tidy(),
        "canonical-forms",
        "merge-adapters",
        *_recognise(),
        # Before fusion: a bias that meets its product can be folded into it.
        "sink-views",
        *_fuse(),
        *_fold(),
        *_quantized(),
        *_tidy(),
    ]


def precise() -> list[str]:
    """What --precision and --weights ask for, after what compiling needs: Casts are in its way."""
    return ["narrow-products", "narrow-weights"]


def equivalent() -> list[str]:
    """What makes a model bear fewer bits and changes nothing else; before it is quantized."""
    return [
        "infer-shapes",
        "equalize-channels",
        # After weights are even: what is left differs in values alone.
        "smooth-activations",
        # Last: it takes an operator for each value that others can make even for nothing.
        "scale-channels",
    ]


def quantizing() -> list[str]:
    """What computes with integers of 8 bits what bears it, on calibration data."""
    return [
        "infer-shapes",
        "quantize-int8",
        "round-weights",
        # After weights: what their rounding adds on average is taken out.
        "correct-bias",
    ]


def compensating() -> list[str]:
    """What gives channels of sums scales of their own, after values are rounded."""
    return ["infer-shapes", "compensate-channels"]


def dynamic() -> list[str]:
    """What computes products with integers of 8 bits, by scales that are found as a model runs."""
    return ["infer-shapes", "quantize-dynamic"]


def half() -> list[str]:
    """What computes in float16 what bears it, on calibration data."""
    return ["infer-shapes", "convert-float16"]


def pruning() -> list[str]:
    """What deletes channels that matter little, on calibration data; before values are rounded."""
    return ["infer-shapes", "rotate-heads", "remove-blocks", "prune-channels"]


def approximate() -> list[str]:
    """What takes scales of rows for constants, on calibration data; only where it is asked for."""
    return ["infer-shapes", "fold-layer-norm", "fix-norm-scale"]


def _static() -> list[str]:
    """Find out all that can be known ahead of time."""
    return [
        # Before shapes are inferred: most of what follows needs sizes.
        "freeze-input-shapes",
        "infer-shapes",
        # Before control flow is inlined, which needs known conditions and trip counts.
        "fold-constants",
        *_unroll(),
    ]


def _unroll() -> list[str]:
    """Replace control flow and sequences by what they come to."""
    return [
        "inline-control-flow",
        # After loops: what they append to a sequence is then known.
        "resolve-sequences",
        # Conditions inside a loop may depend on its round, which is a number now.
        "fold-constants",
        "inline-control-flow",
        "resolve-sequences",
    ]


def _tidy() -> list[str]:
    """Remove what has no effect."""
    return [
        "simplify-shapes",
        # After constant shapes, which need not be computed at all.
        "rebuild-shapes",
        "remove-no-ops",
        "simplify-chains",
        # After chains: what is left of transposes there cannot be had for less on the spot.
        "move-transposes",
        # Again: what has been moved stands between other operators no longer.
        "remove-no-ops",
        "simplify-chains",
        # After chains: what only views of it were between may then meet.
        "merge-slices",
        # After chains: different ways to the same layout are then written the same.
        "common-subexpressions",
        "simplify-loops",
        # Folding sees what the passes above made constant.
        "fold-constants",
        "remove-dead-code",
    ]


def _recognise() -> list[str]:
    """Name what exporters spell out."""
    return [
        # Before LayerNormalization, which would take what is normalized over positions for rows.
        "recognise-group-norm",
        "recognise-layer-norm",
        "recognise-lp-norm",
        "recognise-gelu",
        "recognise-activations",
        "recognise-rectifiers",
        "recognise-softmax",
        # After Softmax, which it is built around.
        "recognise-attention",
        "recognise-rotary",
        "remove-dead-code",
    ]


def _fuse() -> list[str]:
    """Merge operators into their neighbours' weights.

    After recognition: a sign or factor that is part of Gelu or HardSwish would go into the weights
    of the next product and take the form away.
    """
    return [
        # Before weights are touched: what cancels here need not go into any.
        "simplify-elementwise",
        "simplify-arithmetic",
        "merge-reductions",
        # Before fusion: one factor and one shift go into weights together.
        "merge-constants",
        "fuse-batch-norm",
        # After affine maps, which are part of the branches by now.
        "merge-branches",
        # After branches: one of a pair may be as low in rank as its sum with others is not.
        "fuse-consecutive-linear",
        # After affine maps: what is added before a Conv may go in if that one does not pad yet.
        "fuse-pad",
        # After padding, which is a part of the average that it looks for.
        "recognise-local-response",
    ]


def _fold() -> list[str]:
    """Move what norms and attention do to channels into weights.

    After fusion: a bias or a factor that still stands alone would be in the way.
    """
    return [
        "fold-layer-norm",
        # After their shifts are gone: an RMSNormalization has none.
        "center-residual-stream",
        # After the shifts of norms: what they add to keys is dropped as well.
        "fold-attention-biases",
        "remove-redundant-channels",
    ]


def _quantized() -> list[str]:
    """Compute with the integers of models that are quantized.

    After recognition and fusion, which know operators on floats.
    """
    return [
        # Before products, which look at what is dequantized right before them.
        "move-quantization",
        "integer-products",
        # What is left of conversions.
        "lower-quantized",
    ]


PRESETS: dict[str, Callable[[], list[str]]] = {
    "minimal": minimal,
    "default": default,
    "max": maximum,
    "compile": compiling,
    "precision": precise,
    "equivalent": equivalent,
    "compensating": compensating,
    "dynamic": dynamic,
    "half": half,
    "int8": quantizing,
    "prune": pruning,
    "approximate": approximate,
}


def preset(
    name: str = "default",
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    opset: int | None = None,
) -> list[Pass]:
    """The passes of preset ``name``.

    Args:
        name: one of ``PRESETS``.
        shapes: sizes in elements to bind, by input name.
        opset: version of the standard operators to write, None to keep that of the model.

    Raises:
        UsageError: there is no such preset.
    """
    if name not in PRESETS:
        raise UsageError(unknown("preset", name, PRESETS))
    names = PRESETS[name]()
    if opset is not None and "upgrade-opset" not in names:
        names.insert(1, "upgrade-opset")
    options: dict[str, dict[str, Any]] = {}
    if shapes:
        options["freeze-input-shapes"] = {"shapes": {k: tuple(v) for k, v in shapes.items()}}
    if opset is not None:
        options["upgrade-opset"] = {"version": opset}
    if name in FOLDED:
        options["fold-constants"] = {"max_bytes": FOLDED[name]}
    return [get_pass(step, **options.get(step, {})) for step in names]
