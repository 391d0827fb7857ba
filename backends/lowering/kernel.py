"""What lowering makes of a group of operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from burnish.ir import OperatorNode


@dataclass
class Kernel:
    """A kernel before scheduling, with the source nodes it stands for."""

    name: str
    func: Any
    """The TIR function."""
    nodes: tuple[OperatorNode, ...]
    """The operators that it computes; none for a copy between layouts."""
    flops: float = 0.0

    @property
    def provenance(self) -> tuple[str, ...]:
        """Names of the operators of the model that it computes."""
        return tuple(dict.fromkeys(name for node in self.nodes for name in node.provenance))
