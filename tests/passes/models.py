"""Models in ONNX's text form, for tests of passes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

KINDS = {"i": "int64", "f": "double", "b": "bool"}


def in_double(source: str, body: str, weights: Mapping[str, np.ndarray], results: str = "y") -> str:
    """A model in double precision, where folding must not be seen.

    Args:
        source: inputs, with types and shapes.
        body: the nodes.
        weights: what else the nodes read; inputs here, to be made constants of.
        results: names of the outputs, with spaces in between.
    """
    constants = "".join(f", {KINDS[w.dtype.kind]} {name}" for name, w in weights.items())
    declared = ", ".join(f"double {name}" for name in results.split())
    return f"g ({source}{constants}) => ({declared}) {{ {body} }}"
