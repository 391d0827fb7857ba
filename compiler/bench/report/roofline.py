"""Kernels under the roofline of the machine they ran on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from burnish.bench.document import Ceiling, Document, Kernel
from burnish.bench.report.palette import FAMILIES, LIGHT, MARKERS, family
from burnish.bench.report.svg import NARROW, SIZE, Canvas, Chart, chart
from burnish.bench.report.text import percent
from burnish.wording import counted, duration, of_thousand, visible

HEIGHT = {NARROW: 430}
"""Of the drawing on a narrow page, in CSS pixels; on others it is `TALL`."""
TALL = 480
NUMBERED = 8
"""Points that bear their numbers in the table."""
APART = 48
"""CSS pixels between points that bear numbers of their own."""
_DASHES = ((1, 0), (7, 3), (3, 2), (9, 2, 2, 2))
_SANE = 1e-18, 1e18
_AREAS = 14.0, 600.0
"""Of the smallest points, and of the kernel that takes most of the time, in square CSS pixels."""


def by_share(document: Document) -> list[Kernel]:
    """Kernels, those with most of the time first."""
    return sorted(document.kernels, key=lambda kernel: -kernel.share)


def kernel_family(kernel: Kernel) -> str:
    """The family of its weightiest operator: products before what is fused into them."""
    kinds = [family(operator) for operator in kernel.operators]
    return next((kind for kind in FAMILIES if kind in kinds), "other")


def roofline(document: Document) -> Chart | None:
    """Arithmetic intensity against operations per second, both logarithmic.

    None if no kernel was profiled, or none does arithmetic.
    """
    kernels = [
        (number, kernel) for number, kernel in enumerate(by_share(document), 1) if _drawable(kernel)
    ]
    if not kernels:
        return None
    ceiling = None if document.ceiling is None else _known(document.ceiling)
    limits = ""
    if ceiling is not None:
        peaks = [f"{name} {of_thousand(rate)}FLOP/s" for name, rate in ceiling.peaks.items()]
        levels = [f"{name} {of_thousand(rate)}B/s" for name, rate in ceiling.bandwidths.items()]
        limits = f" under ceilings of {', '.join(peaks + levels)}"
    label = (
        f"Roofline: operations per second of {counted(len(kernels), 'kernel')} by operations per "
        f"byte{limits}. The table of kernels has the figures."
    )
    return chart(
        "roofline", label, lambda width: HEIGHT.get(width, TALL),
        lambda canvas: _draw(canvas, kernels, ceiling),
    )  # fmt: skip


def _drawable(kernel: Kernel) -> bool:
    return all(map(_sane, (kernel.flops, kernel.bytes, kernel.seconds)))


def _known(ceiling: Ceiling) -> Ceiling:
    """The ceilings that can be drawn."""
    peaks, levels = (
        {name: rate for name, rate in rates.items() if _sane(rate)}
        for rates in (ceiling.peaks, ceiling.bandwidths)
    )
    return ceiling.model_copy(update={"peaks": peaks, "bandwidths": levels})


def _sane(figure: float) -> bool:
    """Whether a figure can be that of something real, and so be drawn."""
    least, most = _SANE
    return least < figure < most


def _draw(canvas: Canvas, kernels: Sequence[tuple[int, Kernel]], ceiling: Ceiling | None) -> None:
    axes = canvas.axes(62, 30, 8, 56)
    axes.set(xscale="log", yscale="log")
    points = [(k.flops / k.bytes, k.flops / k.seconds) for _, k in kernels]
    _limits(axes, points, ceiling)
    largest = max(kernel.share for _, kernel in kernels) or 1.0
    for (number, kernel), point in zip(kernels, points, strict=True):
        _point(canvas, axes, number, kernel, point, largest)
    _numbers(axes, kernels, points)
    if ceiling is not None:
        _ceilings(canvas, axes, ceiling)
    for side in (axes.xaxis, axes.yaxis):
        side.set_major_locator(LogLocator(10, numticks=5 if canvas.is_narrow else 8))
        side.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: of_thousand(y).replace(" ", "")))
    axes.grid(color=LIGHT["rule"], lw=1)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, pad=6)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("operations per byte", fontsize=SIZE, loc="left")
    canvas.figure.text(0, canvas.height - 14, "operations per second", color=LIGHT["muted"],
                       transform=canvas.pixels)  # fmt: skip


def _limits(axes: Axes, points: Sequence[tuple[float, float]], ceiling: Ceiling | None) -> None:
    """Whole decades around the points, and the peaks above them."""
    xs, ys = zip(*points, strict=True)
    peaks = [] if ceiling is None else [*ceiling.peaks.values()]
    axes.set_xlim(min(xs) / 2, max(xs) * 3)
    axes.set_ylim(min(ys) / 2, max([*ys, *peaks]) * 2)


def _point(
    canvas: Canvas,
    axes: Axes,
    number: int,
    kernel: Kernel,
    point: tuple[float, float],
    largest: float,
) -> None:
    kind = kernel_family(kernel)
    least, most = _AREAS
    area = max(least, most * max(0.0, kernel.share) / largest * (0.5 if canvas.is_narrow else 1))
    artist = axes.scatter(
        [point[0]], [point[1]], s=area, marker=MARKERS[kind], facecolor=LIGHT[FAMILIES[kind]],
        edgecolor=LIGHT["paper"], linewidth=1, alpha=0.9, zorder=4,
    )  # fmt: skip
    reach = "" if not kernel.bound_seconds else (
        f", {percent(kernel.bound_seconds / kernel.seconds, 0)} of its bound"
    )  # fmt: skip
    canvas.name(
        artist,
        f"{number}. {visible(kernel.name)}: {duration(kernel.seconds)}, {percent(kernel.share)} of "
        f"the time, {of_thousand(point[1])}FLOP/s{reach}",
    )


def _numbers(
    axes: Axes, kernels: Sequence[tuple[int, Kernel]], points: Sequence[tuple[float, float]]
) -> None:
    """Numbers of the largest points; those of points that are close stand together."""
    groups: list[tuple[tuple[float, float], list[int]]] = []
    for (number, _), point in zip(kernels[:NUMBERED], points, strict=False):
        place = tuple(axes.transData.transform(point))
        near = (numbers for at, numbers in groups if math.dist(at, place) < APART)
        numbers = next(near, None)
        if numbers is None:
            groups.append(((place[0], place[1]), [number]))
        else:
            numbers.append(number)
    for at, numbers in groups:
        axes.annotate(_ranges(numbers), at, xycoords="figure pixels", xytext=(0, 15), zorder=5,
                      textcoords="offset pixels", ha="center", color=LIGHT["ink"])  # fmt: skip


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, those in a row as a range: ``1–3, 5``."""
    ends: list[list[int]] = []
    for number in numbers:
        if ends and ends[-1][1] == number - 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}–{high}" for low, high in ends)


def _ceilings(canvas: Canvas, axes: Axes, ceiling: Ceiling) -> None:
    """A slanted line for each level of memory, a level one for each peak."""
    left, right = axes.get_xlim()
    top = max(ceiling.peaks.values(), default=axes.get_ylim()[1])
    faster = math.inf
    for number, (name, rate) in enumerate(ceiling.bandwidths.items()):
        knee = min(max(top / rate, left), right)
        line = axes.plot([left, knee], [left * rate, knee * rate], color=LIGHT["ink"], lw=1.4)[0]
        if number % len(_DASHES):
            line.set_dashes(_DASHES[number % len(_DASHES)])
        canvas.name(line, f"{visible(name)}: {of_thousand(rate)}B/s")
        _write_along(canvas, axes, visible(name), rate, number, below=faster < 1.7 * rate)
        faster = rate
    nearest = max(ceiling.bandwidths.values(), default=math.inf)
    lowest = -math.inf
    for name, rate in sorted(ceiling.peaks.items(), key=lambda each: each[1]):
        starts = min(max(left, rate / nearest), right)
        line = axes.plot([starts, right], [rate, rate], color=LIGHT["ink"], lw=1.4)[0]
        words = f"{visible(name)} {of_thousand(rate)}FLOP/s"
        canvas.name(line, words)
        # Names of peaks that are near each other stand one above the other.
        y = max(axes.transData.transform((right, rate))[1] + 4, lowest)
        lowest = y + 1.3 * SIZE
        place = axes.transData.inverted().transform((0, y))[1]
        axes.text(right, place, words, ha="right", va="bottom", color=LIGHT["muted"])


def _write_along(
    canvas: Canvas, axes: Axes, name: str, rate: float, number: int, *, below: bool
) -> None:
    """The name of a level near the left end of its line, where that is in the picture."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    # One further along than the other, since the lines may be close.
    x = max(left, low / rate) * (right / left) ** (0.03 + number * 60 / canvas.width)
    if x < right and low < x * rate < high / 1.5:
        angle = math.degrees(math.atan2(*_slope(canvas, axes)))
        side = "top" if below else "bottom"
        axes.text(x, x * rate, name, ha="left", va=side, rotation=angle,
                  rotation_mode="anchor", color=LIGHT["muted"])  # fmt: skip


def _slope(canvas: Canvas, axes: Axes) -> tuple[float, float]:
    """How far a line of one decade by one decade goes up and right, in the same unit."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    box = axes.get_position()
    width, height = canvas.width, canvas.height
    up = box.height * height / math.log10(high / low)
    return up, box.width * width / math.log10(right / left)
