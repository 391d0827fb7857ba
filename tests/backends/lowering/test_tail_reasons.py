"""Operators that no kernel computes say what would change that."""

from __future__ import annotations

import pytest

from burnish.backends.lowering.tail import NotConverted, convert
from burnish.ir import DType, OperatorNode, VariableNode

MS = "com.microsoft"


@pytest.mark.parametrize(("kind", "domain", "reason"), [
    ("MatMulNBits", MS, "write them as DequantizeLinear before MatMul"),
    ("QAttention", MS, "quantize its products one by one"),
    ("QEmbedLayerNormalization", MS, "leave these in floats"),
    ("QAttention", "another", "no converter for QAttention"),
    ("Other", MS, "no converter for Other"),
])  # fmt: skip
def test_reasons(kind: str, domain: str, reason: str) -> None:
    inputs = [VariableNode("x", DType.FLOAT, (2, 3))]
    node = OperatorNode(kind, inputs, [VariableNode("y", DType.FLOAT, (2, 3))], domain=domain)
    with pytest.raises(NotConverted, match=reason):
        convert(node, 17)
