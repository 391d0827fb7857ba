"""What pruning costs and gains, as tables for terminals and pages."""

from collections.abc import Sequence

from rich.table import Table

from benchmarks.int8.table import as_rich, difference
from benchmarks.pruning.accuracy import AccuracyRow, Variant
from benchmarks.pruning.speed import BOTH, INT8, PLAIN, PRUNED, Made, SpeedRow
from burnish.bench.stats import Estimate
from burnish.wording import data_size

Cells = tuple[list[str], list[list[str]]]
"""Heads, and rows."""


def accuracy_cells(rows: Sequence[AccuracyRow]) -> Cells:
    """A row for each variant, with the first metric; what the command wrote is in bold."""
    heads = [
        "model", "asked", "widths", "original", "points", "distance", "FLOPs, bytes left",
        "speedup", "took",
    ]  # fmt: skip
    cells = []
    for row in rows:
        for name, variant in row.variants.items():
            before = row.original[0]
            value = f"{before.name.replace('-', ' ')} {100 * before.value.value:.2f}"
            is_first = name == next(iter(row.variants))
            cells.append([
                row.model, row.asked, f"**{name}**" if name == row.chosen else name, value,
                difference(variant.metrics[0]), _distance(variant),
                f"{_share(variant.flops)}, {_share(variant.size)}", ratio_cell(variant.speedup),
                _taken(row.seconds, row.peak) if is_first else "",
            ])  # fmt: skip
    return heads, cells


def speed_cells(rows: Sequence[SpeedRow]) -> Cells:
    """A row for each model: how much faster it is than before, and than its operations promise."""
    heads = [
        "model", "input", "FLOPs left", "promised", "float, ms", "speedup", "of the promise",
        "int8, ms", "speedup of int8", "of the promise", "loss in float", "took",
    ]  # fmt: skip
    cells = []
    for row in rows:
        found = [row.model, row.case]
        if row.speedup is None or row.int8_speedup is None:
            cells.append([*found, "failed", *("-" for _ in heads[3:])])
            continue
        cells.append([
            *found, _share(row.flops), f"{row.promise:.2f}",
            _change(row.made[PLAIN], row.made[PRUNED]), ratio_cell(row.speedup),
            f"{row.speedup.median / row.promise:.2f}",
            _change(row.made[INT8], row.made[BOTH]), ratio_cell(row.int8_speedup),
            f"{row.int8_speedup.median / row.promise:.2f}", row.loss,
            _taken(row.made[PRUNED].seconds, row.made[PRUNED].peak),
        ])  # fmt: skip
    return heads, cells


def together_cells(rows: Sequence[SpeedRow]) -> Cells:
    """A row for each way to compile a model: bytes, time and points."""
    heads = [
        "model", "input", "compiled", "int8 layers", "weights", "of the original", "ms", "points",
    ]  # fmt: skip
    cells = []
    for row in rows:
        for name, made in row.made.items():
            cells.append([
                row.model, row.case, name, str(made.integers), data_size(made.weights),
                f"1/{row.weights / made.weights:.1f}", f"{1e3 * made.run.median:.3g}",
                difference(made.metrics[0]) if made.metrics else "-",
            ])  # fmt: skip
    return heads, cells


def accuracy_table(rows: Sequence[AccuracyRow]) -> Table:
    """Lay out accuracy for a terminal."""
    return as_rich("Points that a pruned model is above the original", *accuracy_cells(rows))


def speed_table(rows: Sequence[SpeedRow]) -> Table:
    """Lay out speed for a terminal."""
    return as_rich("Speed of pruned models, and what their operations promise", *speed_cells(rows))


def together_table(rows: Sequence[SpeedRow]) -> Table:
    """Lay out what is compiled, for a terminal."""
    return as_rich("Pruned and quantized, alone and together", *together_cells(rows))


def ratio_cell(ratio: Estimate | None) -> str:
    """A ratio with its interval."""
    return "-" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _distance(variant: Variant) -> str:
    if variant.divergence is None:
        return f"noise {variant.noise:.2g}"
    return f"KL {variant.divergence:.2g}"


def _taken(seconds: float, peak: int) -> str:
    return f"{seconds:.0f} s, {data_size(peak)}"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _change(before: Made, after: Made) -> str:
    return f"{1e3 * before.run.median:.3g} to {1e3 * after.run.median:.3g}"
