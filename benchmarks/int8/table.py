"""int8 against float and against other quantizers, as tables for terminals and pages."""

from collections.abc import Sequence

from rich.table import Table

from benchmarks.int8.accuracy import FLOAT, NNCF, ORT, OURS, OURS_ONNX, AccuracyRow
from benchmarks.int8.others import ANOTHER, EQUAL, FORMS, ITSELF, MOVED, Near, OthersRow
from benchmarks.int8.zoo import ZooRow
from benchmarks.latency import Row
from benchmarks.latency_table import geometric_mean
from burnish.bench.document import Metric

VARIANTS = {
    OURS: "burnish", OURS_ONNX: "burnish, QDQ in ONNX Runtime", ORT: "ONNX Runtime", NNCF: "NNCF",
}  # fmt: skip
"""Quantized variants by their names in figures, and for people."""
PEERS = {
    "ort": "ORT", "float": "ours, float", "ort-int8": "ORT int8", "openvino-int8": "OpenVINO int8",
}  # fmt: skip


def accuracy_cells(rows: Sequence[AccuracyRow]) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row for each metric: the float model's value, and points of each variant."""
    heads = ["model", "items", "metric", "float", *VARIANTS.values()]
    cells = []
    for row in rows:
        for index, metric in enumerate(row.metrics.get(FLOAT, ())):
            value = f"{100 * metric.value.value:.2f}"
            found = [row.model, str(metric.items), metric.name.replace("-", " "), value]
            cells.append([*found, *(_points(row, name, index) for name in VARIANTS)])
    return heads, cells


def _points(row: AccuracyRow, variant: str, index: int) -> str:
    if variant not in row.metrics:
        return "failed" if variant in row.failures else "-"
    return difference(row.metrics[variant][index])


def difference(metric: Metric) -> str:
    """Points that a variant is above the float model, with the 95% interval."""
    by = metric.difference
    if by is None:
        return "-"
    return f"{100 * by.value:+.2f} ({100 * by.low:+.2f} to {100 * by.high:+.2f})"


def accuracy_table(rows: Sequence[AccuracyRow]) -> Table:
    """Lay out accuracy for a terminal."""
    heads, cells = accuracy_cells(rows)
    return as_rich("Points that int8 is above the float model, on the same items", heads, cells)


def latency_cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row for each case: our milliseconds, and ratios of the others to them."""
    heads = [
        "model",
        "input",
        "threads",
        "burnish int8, ms",
        *(f"{n} / it" for n in PEERS.values()),
    ]
    cells = []
    for row in rows:
        found = [row.model, row.case, str(row.threads)]
        if row.figures is None:
            cells.append([*found, "failed", *("-" for _ in PEERS)])
            continue
        ratios = [row.versus(name) for name in PEERS]
        ours = f"{1e3 * row.figures.burnish.median:.3g}"
        cells.append([*found, ours, *(f"{r.ratio.median:.2f}" if r else "-" for r in ratios)])
    means = []
    for name in PEERS:
        every = [one.ratio for row in rows if (one := row.versus(name)) is not None]
        means.append(f"{geometric_mean(every).median:.2f}" if every else "-")
    return heads, [*cells, ["geometric mean", "", "", "", *means]]


def latency_table(rows: Sequence[Row]) -> Table:
    """Lay out latency for a terminal."""
    heads, cells = latency_cells(rows)
    return as_rich("Time of others over that of burnish in int8", heads, cells)


def others_cells(rows: Sequence[OthersRow]) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row for each model by each quantizer."""
    heads = [
        "model", "quantized by", "native", *(f"to {FORM_TITLES[one]}" for one in FORMS),
        *(f"{ITSELF_TITLES[one]} to ORT" for one in ITSELF), "right",
        "burnish, ms", "ORT / it",
    ]  # fmt: skip
    cells = []
    for row in rows:
        found = [row.model, row.kind]
        if row.failure is not None:
            cells.append([*found, "failed", *("-" for _ in heads[3:])])
            continue
        near = [_near(row.near.get(one)) for one in FORMS] + [
            _near(row.itself.get(one)) for one in ITSELF
        ]
        ours = "-" if row.burnish is None else f"{1e3 * row.burnish.median:.3g}"
        ratio = "-" if row.versus is None else f"{row.versus.ratio.median:.2f}"
        share = f"{100 * (row.native_share or 0):.0f} %"
        cells.append([*found, share, *near, "yes" if row.is_right else "no", ours, ratio])
    ratios = [row.versus.ratio for row in rows if row.versus is not None]
    mean = f"{geometric_mean(ratios).median:.2f}" if ratios else "-"
    return heads, [*cells, ["geometric mean", *("" for _ in heads[2:]), mean]]


FORM_TITLES = {"ort": "ORT", "oracle": "ORT unoptimized"}
ITSELF_TITLES = {
    "oracle": "ORT unoptimized", MOVED: "ORT, ties moved,", ANOTHER: "another version of ORT",
}  # fmt: skip


def _near(one: Near | None) -> str:
    if one is None:
        return "-"
    agreed = "" if one.agreement is None else f"{100 * one.agreement:.1f} %"
    if one.sqnr < EQUAL:
        found = f"{one.sqnr:.1f} dB"
    else:
        found = "same bits" if one.agreement in (None, 1.0) else ""
    return ", ".join(filter(None, [found, agreed]))


def others_table(rows: Sequence[OthersRow]) -> Table:
    """Lay out models that others quantized for a terminal."""
    heads, cells = others_cells(rows)
    return as_rich("Models that others quantized: signal over noise, equal classes", heads, cells)


def zoo_cells(rows: Sequence[ZooRow]) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row for each model: how much of it is in int8, and its time against float."""
    heads = [
        "model", "input", "int8 layers", "from float", "compiling, s", "in float, s",
        "burnish, ms", "float / int8",
    ]  # fmt: skip
    cells = []
    for row in rows:
        found = [row.model, row.case]
        if row.failure is not None:
            cells.append([*found, "failed", *("-" for _ in heads[3:])])
            continue
        seconds = [
            f"{one:.0f}" if one is not None else "-" for one in (row.seconds, row.plain_seconds)
        ]
        ours = "-" if row.burnish is None else f"{1e3 * row.burnish.median:.3g}"
        count = f"{row.layers} of {row.of}"
        cells.append([*found, count, row.distance or "-", *seconds, ours, _gain(row)])
    return heads, cells


def _gain(row: ZooRow) -> str:
    """The time in float over that in int8, with the 95% interval."""
    if row.is_same:
        return "same code"
    if row.versus is None:
        return "-"
    found = row.versus.ratio
    return f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"


def zoo_table(rows: Sequence[ZooRow]) -> Table:
    """Lay out the whole zoo for a terminal."""
    heads, cells = zoo_cells(rows)
    return as_rich("The whole zoo: what --quantize int8 gains over float", heads, cells)


def zoo_remarks(rows: Sequence[ZooRow]) -> list[str]:
    """A line for each model that failed or stays in float, with the reason."""
    return [f"{row.model}: {why}" for row in rows if (why := row.failure or row.reason)]


def zoo_conclusion(rows: Sequence[ZooRow]) -> str:
    """In a line: of how many models int8 is slower, wrong, or failed."""
    quantized = [row for row in rows if row.layers and row.versus is not None]
    least = min((row.versus.ratio.median for row in rows if row.versus), default=None)
    bad = {
        "failed": [row.model for row in rows if row.failure is not None],
        "wrong": [row.model for row in rows if row.failure is None and not row.is_right],
        "slower": [row.model for row in rows if row.is_slower],
        "in float without a reason": [
            row.model for row in rows if not row.failure and not row.is_told
        ],
    }
    said = [f"{len(quantized)} of {len(rows)} models in int8"]
    said += [] if least is None else [f"least ratio {least:.2f}"]
    said += [f"{what}: {', '.join(names) or 'none'}" for what, names in bad.items()]
    return "; ".join(said)


def as_rich(title: str, heads: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    """Lay out rows below heads for a terminal."""
    table = Table(title=title)
    for head in heads:
        table.add_column(head)
    for row in cells:
        table.add_row(*row)
    return table
