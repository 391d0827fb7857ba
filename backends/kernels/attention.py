"""Scaled dot-product attention in one kernel that never stores the score matrix.

For each batch, key head and share of the query rows, in parallel:

    keys, values <- copies in panels of two vectors          # once per key head
    for each query head of the group, each block of rows:
        queries <- copy * scale
        for each block of keys whose scores fit the first-level cache:
            scores[rows, block] <- queries @ keys + mask;  largest <- max
            scores <- exp(scores - largest);  total <- total * exp(change of largest) + sum
            out[rows, D] <- out * exp(change of largest) + scores @ values
        out <- out / total

Both products keep their accumulators in registers, `rows` by two vectors. With a single block of
keys nothing is rescaled. Copies are needed because rows of merged heads lie a power of two apart as
often as not, and then share a few sets of the caches.

Source of the rescaling: Milakov and Gimelshein, Online normalizer calculation for softmax (2018);
Dao et al., FlashAttention (2022).
"""

from collections.abc import Sequence

from tvm import te, tirx

from burnish.backends.kernels.attention_kernel import Kernel
from burnish.backends.kernels.attention_memory import Operands
from burnish.backends.kernels.attention_operands import Layout, Sizes, Tile, View
from burnish.backends.kernels.attention_pairs import SCORE_BYTES, PairKernel, pair_operands
from burnish.backends.kernels.bfloat16 import PAIRS, STORED
from burnish.target import Target

__all__ = ["Layout", "Sizes", "Tile", "attention"]


def attention(
    q: te.Tensor,
    k: te.Tensor,
    v: te.Tensor,
    mask: te.Tensor | None = None,
    *,
    sizes: Sizes,
    scale: float,
    target: Target,
    softcap: float = 0.0,
    causal: bool = False,
    causal_offset: int = 0,
    layouts: Sequence[Layout] = (Layout(), Layout(), Layout()),
    out_order: str = "bshd",
    rounds: bool = False,
) -> te.Tensor:
    """Attention softmax(q k^T scale + mask) v.

    Args:
        q: Queries, stored as `layouts[0]` says; `k` and `v` likewise. The same tensor may be
            given for several. All three float32, or all bfloat16, seen as its bits: they are then
            multiplied in pairs, for which `multiplies_pairs` has to hold.
        k: Keys.
        v: Values.
        mask: Added to the scores; 4-D, each axis of [B, H, Sq, Sk] full or one.
        sizes: Logical sizes.
        scale: Factor of the scores.
        target: Decides the register tile.
        softcap: What the magnitude of scaled scores tends to, before the mask; 0 for no bound.
        causal: Whether position i attends to keys up to i + `causal_offset` only.
        causal_offset: See `causal`.
        layouts: Storage of q, k and v.
        out_order: Storage of the result, "bshd" or "bhsd".
        rounds: Whether the result is rounded to bfloat16.

    Returns:
        The result, [B, Sq, H, Dv] or [B, H, Sq, Dv], float32 or the bits of bfloat16.
    """
    in_pairs = str(q.dtype) == STORED
    operands = list(dict.fromkeys([q, k, v] + ([] if mask is None else [mask])))
    extents = {"b": sizes.batch, "h": sizes.heads, "s": sizes.queries, "d": sizes.value_channels}

    def body(ins: Sequence[tirx.Buffer], outs: Sequence[tirx.Buffer]) -> tirx.Stmt:
        stored = dict(zip(operands, ins, strict=True))
        widths = (sizes.channels, sizes.channels, sizes.value_channels)
        q_view, k_view, v_view = (
            View(stored[tensor], layout, width, sizes.batch)
            for tensor, layout, width in zip((q, k, v), layouts, widths, strict=True)
        )
        rest = (
            scale, softcap, causal_offset if causal else None,
            None if mask is None else stored[mask], outs[0], out_order,
        )  # fmt: skip
        tile = Tile.choose(sizes, target, SCORE_BYTES if in_pairs else 4)
        if not in_pairs:
            return Kernel(Operands(sizes, tile, q_view, k_view, v_view), *rest).emit()
        paired, seen_as = pair_operands(sizes, tile, q_view, k_view, v_view)
        return PairKernel(paired, *rest, seen_as).emit()

    shape = tuple(extents[axis] for axis in out_order)
    return te.extern(
        [shape], operands, body, name="attention", dtype=STORED if rounds else "float32",
        attrs={PAIRS: 1} if in_pairs else None,
    )  # fmt: skip
