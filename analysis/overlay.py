"""A picture of the result: outlines on the section, scale bar, legend and headline numbers.

The picture is bounded in size whatever the section, and small images are enlarged so that lines
stay thin beside the vessels. Colours are Okabe and Ito's, told apart by colour-blind readers; a
dark casing makes them readable on bright and dark sections.

Letters: H, W pixels of the picture.
"""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from analysis.lettering import draw_text, text_width
from analysis.objects import (
    CELL_CLASS,
    COLOUR_OF_CLASS,
    REGION_CLASS,
    TISSUE_CLASS,
    VESSEL_CLASS,
    SectionObject,
    find_objects,
)
from analysis.pipeline import SectionResult
from analysis.record import Record
from imaging.markers import MarkerScaling
from imaging.open import SectionImage

Picture = npt.NDArray[np.uint8]

_LONGEST_PX = 2048
_SHORTEST_LONG_SIDE_PX = 1024
_STRIP_PX = 512
_CASING = (0, 0, 0)
_SUBPIXEL_BITS = 4
_PANEL_WIDTH_PX = 560
_PAPER, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (90, 90, 90)
# Additive colours of the markers where a fluorescence image shows two.
_MARKER_COLOUR = {"CD31": (120, 200, 255), "VEGF": (255, 170, 60)}


def write_overlay(
    result: SectionResult,
    image: SectionImage,
    path: Path,
    objects: list[SectionObject] | None = None,
) -> None:
    """Write the overlay as a PNG; `objects` are those of `find_objects`, found here if None."""
    objects = find_objects(result, image) if objects is None else objects
    picture = overlay(result, image, objects)
    partial = path.with_name(path.name + ".partial")
    # Level 1 takes a quarter of the time of the default 6, for an eighth more bytes.
    Image.fromarray(picture).save(partial, format="PNG", compress_level=1)
    partial.replace(path)


def overlay(result: SectionResult, image: SectionImage, objects: list[SectionObject]) -> Picture:
    """Return the picture: the section with outlines, and a panel below it, uint8 (H, W, 3)."""
    picture_um = picture_mpp(image)
    picture = enlarged(section_picture(image, result.scalings, picture_um))
    drawn_um = image.mpp_um * image.width_px / picture.shape[1]
    bright = image.modality == "brightfield"
    draw_outlines(picture, objects, result.mpp_um / drawn_um, bright=bright)
    if result.tissue.tissue.fraction >= 1.0:
        _frame(picture)
    canvas = Image.fromarray(picture)
    _region_names(canvas, objects, result.mpp_um / drawn_um)
    draw_scale_bar(canvas, drawn_um)
    return np.asarray(_with_panel(canvas, result.record), np.uint8)


def picture_mpp(image: SectionImage) -> float:
    """Return the µm/px at which the section's longer side fits the picture."""
    shrink = max(image.width_px, image.height_px) / _LONGEST_PX
    return image.mpp_um * max(1.0, shrink)


def section_picture(
    image: SectionImage, scalings: dict[str, MarkerScaling], mpp_um: float
) -> Picture:
    """Return the section as a person sees it: its own colours, or its markers as bright light."""
    width, height = image.size_at(mpp_um)
    picture = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP_PX):
        rows = min(_STRIP_PX, height - top)
        pixels = image.read_region(0, top, width, rows, mpp_um)
        if image.modality == "brightfield":
            full = pixels.astype(np.float32) * (255.0 / image.full_scale)
            picture[top : top + rows] = np.rint(full).astype(np.uint8)
        else:
            picture[top : top + rows] = _glow(pixels, scalings)
    return picture


def _glow(pixels: npt.NDArray[np.generic], scalings: dict[str, MarkerScaling]) -> Picture:
    """Return fluorescence pixels (H, W, C) as light: white for one marker, a colour for each."""
    light = np.zeros((*pixels.shape[:2], 3), np.float32)
    for marker, scaling in scalings.items():
        plane = scaling.marker_plane
        assert plane is not None
        grey = (pixels[..., plane.channel].astype(np.float32) - plane.low) / (
            plane.high - plane.low
        )
        colour = _MARKER_COLOUR[marker] if len(scalings) > 1 else (255, 255, 255)
        light += np.clip(grey, 0.0, 1.0)[..., None] * np.asarray(colour, np.float32)
    return np.asarray(np.rint(np.clip(light, 0.0, 255.0)), np.uint8)


def enlarged(picture: Picture) -> Picture:
    """Return a small picture enlarged by a whole factor."""
    factor = _SHORTEST_LONG_SIDE_PX // max(picture.shape[:2])
    # A strip of a few pixels stays small in its short side: enlarging keeps its shape.
    if factor < 2:
        return picture
    return np.asarray(
        cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST), np.uint8
    )


def draw_outlines(
    picture: Picture, objects: list[SectionObject], factor: float, *, bright: bool
) -> None:
    """Draw the outline of every object; `factor` turns pixels of the grid into the picture's.

    On a `bright` section every line has a dark casing, on a dark one where there is room for it.
    """
    rings = {name: _rings(objects, name, factor) for name in COLOUR_OF_CLASS}
    # Lines stay thinner than vessels: where the section is shrunk to less than half the grid, a
    # casing would cover them.
    width, casing = (2, 4) if factor >= 2 else (1, 3 if bright and factor >= 0.5 else 0)
    for name in (TISSUE_CLASS, REGION_CLASS, VESSEL_CLASS, CELL_CLASS):
        if casing:
            _polylines(picture, rings[name], _CASING, casing)
        _polylines(picture, rings[name], COLOUR_OF_CLASS[name], width)


def _rings(objects: list[SectionObject], name: str, factor: float) -> list[npt.NDArray[np.int32]]:
    scale = factor * 2**_SUBPIXEL_BITS
    found = []
    for item in objects:
        if item.name != name:
            continue
        for polygon in getattr(item.geometry, "geoms", [item.geometry]):
            for ring in (polygon.exterior, *polygon.interiors):
                corners = np.asarray(ring.coords)[:-1] * scale
                # OpenCV's coordinates are pixel centres, ours are corners: half a pixel apart.
                found.append(np.rint(corners - 2 ** (_SUBPIXEL_BITS - 1)).astype(np.int32))
    return found


def _polylines(
    picture: Picture,
    rings: list[npt.NDArray[np.int32]],
    colour: tuple[int, int, int],
    thickness: int,
) -> None:
    # A smoothed line of one pixel between two rows of pixels would be two rows of half its colour.
    kind = cv2.LINE_8 if thickness % 2 else cv2.LINE_AA
    cv2.polylines(picture, rings, True, colour, thickness, lineType=kind, shift=_SUBPIXEL_BITS)


def _region_names(canvas: Image.Image, objects: list[SectionObject], factor: float) -> None:
    """Write each region's name inside it, below the names that lie there already."""
    draw, size = ImageDraw.Draw(canvas), 18
    taken: list[tuple[float, float, float]] = []
    for item in objects:
        if item.name == REGION_CLASS:
            width = text_width(item.title, size)
            place = item.geometry.representative_point()
            x = min(max(place.x * factor - width / 2, 4.0), canvas.width - width - 4.0)
            y = min(max(place.y * factor - size / 2, 4.0), canvas.height - size - 4.0)
            for left, right, top in sorted(taken, key=lambda box: box[2]):
                if x < right + 6 and left < x + width + 6 and abs(y - top) < size + 4:
                    y = top + size + 4
            taken.append((x, x + width, y))
            draw_text(draw, (x, y), item.title, size, COLOUR_OF_CLASS[REGION_CLASS], casing=_CASING)


def _frame(picture: Picture) -> None:
    """Draw the border of Ω where Ω is the whole frame."""
    bottom, right = picture.shape[0] - 1, picture.shape[1] - 1
    cv2.rectangle(picture, (0, 0), (right, bottom), COLOUR_OF_CLASS[TISSUE_CLASS], 2)


def bar_um(extent_um: float) -> float:
    """Return a round length, 1, 2 or 5 × 10ⁿ µm, of at most a fifth of `extent_um`."""
    aim = extent_um / 5
    power = 10.0 ** math.floor(math.log10(aim))
    return max(step * power for step in (1.0, 2.0, 5.0) if step * power <= aim)


def bar_label(length_um: float) -> str:
    """Return the label of a scale bar."""
    return f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"


def draw_scale_bar(canvas: Image.Image, drawn_um: float) -> None:
    """Draw the scale bar at the bottom right, white within black."""
    length_um = bar_um(canvas.width * drawn_um)
    length_px = length_um / drawn_um
    margin, thick = 14, 6
    right, bottom = canvas.width - margin, canvas.height - margin
    if length_px < 4 or canvas.height < 4 * margin:
        return
    draw = ImageDraw.Draw(canvas)
    left, top = right - length_px, bottom - thick
    draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=_CASING)
    draw.rectangle((left, top, right, bottom), fill=_PAPER)
    label, size = bar_label(length_um), 20
    x = right - (length_px + text_width(label, size)) / 2
    x = min(x, right - text_width(label, size))
    draw_text(draw, (x, top - size - 10), label, size, _PAPER, casing=_CASING)


def _with_panel(canvas: Image.Image, record: Record) -> Image.Image:
    """Return the picture with legend and headline numbers below it."""
    lines = headlines(record)
    names = _legend(record)
    size, step, margin = 18, 27, 16
    height = margin * 2 + step * (len(lines) + len(names) + 1)
    whole = Image.new("RGB", (max(canvas.width, _PANEL_WIDTH_PX), canvas.height + height), _PAPER)
    whole.paste(canvas, (0, 0))
    draw = ImageDraw.Draw(whole)
    y = canvas.height + margin
    for name in names:
        middle = y + step / 2 - 3
        draw.rectangle((margin - 2, middle - 4, margin + 34, middle + 4), fill=_CASING)
        draw.rectangle((margin, middle - 2, margin + 32, middle + 2), fill=COLOUR_OF_CLASS[name])
        draw_text(draw, (margin + 46, y), _LEGEND[name], size, _INK)
        y += step
    for label, value in lines:
        draw_text(draw, (margin, y), label, size, _INK)
        draw_text(draw, (margin + 250, y), value, size, _INK)
        y += step
    origin = f"{record.image.name}, Angiometry {record.software.version}, {record.created_at}"
    draw_text(draw, (margin, y), origin, 14, _FAINT)
    return whole


_LEGEND = {
    VESSEL_CLASS: "vessel (CD31)",
    CELL_CLASS: "VEGF-positive cell",
    TISSUE_CLASS: "border of the analysed tissue",
    REGION_CLASS: "border of a region",
}


def _legend(record: Record) -> list[str]:
    region = record.regions[0]
    shown = [(VESSEL_CLASS, region.vessels), (CELL_CLASS, region.cells)]
    borders = [TISSUE_CLASS] + [REGION_CLASS] * (len(record.regions) > 1)
    return [*(name for name, part in shown if part is not None), *borders]


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
