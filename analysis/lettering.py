"""Text on pictures with Pillow's own font, which needs no file but holds ASCII only.

Names beyond that are drawn with its letters: accents of Latin letters as lines (é, ü, ǔ, ç, ø),
µ as a u with its tail, ² as a small raised 2. What can't be drawn so is spelled: ß as ss, α as
alpha. A question mark stands for what has no Latin spelling.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from analysis.spelling import Letter, letters

Colour = tuple[int, int, int]
Ink = npt.NDArray[np.uint8]
Line = tuple[tuple[float, float], ...]

_RAISED = 0.65
_SHIFT_BITS = 4


def _arc(radius: float, start: float, stop: float, middle: float) -> Line:
    """Return part of a circle about (0, middle), degrees from the right and upwards."""
    turns = [math.radians(start + (stop - start) * step / 12) for step in range(13)]
    return tuple((radius * math.cos(t), middle + radius * math.sin(t)) for t in turns)


_ACUTE: Line = ((-0.03, 0.02), (0.07, 0.14))
_WAVE: Line = (
    (-0.13, 0.04),
    (-0.09, 0.10),
    (-0.04, 0.10),
    (0.04, 0.05),
    (0.09, 0.05),
    (0.13, 0.11),
)
# Marks above a letter in shares of the font's size: from its middle to the right, and upwards from
# a little above its ink. A line of one point is a dot.
_ABOVE: dict[str, tuple[Line, ...]] = {
    "\u0300": (((0.03, 0.02), (-0.07, 0.14)),),
    "\u0301": (_ACUTE,),
    "\u0302": (((-0.1, 0.01), (0.0, 0.12), (0.1, 0.01)),),
    "\u0303": (_WAVE,),
    "\u0304": (((-0.12, 0.07), (0.12, 0.07)),),
    "\u0306": (_arc(0.1, 180, 360, 0.12),),
    "\u0307": (((0.0, 0.07),),),
    "\u0308": (((-0.09, 0.07),), ((0.09, 0.07),)),
    "\u0309": (_arc(0.05, 150, -90, 0.12),),
    "\u030a": (_arc(0.065, 0, 360, 0.07),),
    "\u030b": tuple(tuple((x + dx, y) for x, y in _ACUTE) for dx in (-0.08, 0.06)),
    "\u030c": (((-0.1, 0.12), (0.0, 0.01), (0.1, 0.12)),),
}
# Marks below, downwards from the letter's ink.
_BELOW: dict[str, tuple[Line, ...]] = {
    "\u0323": (((0.0, 0.1),),),
    "\u0326": (((0.03, 0.06), (-0.02, 0.18)),),
    "\u0327": (((0.0, 0.0), (0.0, 0.06), (0.06, 0.11), (0.0, 0.17), (-0.06, 0.15)),),
    "\u0328": (((0.1, 0.0), (0.04, 0.1), (0.08, 0.17), (0.15, 0.15)),),
    "\u0331": (((-0.12, 0.09), (0.12, 0.09)),),
}
_SLASH: Line = ((-0.02, 1.04), (1.02, -0.04))
# Through the letter, in shares of its ink's width and height from its upper left corner.
_THROUGH: dict[str, Line] = {
    "O": _SLASH,
    "o": _SLASH,
    "D": ((-0.12, 0.5), (0.45, 0.5)),
    "d": ((0.45, 0.16), (1.15, 0.16)),
    "H": ((-0.1, 0.27), (1.1, 0.27)),
    "h": ((-0.15, 0.16), (0.6, 0.16)),
    "L": ((-0.15, 0.68), (0.5, 0.38)),
    "l": ((-0.9, 0.6), (1.9, 0.4)),
    "T": ((0.2, 0.55), (0.8, 0.55)),
    "t": ((-0.05, 0.62), (1.05, 0.62)),
}
DRAWN_MARKS = frozenset(_ABOVE) | frozenset(_BELOW)


def draw_text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size_px: int,
    colour: Colour,
    casing: Colour | None = None,
) -> None:
    """Draw one line of text with its top left corner at `at` (x, y), cased where asked."""
    ink, margin = _line(text, size_px)
    corner = round(at[0]) - margin, round(at[1]) - margin
    if casing is not None:
        reach = max(2, size_px // 9)
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        draw.bitmap(corner, Image.fromarray(np.asarray(cv2.dilate(ink, brush), np.uint8)), casing)
    draw.bitmap(corner, Image.fromarray(ink), colour)


def text_width(text: str, size_px: int) -> float:
    """Return the width of one line of text in pixels."""
    return sum(_advance(letter, size_px) for letter in letters(text, DRAWN_MARKS))


def _advance(letter: Letter, size_px: int) -> float:
    return float(_font(_size(letter, size_px)).getlength(letter.base))


def _size(letter: Letter, size_px: int) -> int:
    return round(size_px * _RAISED) if letter.raised else size_px


def _line(text: str, size_px: int) -> tuple[Ink, int]:
    """Return the ink of a line, uint8 (H, W), and the margin about it that marks may need."""
    margin = size_px // 2 + 1
    width = math.ceil(text_width(text, size_px)) + 2 * margin
    canvas = Image.new("L", (width, 2 * size_px + 2 * margin))
    x = float(margin)
    # A stretch without marks is drawn at once, so that its letters keep the font's own distances.
    for letter in letters(text, DRAWN_MARKS):
        _draw_letter(canvas, (x, float(margin)), letter, size_px)
        x += _advance(letter, size_px)
    return np.asarray(canvas, np.uint8), margin


def _draw_letter(
    canvas: Image.Image, at: tuple[float, float], letter: Letter, size_px: int
) -> None:
    font, draw = _font(_size(letter, size_px)), ImageDraw.Draw(canvas)
    draw.text(at, letter.base, font=font, fill=255)
    if not letter.marks and not letter.dotless:
        return
    left, top, right, bottom = (
        edge + corner for edge, corner in zip(font.getbbox(letter.base), 2 * at, strict=True)
    )
    if letter.dotless:
        # The dot of an i ends above the height of an x.
        x_top = at[1] + font.getbbox("x")[1]
        draw.rectangle((left - 1, top - 1, right, x_top - 1), fill=0)
        top = x_top
    lines: list[Line] = []
    middle, gap = (left + right) / 2, 0.03 * size_px
    for mark in letter.marks:
        if mark in _ABOVE:
            rise = top - gap
            lines += [_placed(line, (middle, rise), (size_px, -size_px)) for line in _ABOVE[mark]]
            top -= 0.17 * size_px
        elif mark in _BELOW:
            lines += [_placed(line, (middle, bottom), (size_px, size_px)) for line in _BELOW[mark]]
        elif mark == "tail":
            stem = left + size_px / 28
            lines.append(((stem, top), (stem, bottom + 0.2 * (bottom - at[1]))))
        else:
            through = _THROUGH[letter.base]
            lines.append(_placed(through, (left, top), (right - left, bottom - top)))
    _add_lines(canvas, lines, size_px)


def _placed(line: Line, origin: tuple[float, float], scale: tuple[float, float]) -> Line:
    return tuple((origin[0] + x * scale[0], origin[1] + y * scale[1]) for x, y in line)


def _add_lines(canvas: Image.Image, lines: list[Line], size_px: int) -> None:
    """Draw smooth lines as wide as the font's stems, four times too large and averaged."""
    large = np.zeros((4 * canvas.height, 4 * canvas.width), np.uint8)
    for line in lines:
        # OpenCV's coordinates are pixel centres.
        points = np.rint((4 * np.asarray(line) - 0.5) * 2**_SHIFT_BITS).astype(np.int32)
        stem = max(4, round(4 * size_px / 13))
        if len(points) == 1:
            cv2.circle(
                large, points[0].tolist(), round(0.65 * stem) << _SHIFT_BITS, 255, -1,
                shift=_SHIFT_BITS,
            )  # fmt: skip
        else:
            cv2.polylines(large, [points], False, 255, stem, shift=_SHIFT_BITS)
    ink = cv2.resize(large, canvas.size, interpolation=cv2.INTER_AREA)
    canvas.paste(255, (0, 0), Image.fromarray(np.asarray(ink, np.uint8)))


@lru_cache(maxsize=8)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)
