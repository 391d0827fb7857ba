"""Weights of products and convolutions as matrices, to be multiplied with rows of their data.

Rows are as `burnish.calibration.geometry` takes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.ir import Array, OperatorNode


@dataclass(frozen=True)
class Matrices:
    """How the weights of ``node`` are laid out."""

    node: OperatorNode
    """Conv, ConvTranspose, Gemm or MatMul; its second input are the weights."""
    axis: int
    """Of the weights: output channels."""
    shape: tuple[int, ...]
    """Of the weights."""

    @property
    def groups(self) -> int:
        """Parts of the channels that are multiplied by themselves."""
        is_convolution = self.node.is_op("Conv", "ConvTranspose")
        return int(self.node.attribute("group", 1)) if is_convolution else 1

    def split(self, weights: Array) -> Array:
        """Weights as ``[groups, outputs, inputs]``.

        What an output channel of a transposed convolution has at each place of the kernel counts
        as an output of its own.
        """
        groups = self.groups
        if self.node.is_op("Conv"):
            return weights.reshape(groups, weights.shape[0] // groups, -1)
        if self.node.is_op("ConvTranspose"):
            split = weights.reshape(groups, weights.shape[0] // groups, -1)
            return split.transpose(0, 2, 1)
        return (weights if self.axis == 0 else weights.T)[None]

    def joined(self, matrices: Array) -> Array:
        """The inverse of `split`."""
        if self.node.is_op("ConvTranspose"):
            matrices = matrices.transpose(0, 2, 1)
        elif not self.node.is_op("Conv"):
            matrices = matrices[0] if self.axis == 0 else matrices[0].T
        return np.ascontiguousarray(matrices.reshape(self.shape))
