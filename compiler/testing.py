"""Helpers for tests: graphs from text, and the check that a rewrite kept what a model computes."""

from __future__ import annotations

from collections.abc import Mapping

import onnx.parser

from burnish.errors import GateFailed
from burnish.ir import Array, Graph
from burnish.ir.verify import verify
from burnish.oracle import Comparison, Numerics, Oracle, compare, random_inputs, suggest_sizes
from burnish.oracle.ties import Ties

SEEDS = (0, 1, 2)
HEADER = '<ir_version: 10, opset_import: ["": {opset}{domains}]>\n'


def graph(text: str, *, opset: int = 21, domains: tuple[str, ...] = ()) -> Graph:
    """A graph from ONNX's text form.

    Args:
        text: a whole model, or only the graph: ``g (float[2, "N"] x) => (float y) { ... }``.
        opset: of the standard operators, when ``text`` has no header.
        domains: further operator domains, each at version 1.

    Raises:
        ValueError: ``text`` does not parse; the message has the line.
    """
    if not text.lstrip().startswith("<"):
        extra = "".join(f', "{domain}": 1' for domain in domains)
        text = HEADER.format(opset=opset, domains=extra) + text
    try:
        model = onnx.parser.parse_model(text)
    except onnx.parser.ParseError as error:
        raise ValueError(f"bad graph text: {error}") from error
    return Graph.from_onnx(model)


def assert_equivalent(
    before: Graph,
    after: Graph,
    numerics: Numerics,
    *,
    inputs: Mapping[str, Array] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Comparison:
    """Check that ``after`` is valid and computes what ``before`` does; return the worst comparison.

    Where numbers are quantized within, as much is allowed for as moving ties accounts for.

    Without ``inputs``, three seeds are tried, with two settings of open sizes.

    Raises:
        GateFailed: an output differs by more than ``numerics`` allows.
    """
    verify(after)
    wanted, found, ties = Oracle(before, threads=1), Oracle(after, threads=1), Ties(before)
    if inputs is not None:
        feeds = [dict(inputs)]
    else:
        feeds = [
            random_inputs(before, seed, suggest_sizes(before, seed) | dict(sizes or {}))
            for seed in SEEDS
        ]
    worst: Comparison | None = None
    for feed in feeds:
        expected, actual = wanted.run(feed), found.run(feed)
        comparison = compare(expected, actual, numerics)
        if not comparison:
            comparison = compare(expected, ties.near(feed, expected, actual), numerics)
        if not comparison:
            raise GateFailed(f"not equivalent ({numerics.value}): {comparison}")
        if worst is None or comparison.error > worst.error:
            worst = comparison
    assert worst is not None
    return worst
