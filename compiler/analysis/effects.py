"""Which operators answer something else each time they are asked."""

from __future__ import annotations

from burnish.ir import OperatorNode

RANDOM = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
})  # fmt: skip
"""Operators that answer something else each time."""


def is_random(node: OperatorNode) -> bool:
    """Whether ``node``, or one in its subgraphs, may answer something else each time."""
    if node.domain == "" and node.op_type in RANDOM:
        return True
    if node.is_op("Dropout") and node.input(2) is not None:
        training = node.constant_input(2)
        return training is None or bool(training.numpy().any())
    return any(is_random(inner) for body in node.subgraphs.values() for inner in body)
