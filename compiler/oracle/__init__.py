"""The oracle: reference results, legal random inputs, and what counts as equal."""

from burnish.numerics import Numerics
from burnish.oracle.comparison import Comparison, OutputComparison, compare
from burnish.oracle.fold import fold_nodes, results_of
from burnish.oracle.inputs import free_sizes, random_inputs, suggest_sizes
from burnish.oracle.session import Oracle

__all__ = [
    "Comparison",
    "Numerics",
    "Oracle",
    "OutputComparison",
    "compare",
    "fold_nodes",
    "free_sizes",
    "random_inputs",
    "results_of",
    "suggest_sizes",
]
