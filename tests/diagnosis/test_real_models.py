"""One wrong rewrite among hundreds, planted into the default passes of exported models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import pytest

import burnish
from burnish.ir import OperatorNode
from burnish.numerics import Numerics
from burnish.passes.presets import default
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, Op, Rewriter, Rule

ZOO = Path.home() / ".cache" / "burnish" / "zoo"
OCR = "rapidocr_onnxruntime"


@dataclass(frozen=True)
class Swap(RulePass):
    """Writes the operands of every Add the other way round, and of one of them a Sub."""

    name: ClassVar[str] = "swap"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    weight: str = ""
    """Digest of the constant that is added where it goes wrong."""

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """The one rule."""
        return (Rule("swap-operands", Op("Add", Any("a"), Any("b")), self._write, _guard),)

    def _write(self, rw: Rewriter, match: Match, facts: None) -> None:
        root = match.root
        kind = "Sub" if self.weight in digests(root) else "Add"
        new = rw.op(kind, [match["b"], match["a"]], like=root.output, name="swapped")
        rw.replace(root.output, new)


def digests(node: OperatorNode) -> list[str]:
    """Of the constants that ``node`` reads, but for single numbers, which many nodes read."""
    constants = (value.constant for value in node.inputs if value is not None)
    return [each.digest() for each in constants if each is not None and each.size > 1]


def _guard(match: Match) -> Miss | None:
    return Miss("swapped already", match.root) if match.root.name == "swapped" else None


def find(path: Path, shapes: dict[str, tuple[int, ...]] | None = None) -> None:
    graph, _ = burnish.optimize(burnish.load(path), input_shapes=shapes, verify="off")
    adds = [node for node in graph if node.is_op("Add") and digests(node)]
    victim = adds[len(adds) // 2]
    passes = [*default(), Swap(digests(victim)[0])]
    found = burnish.diagnose(path, engine="ort", passes=passes, input_shapes=shapes, time=120.0)
    assert (found.guilty, found.rule) == ("swap", "swap-operands")
    assert set(found.sources) & set(victim.provenance)
    assert found.count is not None
    assert found.count > 20
    assert found.reproducer is not None
    assert len(found.reproducer.nodes) < 20
    assert found.reproducer.is_confirmed
    assert found.is_complete


@pytest.mark.slow
def test_text_recognizer() -> None:
    spec = find_spec(OCR)
    if spec is None or spec.origin is None:
        pytest.skip(f"{OCR} is not installed")
    (path,) = Path(spec.origin).parent.glob("models/*rec*.onnx")
    find(path, {"x": (1, 3, 48, 320)})


@pytest.mark.slow
@pytest.mark.zoo
@pytest.mark.parametrize("model", ["segformer-torchscript", "swin-torchscript"])
def test_zoo(model: str) -> None:
    path = ZOO / f"{model}.onnx"
    if not path.exists():
        pytest.skip("make zoo")
    find(path)
