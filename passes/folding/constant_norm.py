"""Normalizations by a constant: how rows differ, what the constant is, and weights that have it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from burnish.analysis.axis_graph import AxisGraph
from burnish.analysis.axis_graph_elementwise import is_plain
from burnish.analysis.axis_graph_flow import Reader, arriving, readers
from burnish.calibration import Tokens
from burnish.calibration.moments import Moments
from burnish.ir import Array, OperatorNode
from burnish.passes.folding.weights import shared_elsewhere
from burnish.passes.fusion.linear import Linear, read_linear
from burnish.rewrite import Miss

NORMS = ("LayerNormalization", "RMSNormalization")
FEWEST = 256
"""Rows that must have been seen for their variation to say something."""


@dataclass
class ConstantNorm:
    """A normalization that only products with constant weights read."""

    node: OperatorNode
    readers: list[Reader]
    tokens: Tokens = field(default_factory=Tokens)
    """What is normalized, row by row."""

    @property
    def is_centred(self) -> bool:
        """Whether it takes means away."""
        return self.node.is_op("LayerNormalization")

    @property
    def scales(self) -> Moments:
        """Deviations of rows, or root mean squares: one quantity."""
        return self.tokens.deviation if self.is_centred else self.tokens.rms

    @property
    def variation(self) -> float:
        """Coefficient of variation of the scales."""
        return Tokens.variation(self.scales)

    @property
    def factor(self) -> float:
        """What rows are multiplied by, the constant of the least square error.

        ``|x / d - f x|^2`` summed over rows of deviations ``d`` is least for ``f = E[d] / E[d^2]``.
        """
        scale = float(self.scales.mean[0]) * (1 + self.variation**2)
        return 1 / float(np.hypot(scale, np.sqrt(self.node.attribute("epsilon", 1e-5))))

    def unfit(self, most: float) -> str:
        """Why its scale is no constant; empty if it varies by ``most`` of its mean at most."""
        count = int(self.scales.count[0]) if self.scales.count.size else 0
        if count < FEWEST:
            return f"{count} rows do not tell how much rows differ; give data of {FEWEST}"
        if self.scales.mean[0] == 0:
            return "nothing but zeros is normalized"
        if self.variation <= most:
            return ""
        peak = self.tokens.peaks[0 if self.is_centred else 1] / float(self.scales.mean[0])
        return (
            f"the scale of rows varies by {self.variation:.2g} of its mean, {most:g} is allowed: "
            f"the largest row has {peak:.3g} times the mean"
        )

    def normalized(self, data: Array, axis: int) -> Array:
        """``data`` with channels along ``axis``, normalized by the constant."""
        centred = data - data.mean(axis, keepdims=True) if self.is_centred else data
        return np.asarray(centred * np.asarray(self.factor, data.dtype))

    def folded(self, weights: Array, axis: int) -> Array:
        """Weights for what is normalized, from those for the result; inputs are along ``axis``."""
        return self.normalized(weights, axis)


def constant_norm(axes: AxisGraph, node: OperatorNode) -> ConstantNorm | Miss:
    """``node``, or why no weights can do what it does."""
    if any(value.uses for value in node.outputs[1:]):
        return Miss("means or deviations of rows are read as well", node)
    sites = axes.sites_of(node.output)
    if len(sites) != 1 or sites[0].axis != (node.output.rank or 0) - 1:
        return Miss(f"{node.op_type} does not go over the last axis alone", node)
    found = readers(axes, node.output, shift=False)
    if isinstance(found, Miss):
        return Miss(f"the result is not read by products alone: {found.reason}", found.at)
    if not found:
        return Miss("nothing reads the result", node)
    if not is_plain(node):
        return Miss("it has a scale or a shift, which fold-layer-norm folds first", node)
    channels = axes.channels(sites[0]).size
    for reader in found:
        arrived = arriving(axes, sites[0], np.ones(channels), reader.member)
        if arrived is None or arrived.size != channels or layer_of(reader, channels) is None:
            reason = f"{reader.node.op_type} does not multiply whole rows with its weights"
            return Miss(reason, reader.node)
    if len({reader.member.value for reader in found}) < len(found):
        return Miss("two products read it with the same weights", node)
    return shared_elsewhere(reader.member for reader in found) or ConstantNorm(node, found)


def layer_of(reader: Reader, channels: int) -> Linear | None:
    """``reader`` as a layer whose second input has one matrix for ``channels``, if it is one."""
    layer = read_linear(reader.node)
    if not isinstance(layer, Linear) or layer.slot != 1 or not layer.has_matrix:
        return None
    if layer.groups != 1 or reader.node.is_op("ConvTranspose"):
        return None
    return layer if layer.input_channels == channels else None
