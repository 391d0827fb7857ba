"""From matplotlib's SVG to a drawing inside a page: small, named, in the page's own colours."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D, Transform

from burnish.bench.report.palette import LIGHT
from burnish.wording import visible

WIDE, NARROW = 920, 352
"""Widths of the two drawings of a chart in CSS pixels; a page shows the one that fits."""
SIZE = 14
"""Of all text in charts, in CSS pixels."""
UNIT = 72
"""CSS pixels that an inch of matplotlib becomes."""

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_SETTINGS = {
    # Text stays text: it can be searched, read aloud and copied, and takes little space.
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": SIZE,
    # Names of nodes are no formulas.
    "text.parse_math": False,
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["muted"],
    "axes.labelcolor": LIGHT["muted"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "hatch.linewidth": 1.2,
    "axes.unicode_minus": True,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
ET.register_namespace("", _SVG)
ET.register_namespace("xlink", _XLINK)


@dataclass(frozen=True)
class Chart:
    """A chart in two widths, and what it shows in words."""

    label: str
    wide: Markup
    narrow: Markup


@dataclass(frozen=True)
class Canvas:
    """What a chart is drawn on."""

    figure: Figure
    width: int
    height: int
    titles: list[str]
    """Texts that appear beside the pointer; `name` adds to them."""

    @property
    def is_narrow(self) -> bool:
        """Whether this is the drawing for phones."""
        return self.is_for_phones(self.width)

    @staticmethod
    def is_for_phones(width: int) -> bool:
        """Whether a drawing of this width is for phones."""
        return width < WIDE

    @property
    def pixels(self) -> Transform:
        """From CSS pixels, counted from the bottom left, to where matplotlib draws."""
        return Affine2D().scale(1 / UNIT) + self.figure.dpi_scale_trans

    def axes(self, left: float, top: float, right: float, bottom: float) -> mpl.axes.Axes:
        """Axes between margins in CSS pixels from the four edges."""
        width, height = self.width - left - right, self.height - top - bottom
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )

    def name(self, artist: mpl.artist.Artist, title: str) -> None:
        """Let ``title`` appear beside the pointer on ``artist``."""
        artist.set_gid(f"title-{len(self.titles)}")
        self.titles.append(title)


Draw = Callable[[Canvas], None]
Height = Callable[[int], int]


def chart(key: str, label: str, height: Height, draw: Draw) -> Chart:
    """Draw a chart for wide and for narrow pages.

    Args:
        key: of the chart, other than that of any other chart of the page.
        label: what it shows, for those who do not see it.
        height: CSS pixels that it takes for a width.
        draw: draws it.
    """
    label = visible(label)
    wide, narrow = (_drawn(f"{key}-{width}", label, width, height, draw)
                    for width in (WIDE, NARROW))  # fmt: skip
    return Chart(label, wide, narrow)


def _drawn(key: str, label: str, width: int, height: Height, draw: Draw) -> Markup:
    # Identifiers are hashes with the key in them, so that no two drawings of a page share one.
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": key}), warnings.catch_warnings():
        # A glyph that the font lacks is the reader's font's affair.
        warnings.simplefilter("ignore", UserWarning)
        tall = height(width)
        figure = Figure(figsize=(width / UNIT, tall / UNIT), dpi=UNIT)
        FigureCanvasSVG(figure)
        canvas = Canvas(figure, width, tall, [])
        draw(canvas)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=_NO_METADATA)
    return _embedded(file.getvalue(), label, width, tall, canvas.titles)


def _embedded(text: str, label: str, width: int, height: int, titles: Sequence[str]) -> Markup:
    """Matplotlib's file as an element of a page."""
    root = ET.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    used = set(re.findall(r"#([\w.-]+)", text))
    for element in list(root.iter()):
        _reduce(element, titles, used)
    root.attrib.clear()
    root.attrib.update({
        "class": "chart", "viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": label,
    })  # fmt: skip
    return Markup(_coloured(ET.tostring(root, encoding="unicode", short_empty_elements=True)))


def _reduce(element: ET.Element, titles: Sequence[str], used: AbstractSet[str]) -> None:
    """Drop what only matplotlib reads, and put titles where they were asked for."""
    element.tail = None
    if element.tag != f"{{{_SVG}}}text":
        element.text = None
    name = element.get("id", "")
    if name.startswith("title-"):
        title = ET.Element(f"{{{_SVG}}}title")
        title.text = titles[int(name.removeprefix("title-"))]
        element.insert(0, title)
    if name and name not in used:
        del element.attrib["id"]
    if "d" in element.attrib:
        element.set("d", " ".join(element.attrib["d"].split()))
    if style := element.get("style"):
        # The page's own font; `text.fitting` leaves room for wide ones.
        style = re.sub(r"font-family:[^;]*(;|$)", "", style)
        element.set("style", style.replace("; ", ";").replace(": ", ":"))


def _coloured(text: str) -> str:
    for name, colour in LIGHT.items():
        text = text.replace(colour, f"var(--{name})")
    return text
