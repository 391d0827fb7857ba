"""Kernels with an anchor: contractions, products and windows, built as loops around tiles."""

from collections.abc import Callable

from tvm.tirx import PrimFunc

from burnish.backends.cpu.candidates import candidates
from burnish.backends.cpu.schedule import convolution, depthwise, product
from burnish.backends.cpu.schedule.fused import ScheduleMiss, role_of
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.target import Target

Builder = Callable[[PrimFunc, Target, TileConfig], PrimFunc]

BUILDERS: dict[str, Builder] = {
    "contraction": convolution.schedule,
    "batch-product": product.schedule,
    **dict.fromkeys(depthwise.COMBINE, depthwise.schedule),
}
"""Builders by the role of an anchor."""


def applies(func: PrimFunc) -> bool:
    """Whether `func` has an anchor with a known role."""
    return role_of(func) in BUILDERS


def schedule(func: PrimFunc, target: Target, config: TileConfig | None = None) -> PrimFunc:
    """`func` as loops around register tiles, by `config` or the first candidate.

    Raises:
        ScheduleMiss: `func` has no known anchor, or something unknown follows it.
    """
    role = role_of(func)
    if role not in BUILDERS:
        raise ScheduleMiss(f"no builder for the role {role}")
    return BUILDERS[role](func, target, config or candidates(func, target)[0])
