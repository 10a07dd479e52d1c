"""A picture of the result: outlines on the section, scale bar, legend and headline numbers.

The picture is bounded in size whatever the section, and small images are enlarged so that lines
stay thin beside the vessels. Colours are Okabe and Ito's, told apart by colour-blind readers; a
dark casing makes them readable on bright and dark sections.

Letters: H, W pixels of the picture.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from analysis.areas import Areas, plan_of
from analysis.lettering import Colour, draw_text, text_width
from analysis.masks import TissueMask
from analysis.objects import (
    CELL_CLASS,
    COLOUR_OF_CLASS,
    REGION_CLASS,
    TISSUE_CLASS,
    VESSEL_CLASS,
    SectionObject,
    find_objects,
)
from analysis.panel import PAPER, UNCOUNTED_COLOUR, with_panel
from analysis.pipeline import SectionResult
from analysis.regions import EXCLUDE
from imaging.markers import MarkerScaling
from imaging.open import SectionImage

Picture = npt.NDArray[np.uint8]

_LONGEST_PX = 2048
_SHORTEST_LONG_SIDE_PX = 1024
_STRIP_PX = 512
_CASING = (0, 0, 0)
_SUBPIXEL_BITS = 4
# What Okabe and Ito's palette leaves beside vessels, cells and tissue; white stands for its black,
# which the casing has. From the seventh region on they come again.
REGION_COLOURS: tuple[Colour, ...] = (
    COLOUR_OF_CLASS[REGION_CLASS],
    (230, 159, 0),
    (204, 121, 167),
    (255, 255, 255),
    (0, 114, 178),
    (153, 153, 153),
)
# Magenta of Tol's vibrant scheme, which colour-blind readers tell from its orange, blue and grey.
EXCLUDED_COLOUR: Colour = (238, 51, 119)
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
    colours, factor = region_colours(objects), result.mpp_um / drawn_um
    found = [item for item in objects if item.has_number]
    borders = [item for item in objects if not item.has_number]
    draw_outlines(picture, borders, colours, factor, bright=bright)
    below = picture.copy()
    draw_outlines(picture, found, colours, factor, bright=bright)
    hidden = _uncounted(result, image, (below.shape[0], below.shape[1]), drawn_um)
    uncounted = hidden is not None and _fade(picture, below, found, factor, hidden)
    if result.tissue.tissue.fraction >= 1.0:
        _frame(picture)
    canvas = Image.fromarray(picture)
    _region_names(canvas, objects, colours, factor)
    draw_scale_bar(canvas, drawn_um)
    whole = with_panel(canvas, result.record, tuple(colours.values()), uncounted=uncounted)
    return np.asarray(whole, np.uint8)


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


def region_colours(objects: list[SectionObject]) -> dict[str, Colour]:
    """Return a colour for the name of each region, in their order; exclusions have their own."""
    names = [item.title for item in objects if item.name == REGION_CLASS]
    cycle = itertools.cycle(REGION_COLOURS)
    return {name: EXCLUDED_COLOUR if name == EXCLUDE else next(cycle) for name in names}


def draw_outlines(
    picture: Picture,
    objects: list[SectionObject],
    colours: dict[str, Colour],
    factor: float,
    *,
    bright: bool,
) -> None:
    """Draw the outline of every object; `factor` turns pixels of the grid into the picture's.

    On a `bright` section every line has a dark casing, on a dark one where there is room for it.
    `colours` are those of the regions.
    """
    # Lines stay thinner than vessels: where the section is shrunk to less than half the grid, a
    # casing would cover them.
    width, casing = (2, 4) if factor >= 2 else (1, 3 if bright and factor >= 0.5 else 0)
    for name in (TISSUE_CLASS, REGION_CLASS, VESSEL_CLASS, CELL_CLASS):
        wider = int(name == REGION_CLASS and width == 1)  # regions are larger than any line
        layer = _layer(objects, name, colours, factor)
        if casing:
            every = [ring for _, rings in layer for ring in rings]
            _polylines(picture, every, _CASING, casing + wider)
        for colour, rings in layer:
            _polylines(picture, rings, colour, width + wider)


def _uncounted(
    result: SectionResult, image: SectionImage, shape: tuple[int, int], drawn_um: float
) -> npt.NDArray[np.bool_] | None:
    """Return where nothing counts in a picture (H, W) of `drawn_um` per pixel; None is nowhere."""
    tissue = TissueMask(result.tissue.tissue, *shape, drawn_um)
    masks = Areas.of(image, tissue, plan_of(image, result.settings)).masks
    return None if masks is None else ~np.asarray(masks[0][: shape[0], : shape[1]])


def _fade(
    picture: Picture,
    below: Picture,
    found: list[SectionObject],
    factor: float,
    hidden: npt.NDArray[np.bool_],
) -> bool:
    """Make thin grey lines of the outlines in `hidden` (H, W); return whether there are any.

    `below` (H, W, 3) is the picture before vessels and cells were drawn.
    """
    picture[hidden] = below[hidden]
    lines = np.zeros(hidden.shape, np.uint8)
    _polylines(lines, [ring for item in found for ring in _rings(item, factor)], (1,), 1)
    thin = (lines > 0) & hidden
    picture[thin] = UNCOUNTED_COLOUR
    return bool(thin.any())


def _layer(
    objects: list[SectionObject], name: str, colours: dict[str, Colour], factor: float
) -> list[tuple[Colour, list[npt.NDArray[np.int32]]]]:
    """Return colour and rings of what is drawn of one class, from the lowest on.

    A region lies over those that were derived from it and share its border, so that regions keep
    their order although colours come again; those of one colour in a row are drawn at once.
    """

    def colour_of(item: SectionObject) -> Colour:
        return colours[item.title] if name == REGION_CLASS else COLOUR_OF_CLASS[name]

    lowest_first = [item for item in reversed(objects) if item.name == name]
    return [
        (colour, [ring for item in items for ring in _rings(item, factor)])
        for colour, items in itertools.groupby(lowest_first, colour_of)
    ]


def _rings(item: SectionObject, factor: float) -> Iterator[npt.NDArray[np.int32]]:
    for polygon in getattr(item.geometry, "geoms", [item.geometry]):
        for ring in (polygon.exterior, *polygon.interiors):
            corners = np.asarray(ring.coords)[:-1] * (factor * 2**_SUBPIXEL_BITS)
            # OpenCV's coordinates are pixel centres, ours are corners: half a pixel apart.
            yield np.rint(corners - 2 ** (_SUBPIXEL_BITS - 1)).astype(np.int32)


def _polylines(
    picture: Picture,
    rings: list[npt.NDArray[np.int32]],
    colour: Sequence[int],
    thickness: int,
) -> None:
    # A smoothed line of one pixel between two rows of pixels would be two rows of half its colour.
    kind = cv2.LINE_8 if thickness % 2 else cv2.LINE_AA
    cv2.polylines(picture, rings, True, colour, thickness, lineType=kind, shift=_SUBPIXEL_BITS)


def _region_names(
    canvas: Image.Image, objects: list[SectionObject], colours: dict[str, Colour], factor: float
) -> None:
    """Write each region's name in its colour inside it, below the names that lie there already."""
    draw, size = ImageDraw.Draw(canvas), 20
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
            colour = colours[item.title]
            draw_text(draw, (x, y), item.title, size, colour, casing=_halo(colour))


def _halo(colour: Colour) -> Colour:
    """Return black or white, whichever stands out more from a colour (WCAG 2.2, contrast)."""
    luminance = float((np.asarray(colour) / 255.0) ** 2.2 @ (0.2126, 0.7152, 0.0722))
    # Both contrasts are equal where (L + 0.05)² = 1.05 · 0.05.
    return _CASING if luminance > 0.179 else PAPER


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
    draw.rectangle((left, top, right, bottom), fill=PAPER)
    label, size = bar_label(length_um), 20
    x = right - (length_px + text_width(label, size)) / 2
    x = min(x, right - text_width(label, size))
    draw_text(draw, (x, top - size - 10), label, size, PAPER, casing=_CASING)
