"""Outputs that come in another order than the model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx.parser

import burnish
from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import RewriteResult


@dataclass(frozen=True)
class Swapping(Pass):
    """Returns the outputs of a graph in another order."""

    name: ClassVar[str] = "swapping"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Do so once."""
        result = RewriteResult()
        if graph.output_names[0] == "a":
            names = graph.output_names[::-1]
            graph.outputs = graph.outputs[::-1]
            graph.output_names = names
            result.edits["swap"] += 1
        return result


def test_outputs_in_another_order() -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
    agraph (float[4] x) => (float[4] a, float[4] b) { a = Relu (x)  b = Neg (x) }"""
    found = burnish.diagnose(onnx.parser.parse_model(text), engine="ort", passes=[Swapping()])
    assert (found.kind, found.guilty) == ("form", "swapping")
    assert "outputs are in another order: 'b', 'a' instead of 'a', 'b'" in found.symptom
