"""Legend and headline numbers below a picture of the result."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from analysis.lettering import Colour, draw_text
from analysis.objects import (
    CELL_CLASS,
    COLOUR_OF_CLASS,
    REGION_CLASS,
    TISSUE_CLASS,
    VESSEL_CLASS,
)
from analysis.record import Record

PAPER = (255, 255, 255)
# Paler than any outline that counts, on bright and on dark sections.
UNCOUNTED_COLOUR: Colour = (150, 150, 150)
_INK, _FAINT = (20, 20, 20), (90, 90, 90)
_CASING = (0, 0, 0)
_PANEL_WIDTH_PX = 560


def with_panel(
    canvas: Image.Image,
    record: Record,
    region_colours: Sequence[Colour],
    *,
    uncounted: bool = False,
) -> Image.Image:
    """Return the picture with legend and headline numbers below it.

    `region_colours` are those in which regions were drawn; none where there are none. `uncounted`
    says whether something is drawn that does not count.
    """
    lines = headlines(record)
    names = _legend(record, region_colours, uncounted)
    size, step, margin = 18, 27, 16
    height = margin * 2 + step * (len(lines) + len(names) + 1)
    whole = Image.new("RGB", (max(canvas.width, _PANEL_WIDTH_PX), canvas.height + height), PAPER)
    whole.paste(canvas, (0, 0))
    draw = ImageDraw.Draw(whole)
    y = canvas.height + margin
    for name in names:
        middle = y + step / 2 - 3
        if name == _UNCOUNTED:  # thin and without a casing, as it is drawn
            draw.line((margin, middle, margin + 32, middle), fill=UNCOUNTED_COLOUR)
        else:
            draw.rectangle((margin - 2, middle - 4, margin + 34, middle + 4), fill=_CASING)
            colours = region_colours if name == REGION_CLASS else (COLOUR_OF_CLASS[name],)
            _swatch(draw, (margin, middle - 2, margin + 32, middle + 2), colours)
        draw_text(draw, (margin + 46, y), _LEGEND[name], size, _INK)
        y += step
    for label, value in lines:
        draw_text(draw, (margin, y), label, size, _INK)
        draw_text(draw, (margin + 250, y), value, size, _INK)
        y += step
    origin = f"{record.image.name}, Angiometry {record.software.version}, {record.created_at}"
    draw_text(draw, (margin, y), origin, 14, _FAINT)
    return whole


_UNCOUNTED = "Not counted"
_LEGEND = {
    VESSEL_CLASS: "vessel (CD31)",
    CELL_CLASS: "VEGF-positive cell",
    TISSUE_CLASS: "border of the analysed tissue",
    REGION_CLASS: "border of a region, its name in its colour",
    _UNCOUNTED: "not counted: excluded, or outside of the tissue",
}


def _legend(record: Record, region_colours: Sequence[Colour], uncounted: bool) -> list[str]:
    region = record.regions[0]
    shown = [(VESSEL_CLASS, region.vessels), (CELL_CLASS, region.cells)]
    borders = [TISSUE_CLASS] + [REGION_CLASS] * bool(region_colours)
    found = [name for name, part in shown if part is not None]
    return [*found, *[_UNCOUNTED] * uncounted, *borders]


def _swatch(
    draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], colours: Sequence[Colour]
) -> None:
    """Fill a box with equal stretches of the colours, each once."""
    left, top, right, bottom = box
    distinct = list(dict.fromkeys(colours))
    width = (right - left) / len(distinct)
    for number, colour in enumerate(distinct):
        draw.rectangle((left + number * width, top, right, bottom), fill=colour)


def headlines(record: Record) -> list[tuple[str, str]]:
    """Return the few numbers that the picture carries, as (label, value with unit)."""
    region = record.regions[0]
    lines = [("analysed tissue", _number(region.area_mm2, "mm²"))]
    if region.vessels is not None:
        vessels = region.vessels
        lines += [
            ("vessel area fraction", _number(vessels.area_fraction, "%", 100.0)),
            ("vessel profile density", _number(vessels.profile_density_per_mm2, "/mm²")),
            ("vessel length density", _number(vessels.length_density_mm_per_mm2, "mm/mm²")),
            ("median vessel diameter", _number(vessels.diameter_um.median, "µm")),
        ]
    if region.cells is not None:
        cells = region.cells
        lines += [
            ("VEGF-positive cells", _number(cells.positive_count, "")),
            ("VEGF-positive cell density", _number(cells.positive_density_per_mm2, "/mm²")),
        ]
    if record.quality is not None:
        lines.append(("image quality", str(record.quality["verdict"])))
    return lines


def _number(value: float | None, unit: str, factor: float = 1.0) -> str:
    if value is None:
        return "not available"
    text = str(value) if isinstance(value, int) else f"{value * factor:.4g}"
    return f"{text} {unit}".rstrip()
