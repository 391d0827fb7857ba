"""Instructions that a processor may have beyond its level: who asks for them, and their names."""

from __future__ import annotations

import onnx.parser
import pytest

from burnish.backends.compile import suited
from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.target import AVX_VNNI, BFLOAT16, VBMI, VNNI, resolve


def test_extensions_are_asked_for_by_products_of_integers_alone() -> None:
    target = resolve("x86-64-v4+avx512vnni+avx512bf16+avx512vbmi")
    assert target.features.isdisjoint(target.extensions)
    assert target.for_integers().features - target.features == {VNNI, VBMI}
    assert target.using(BFLOAT16).features - target.features == {BFLOAT16}
    assert resolve("x86-64-v3+avxvnni").for_integers().features >= {AVX_VNNI}
    assert resolve("x86-64-v4").for_integers() == resolve("x86-64-v4")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x86-64-v4+avxvnni2", "did you mean"),
        ("x86-64-v4+", "unknown extension of x86-64-v4 ''"),
        ("x86-64-v3+avx512vnni", "unknown extension of x86-64-v3"),
        ("x86-64-v2+avxvnni", "there are none"),
        ("cpu+avx512vnni", "unknown target"),
    ],
)
def test_unknown_extensions_are_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match="unknown") as caught:
        resolve(name)
    assert message in str(caught.value)


def test_a_graph_without_products_of_integers_asks_for_nothing() -> None:
    text = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[2, 3] x, float[3, 4] w) => (float[2, 4] y) { y = MatMul(x, w) }"""
    )
    target = resolve("x86-64-v4+avx512vnni")
    assert suited([Graph.from_onnx(text)], target) == target
