"""Text on pictures with Pillow's own font, which needs no file but lacks µ and ².

µ is drawn as a u with its tail, ² as a small raised 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]
_RAISED = 0.65


def draw_text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size_px: int,
    colour: Colour,
    casing: Colour | None = None,
) -> None:
    """Draw one line of text with its top left corner at `at` (x, y), cased where asked."""
    stroke = 0 if casing is None else max(2, size_px // 9)
    if casing is not None:
        _run(draw, at, text, size_px, casing, stroke)
    _run(draw, at, text, size_px, colour, 0)


def text_width(text: str, size_px: int) -> float:
    """Return the width of one line of text in pixels."""
    return sum(_font(size).getlength(piece) for piece, size, _ in _pieces(text, size_px))


def _run(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size_px: int,
    colour: Colour,
    stroke: int,
) -> None:
    x, y = at
    for piece, size, tail in _pieces(text, size_px):
        font = _font(size)
        draw.text((x, y), piece, font=font, fill=colour, stroke_width=stroke, stroke_fill=colour)
        if tail:
            left, top, _, bottom = font.getbbox(piece)
            stem = max(1, round(size_px / 14))
            near = round(x + left)
            box = (near - stroke, y + top, near + stem - 1 + stroke, y + bottom * 1.2 + stroke)
            draw.rectangle(box, fill=colour)
        x += font.getlength(piece)


def _pieces(text: str, size_px: int) -> Iterator[tuple[str, int, bool]]:
    """Yield (letters, size, whether a u carries the tail of a µ)."""
    plain = ""
    for letter in text:
        if letter not in "µ²":
            plain += _known(letter)
            continue
        if plain:
            yield plain, size_px, False
            plain = ""
        yield ("u", size_px, True) if letter == "µ" else ("2", round(size_px * _RAISED), False)
    if plain:
        yield plain, size_px, False


def _known(letter: str) -> str:
    return letter if " " <= letter <= "~" else "?"


@lru_cache(maxsize=8)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)
