"""Rounding to bfloat16: constants at once, values by a Cast there and back."""

from __future__ import annotations

import numpy as np

from burnish.ir import Array, Constant, DType, OperatorNode, VariableNode
from burnish.rewrite import Rewriter

_HALF = 16
"""Bits of float32 that bfloat16 lacks."""


def nearest(array: Array) -> Array:
    """The bfloat16 numbers nearest to ``array`` (float32), to even between two, as float32."""
    bits = np.ascontiguousarray(array).view(np.uint32)
    rounded = bits + (((bits >> _HALF) & 1) + np.uint32(0x7FFF))
    rounded &= np.uint32(0xFFFF0000)
    # The bits of a NaN are no number to round.
    return np.where(np.isnan(array), array, rounded.view(np.float32))


def is_exact(constant: Constant) -> bool:
    """Whether each number of ``constant`` (float32) is a bfloat16 one already."""
    bits = np.ascontiguousarray(constant.numpy()).view(np.uint32)
    return not bool((bits & np.uint32(0xFFFF)).any())


class Rounder:
    """Rounds constants and values of a graph, each of them once."""

    def __init__(self, rewriter: Rewriter) -> None:
        """Change the graph of ``rewriter``."""
        self._rewriter = rewriter
        self._constants: dict[int, VariableNode] = {}

    def constant(self, node: OperatorNode, index: int) -> bool:
        """Let ``node`` read its constant input rounded; False if that changes nothing."""
        value = node.inputs[index]
        assert value is not None
        assert value.constant is not None
        if id(value.constant) not in self._constants:
            if is_exact(value.constant):
                return False
            rounded = Constant.of(nearest(value.constant.numpy()))
            self._constants[id(value.constant)] = VariableNode.of(rounded, value.name)
        self._rewriter.set_input(node, index, self._constants[id(value.constant)])
        return True

    def value(self, value: VariableNode) -> bool:
        """Let all operators read ``value`` rounded; False if it is that already.

        The model itself goes on to return it as it was computed, and what is quantized to integers
        is rounded once.
        """
        if _is_rounded(value):
            return False
        readers = [(use.user, use.index) for use in value.uses]
        maker = value.producer
        place = self._rewriter.graph.first if maker is None else maker.next
        nodes = [maker] if maker is not None else value.consumers
        provenance = nodes[0].provenance
        there = _cast(value, DType.BFLOAT16, provenance)
        back = _cast(there.output, DType.FLOAT, provenance)
        self._rewriter.anchor = None
        self._rewriter.insert(there, place)
        self._rewriter.insert(back, place)
        for user, index in readers:
            if isinstance(user, OperatorNode) and not user.is_op("QuantizeLinear"):
                self._rewriter.set_input(user, index, back.output)
        return True


def _is_rounded(value: VariableNode) -> bool:
    maker = value.producer
    if maker is None or not maker.is_op("Cast"):
        return False
    source = maker.input(0)
    return source is not None and source.dtype is DType.BFLOAT16


def _cast(value: VariableNode, to: DType, provenance: tuple[str, ...]) -> OperatorNode:
    result = VariableNode("", to, value.shape)
    return OperatorNode("Cast", [value], [result], {"to": int(to)}, provenance=provenance)
