"""A deep model, and passes with a defect at one place of it."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from burnish.errors import UnsupportedModel
from burnish.ir import Graph, OperatorNode
from burnish.numerics import Numerics
from burnish.pipeline import Pass, PassContext, RulePass
from burnish.rewrite import Any, Firing, Match, Miss, Op, Rewriter, RewriteResult, Rule

WIDTH = 8


def deep_model(operators: int = 600, erf_at: int | None = None) -> onnx.ModelProto:
    """Gated layers with names, one after the other; that number ``erf_at`` has a Gelu instead."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights = [numpy_helper.from_array(np.float32(v), n) for n, v in
               (("root", 2**0.5), ("one", 1.0), ("half", 0.5))]  # fmt: skip
    last, layer = "x", 0

    def add(op_type: str, inputs: list[str], output: str) -> str:
        nodes.append(helper.make_node(op_type, inputs, [output], name=f"layer{layer}/{output}"))
        return output

    while len(nodes) < operators:
        w = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 3
        weights.append(numpy_helper.from_array(w, f"w{layer}"))
        m = add("MatMul", [last, f"w{layer}"], f"matmul{layer}")
        if layer == erf_at:
            d = add("Div", [m, "root"], f"div{layer}")
            e = add("Erf", [d], f"erf{layer}")
            s = add("Mul", [add("Add", [e, "one"], f"plus{layer}"), "half"], f"cdf{layer}")
        else:
            s = add("Sigmoid", [m], f"sigmoid{layer}")
        g = add("Mul", [m, s], f"gate{layer}")
        last = add("Tanh", [add("Add", [g, last], f"add{layer}")], f"tanh{layer}")
        layer += 1
    shape = [4, WIDTH]
    graph = helper.make_graph(
        nodes, "deep", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)], weights,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def is_at(node: OperatorNode, layer: int) -> bool:
    """Whether ``node`` stands for the Sigmoid of that layer."""
    return any(name.rpartition("/")[2] == f"sigmoid{layer}" for name in node.provenance)


def _is_new(match: Match) -> Miss | None:
    return Miss("it has been rewritten", match.root) if match.root.name == "new" else None


@dataclass(frozen=True)
class Planted(RulePass):
    """Writes every Sigmoid anew, and that of one layer wrongly."""

    name: ClassVar[str] = "planted"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    layer: int = 77
    how: str = "wrong"

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """One good rule, and the one with the defect."""
        good = Rule("rewrite-tanh", Op("Tanh", Any("x")), self._good, _is_new)
        return (good, Rule("rewrite-sigmoid", Op("Sigmoid", Any("x")), self._write, self._guard))

    def _guard(self, match: Match) -> Miss | None:
        if self.how == "crashing guard" and self._is_here(match):
            os.kill(os.getpid(), signal.SIGABRT)
        if self.how == "guard" and self._is_here(match):
            raise KeyError("no such channel")
        return _is_new(match)

    def _is_here(self, match: Match) -> bool:
        return is_at(match.root, self.layer)

    def _good(self, rw: Rewriter, match: Match, facts: None) -> None:
        root = match.root
        rw.replace(root.output, rw.op(root.op_type, root.inputs, like=root.output, name="new"))

    def _write(self, rw: Rewriter, match: Match, facts: None) -> None:
        root = match.root
        if not self._is_here(match):
            self._good(rw, match, facts)
        elif self.how == "wrong":
            x = rw.op("Neg", root.inputs, like=root.output)
            rw.replace(root.output, rw.op("Sigmoid", [x], like=root.output, name="new"))
        elif self.how == "nan":
            below = rw.op("Neg", [rw.op("Exp", root.inputs, like=root.output)], like=root.output)
            rw.replace(root.output, rw.op("Sqrt", [below], like=root.output, name="new"))
        elif self.how == "crash":
            os.kill(os.getpid(), signal.SIGABRT)
        elif self.how == "raise":
            raise IndexError("axis 3 of a shape with 2")
        elif self.how == "refuse":
            raise UnsupportedModel("Sigmoid is not for everybody")
        elif self.how == "invalid":
            rw.replace(root.output, rw.op("Sigmoid", [], like=root.output, name="new"))
        elif self.how == "loop":
            rw.replace(root.output, rw.op("Sigmoid", root.inputs, like=root.output))


@dataclass(frozen=True)
class ByHand(Pass):
    """The same defect in a pass that is not made of rules, and which may not say what it does."""

    name: ClassVar[str] = "by-hand"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES
    layer: int = 33
    honest: bool = True

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Write every Sigmoid of the graph as another operator, one of them wrongly."""
        result = RewriteResult()
        for node in list(graph):
            if node.is_op("Sigmoid"):
                self._rewrite(graph, node, result)
        return result

    def _rewrite(self, graph: Graph, node: OperatorNode, result: RewriteResult) -> None:
        rw = Rewriter(graph)
        rw.anchor, rw.provenance = node, node.provenance
        slope = 0.5 if is_at(node, self.layer) else 1.0
        factor = rw.constant(np.asarray(slope, np.float32))
        scaled = rw.op("Mul", [node.inputs[0], factor], like=node.output)
        if slope == 1.0:
            scaled = node.inputs[0]  # type: ignore[assignment]
        done = rw.op("Sigmoid", [scaled], like=node.output, name=node.name)
        provenance = node.provenance
        rw.replace(node.output, done)
        rw.erase(node)
        if self.honest:
            result.edits += Counter(replace=1)
            result.fired.append(Firing("by-hand", provenance))
