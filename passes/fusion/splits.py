"""Writes Split in the form of the opset at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.rewrite import Rewriter

SIZES_ARE_INPUT = 13
"""Opset from which the sizes of Split are an input, not an attribute."""


def write_split(
    rw: Rewriter,
    whole: VariableNode,
    parts: Sequence[VariableNode],
    axis: int,
    sizes: Sequence[int],
) -> None:
    """Replace ``parts`` by pieces of ``whole`` along ``axis``, ``sizes`` elements each."""
    results = [VariableNode("", part.dtype, part.shape) for part in parts]
    axis = axis if axis >= 0 or whole.rank is None else axis + whole.rank
    attributes: dict[str, object] = {"axis": axis}
    inputs = [whole]
    if rw.graph.opset >= SIZES_ARE_INPUT:
        inputs.append(rw.constant(np.array(sizes, np.int64)))
    else:
        attributes["split"] = tuple(sizes)
    rw.insert(OperatorNode("Split", inputs, results, attributes, provenance=rw.provenance))
    for part, result in zip(parts, results, strict=True):
        rw.replace(part, result)
