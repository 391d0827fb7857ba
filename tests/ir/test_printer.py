"""Text of graphs."""

from __future__ import annotations

from collections.abc import Callable

from burnish.ir.printer import to_text
from burnish.testing import graph

TEXT = """g (bool c, float["N", 2] x) => (float["N", 2] y, seq(float) s) {
  w = Constant <value = float[2] {1.5, 0.1}> ()
  big = Constant <value_ints = [1, 2, 3, 4, 5, 6, 7, 8, 9]> ()
  a = LeakyRelu <alpha = 0.1> (x)
  low, , high = acme.Split <text = "two words", axes = [0, -1]> (a, , w)
  s = SequenceConstruct(low)
  y = If (c) <then_branch = p () => (float[2] e) { e = Add(a, w) },
              else_branch = q () => (float[2] f) { f = Reshape(high, big) }>
}"""


def test_printer(golden: Callable[[str], None]) -> None:
    golden(to_text(graph(TEXT, domains=("acme",))))


def test_printer_names(golden: Callable[[str], None]) -> None:
    golden(to_text(graph(TEXT, domains=("acme",)), names=True, provenance=True))


def test_names_do_not_leak() -> None:
    first, second = graph(TEXT, domains=("acme",)), graph(TEXT, domains=("acme",))
    for value in second.variables():
        value.name = f"other {value.name}" if value.name else ""
    for node in second.walk():
        node.name = "other"
    assert to_text(first) == to_text(second)
