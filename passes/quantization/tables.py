"""Tables that a model looks rows up in, as integers of 8 bits: the embeddings of tokens."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from burnish.calibration.formats import LEAST_SCALE
from burnish.ir import Array, Constant, DType, Graph, OperatorNode, VariableNode
from burnish.passes.quantization.formats import WEIGHTS
from burnish.passes.quantization.ranges import decibels
from burnish.passes.quantization.weighted import layer_name
from burnish.rewrite import Rewriter

LEAST_SIZE = 2**14
"""Elements below which a table is left alone: bytes save too little to round for."""
LEAST_SQNR = 30.0
"""dB below which a table is left alone: a few large numbers take all integers of their channel."""
_BLOCK = 2**20
"""Elements that are rounded at once, so that a large table is not in memory several times."""


@dataclass(frozen=True)
class QuantizedTable:
    """A table as integers that stand for ``integer * scale``."""

    integers: Array
    """Int8 [rows, channels]."""
    scales: Array
    """Float32 [channels]."""
    sqnr: float | None
    """Signal to noise in dB of the row at the median; None if it loses nothing."""


def lookups(graph: Graph, keep: Collection[str]) -> dict[VariableNode, list[OperatorNode]]:
    """Tables of ``graph``, and what looks up in each.

    Args:
        graph: the main graph.
        keep: names of nodes that are to go on reading floats.
    """
    found: dict[VariableNode, list[OperatorNode]] = {}
    for node in graph:
        value, table = node.input(0), node.constant_input(0)
        if value is None or table is None or value in found or not node.is_op("Gather"):
            continue
        readers = value.consumers
        if value.is_graph_output or table.dtype is not DType.FLOAT or len(table.shape) != 2:
            continue
        if table.size >= LEAST_SIZE and all(_looks_up(each, graph, keep) for each in readers):
            found[value] = list(readers)
    return found


def _looks_up(node: OperatorNode, graph: Graph, keep: Collection[str]) -> bool:
    """Whether ``node`` takes rows of its first input, at places that are computed."""
    indices = node.input(1)
    return (
        node.is_op("Gather")
        and node.graph is graph
        and node.attribute("axis", 0) in (0, -2)
        and indices is not None
        and not indices.is_constant
        and indices.rank is not None
        and not node.output.is_graph_output
        and not any(name in keep for name in (node.name, *node.provenance))
    )


def quantize_tables(rewriter: Rewriter, graph: Graph, keep: Collection[str]) -> list[str]:
    """Keep tables as integers, with a scale for each channel, where that loses little.

    What is looked up is dequantized afterwards: only those rows are, whatever runs the model.

    Returns:
        what became of each table, in words.
    """
    notes = []
    for value, readers in lookups(graph, keep).items():
        assert value.constant is not None
        name = layer_name(readers[0])
        table = quantized_table(value.constant.numpy())
        if table is None:
            notes.append(f"{name}: its table stays in float: it has numbers that are not finite")
        elif table.sqnr is not None and table.sqnr < LEAST_SQNR:
            notes.append(
                f"{name}: its table stays in float: int8 would leave it {table.sqnr:.1f} dB "
                f"above the noise, at least {LEAST_SQNR:g} are needed"
            )
        else:
            quality = "nothing is lost" if table.sqnr is None else f"SQNR {table.sqnr:.1f} dB"
            notes.append(f"{name}: its table is int8, with a scale for each channel: {quality}")
            integers = VariableNode.of(Constant.of(table.integers))
            for node in readers:
                _look_up(rewriter, node, integers, table)
    return notes


def _look_up(
    rewriter: Rewriter, node: OperatorNode, integers: VariableNode, table: QuantizedTable
) -> None:
    """Let ``node`` give integers, and dequantize them."""
    indices, output = node.input(1), node.output
    assert indices is not None and indices.rank is not None
    rewriter.anchor, rewriter.provenance = node, node.provenance
    like = VariableNode("", DType.INT8, output.shape)
    rows = rewriter.op("Gather", [integers, indices], {"axis": 0}, like=like)
    zeros = rewriter.constant(np.zeros(table.scales.shape, np.int8))
    floats = rewriter.op(
        "DequantizeLinear", [rows, rewriter.constant(table.scales), zeros],
        {"axis": indices.rank}, like=output,
    )  # fmt: skip
    rewriter.replace(output, floats)
    rewriter.erase_unused([node])


def quantized_table(floats: Array) -> QuantizedTable | None:
    """Round ``floats`` [rows, channels] by the largest number of each channel.

    Returns:
        None if a number is not finite.
    """
    rows, channels = floats.shape
    step = max(1, _BLOCK // max(1, channels))
    blocks = [slice(start, start + step) for start in range(0, rows, step)]
    bound = np.zeros(channels, np.float32)
    for block in blocks:
        np.maximum(bound, np.abs(floats[block]).max(axis=0, initial=0.0), out=bound)
    if not np.isfinite(bound).all():
        return None
    scales = np.where(bound > 0, np.maximum(bound / WEIGHTS.high, LEAST_SCALE), 1)
    scales = scales.astype(np.float32)
    integers = np.empty(floats.shape, np.int8)
    signal, noise = np.zeros(rows), np.zeros(rows)
    for block in blocks:
        wanted = floats[block].astype(np.float64)
        integers[block] = np.clip(np.rint(floats[block] / scales), WEIGHTS.low, WEIGHTS.high)
        signal[block] = np.square(wanted).sum(axis=1)
        noise[block] = np.square(integers[block] * scales.astype(np.float64) - wanted).sum(axis=1)
    return QuantizedTable(integers, scales, _of_usual_row(signal, noise))


def _of_usual_row(signal: Array, noise: Array) -> float | None:
    """The median of what rows have in dB: a few large ones do not speak for all."""
    held = signal > 0
    shares = noise[held] / signal[held]
    return decibels(1.0, float(np.median(shares))) if shares.size else None
