"""Another channel of zeros, where channels are multiplied in pairs and their number is odd."""

from __future__ import annotations

import math

import numpy as np

from burnish.ir import Constant, VariableNode
from burnish.passes.precision.sites import Site
from burnish.rewrite import Rewriter

_PER_CYCLE = 32
"""Products of float32 numbers that wide vectors take at once; of bfloat16 ones, twice as many."""
_COPY = 2
"""Cycles for a number that is copied on the way, which is done for nothing else."""


def pays(site: Site) -> bool:
    """Whether ``site`` gains more by pairs than a copy of its data costs."""
    is_conv = site.node.is_op("Conv") and int(site.node.attribute("group", 1)) == 1
    if not (is_conv or site.node.is_op("MatMul")) or site.data.static_shape is None:
        return False
    more = (site.channels + 1) / site.channels
    gain = site.rows * site.depth * site.columns * (1 - more / 2) / _PER_CYCLE
    return gain > _COPY * more * math.prod(site.data.static_shape)


def even(rewriter: Rewriter, site: Site) -> VariableNode:
    """Pad the data and weights of ``site``, of which `pays` holds; returns the padded data."""
    shape = list(site.data.static_shape or ())
    axis = 1 if site.node.is_op("Conv") else len(shape) - 1
    width = [(0, int(place == axis)) for place in range(len(shape))]
    rewriter.anchor, rewriter.provenance = site.node, site.node.provenance
    pads = rewriter.constant(np.array([pad for side in zip(*width, strict=True) for pad in side]))
    padded = rewriter.op("Pad", [site.data, pads], like=site.data)
    shape[axis] += 1
    padded.shape = tuple(shape)
    weights = site.weights.numpy()
    grown = [
        (0, int(place == (1 if site.node.is_op("Conv") else 0))) for place in range(weights.ndim)
    ]
    rewriter.set_input(site.node, 0, padded)
    rewriter.set_input(site.node, 1, VariableNode.of(Constant.of(np.pad(weights, grown))))
    return padded
