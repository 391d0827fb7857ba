"""Kernels with an anchor: contractions, products and windows, built as loops around tiles."""

from collections.abc import Callable
from dataclasses import replace

from tvm.tirx import PrimFunc

from burnish.backends.cpu.schedule import (
    byte_product,
    choices,
    convolution,
    costs,
    depthwise,
    product,
    quad_window,
    winograd,
    winograd_choices,
)
from burnish.backends.cpu.schedule.build import Views
from burnish.backends.cpu.schedule.fused import Fused, ScheduleMiss, parse, role_of
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.backends.kernels import integer_product
from burnish.backends.kernels.integer_window import QUADS
from burnish.target import Target

Builder = Callable[[Fused, Target, TileConfig], PrimFunc]

BUILDERS: dict[str, Builder] = {
    "contraction": convolution.build,
    "batch-product": product.build,
    integer_product.ROLE: byte_product.build,
    QUADS: quad_window.build,
    **dict.fromkeys(depthwise.COMBINE, depthwise.build),
}
"""Builders by the role of an anchor."""

PARALLEL_STEPS = 1 << 11
"""Vector multiplications below which sharing them out costs more than it saves."""

_CLEARLY = 0.8
"""What Winograd's filtering must take of a direct sum's time, by estimate, to come first."""
_OTHERS = 3
"""Candidates of the kind that looks slower."""


def applies(func: PrimFunc) -> bool:
    """Whether `func` has an anchor with a known role."""
    return role_of(func) in BUILDERS


def candidates(func: PrimFunc, target: Target) -> list[TileConfig]:
    """Ways to build `func`, best guess first.

    Raises:
        ScheduleMiss: it has no known anchor, or something unknown follows it.
    """
    fused = _known(func)
    return _candidates(fused, _staffed(fused, target))


def schedule(func: PrimFunc, target: Target, config: TileConfig | None = None) -> PrimFunc:
    """`func` as loops around register tiles, by `config` or else the first candidate.

    Raises:
        ScheduleMiss: `func` has no known anchor, or something unknown follows it.
    """
    fused = _known(func)
    target = _staffed(fused, target)
    config = config or _candidates(fused, target)[0]
    if config.tile > 1:
        return winograd.build(fused, target, config)
    return BUILDERS[fused.role](fused, target, config)


def _staffed(fused: Fused, target: Target) -> Target:
    """`target` with as many threads as the work is worth."""
    pays = fused.domain >= PARALLEL_STEPS * target.lanes()
    return target if pays else replace(target, threads=1)


def _known(func: PrimFunc) -> Fused:
    if not applies(func):
        raise ScheduleMiss(f"no builder for the role {role_of(func)}")
    return parse(func)


def _candidates(fused: Fused, target: Target) -> list[TileConfig]:
    if fused.role in depthwise.COMBINE:
        return choices.for_window(depthwise.describe(fused, target, Views()).space, target)
    if fused.role == QUADS:
        return quad_window.candidates(fused, target)
    if fused.role == "batch-product":
        return choices.for_contraction(product.describe(fused, target, Views())[0], target)
    if fused.role == integer_product.ROLE:
        operands = byte_product.Operands.of(fused, target, Views())
        return choices.for_contraction(operands.work(fused, target), target)
    work = convolution.describe(fused, target, Views())
    direct = choices.for_contraction(work, target)
    filtered = winograd_choices.candidates(fused, target)
    if not filtered:
        return direct
    tiled = [config for _, config in filtered]
    share = filtered[0][0] / costs.cost(work, target, direct[0])
    if share < _CLEARLY:
        return [*tiled, *direct[:_OTHERS]]
    if share < 1 / _CLEARLY:
        return [*direct[: choices.LIMIT - _OTHERS], *tiled[:_OTHERS]]
    return direct
