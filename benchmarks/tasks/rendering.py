"""Pictures of text with known content, in fonts that packages ship."""

import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

HEIGHT = 48
"""Of every picture in pixels, as PP-OCR wants it."""
FONTS = ("Pillow", "DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono")
"""Pillow's own font, and those that matplotlib ships."""


@dataclass(frozen=True, slots=True)
class Line:
    """A picture of a line of text."""

    text: str
    pixels: np.ndarray
    """Uint8 [48, width, 3]."""


def render(text: str, generator: np.random.Generator) -> Line:
    """Draw a line of text with random font, size, colours, margins, blur and noise."""
    from PIL import Image, ImageDraw, ImageFilter

    size = int(generator.integers(14, 44))
    font = _font(str(generator.choice(FONTS)), size)
    left, top, right, bottom = font.getbbox(text)
    above, before = generator.integers(1, 1 + size // 4, 2)
    ink, paper = generator.integers(0, 90, 3), generator.integers(165, 256, 3)
    if generator.random() < 0.3:
        ink, paper = paper, ink
    canvas = (int(right - left + 2 * before), int(bottom - top + 2 * above))
    page = Image.new("RGB", canvas, tuple(map(int, paper)))
    place = (int(before - left), int(above - top))
    ImageDraw.Draw(page).text(place, text, font=font, fill=tuple(map(int, ink)))
    if generator.random() < 0.4:
        page = page.filter(ImageFilter.GaussianBlur(float(generator.uniform(0.3, 0.05 * size))))
    width = max(8, round(HEIGHT * page.width / page.height))
    pixels = np.asarray(page.resize((width, HEIGHT), Image.Resampling.BILINEAR), np.float64)
    noise = generator.normal(scale=generator.uniform(0, 18), size=pixels.shape)
    return Line(text, np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8))


def compose(generator: np.random.Generator) -> str:
    """Return a string such as is found on signs, forms and bills."""
    kinds: tuple[Callable[[np.random.Generator], str], ...] = (
        _word, _word, _number, _date, _code, _address, _words,
    )  # fmt: skip
    return kinds[generator.integers(len(kinds))](generator)


def _word(generator: np.random.Generator) -> str:
    letters = _drawn(generator, string.ascii_lowercase, 3, 13)
    return (letters, letters.capitalize(), letters.upper())[generator.integers(3)]


def _words(generator: np.random.Generator) -> str:
    return " ".join(_word(generator) for _ in range(2))


def _number(generator: np.random.Generator) -> str:
    return f"{generator.choice(['', '$', '-', '+'])}{generator.uniform(0, 1e6):,.2f}"


def _date(generator: np.random.Generator) -> str:
    year, month, day = generator.integers((1950, 1, 1), (2040, 13, 29))
    return (f"{year}-{month:02}-{day:02}", f"{day:02}/{month:02}/{year}")[generator.integers(2)]


def _code(generator: np.random.Generator) -> str:
    groups = [_drawn(generator, string.ascii_uppercase + string.digits, 3, 6) for _ in range(3)]
    return "-".join(groups)


def _address(generator: np.random.Generator) -> str:
    return f"{_word(generator).lower()}@{_word(generator).lower()}.com"


def _drawn(generator: np.random.Generator, letters: str, low: int, high: int) -> str:
    return "".join(generator.choice(list(letters), generator.integers(low, high)))


@cache
def _font(name: str, size: int) -> Any:
    """Return a font.

    Raises:
        ModuleNotFoundError: the package that ships it is not installed.
    """
    from PIL import ImageFont

    if name == "Pillow":
        return ImageFont.load_default(size)
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / f"{name}.ttf"), size)
