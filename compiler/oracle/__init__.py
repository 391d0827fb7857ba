"""The oracle: reference results, legal random inputs, and what counts as equal."""

from burnish.oracle.fold import fold_nodes
from burnish.oracle.numerics import Comparison, Numerics, OutputComparison, compare
from burnish.oracle.session import Oracle

__all__ = [
    "Comparison",
    "Numerics",
    "Oracle",
    "OutputComparison",
    "compare",
    "fold_nodes",
]
