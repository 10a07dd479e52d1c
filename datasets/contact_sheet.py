"""A contact sheet: every image small, with its outlines, so that one look finds what is wrong."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from datasets.annotations import TargetAnnotation
from datasets.errors import BuildError
from datasets.rows import Row
from imaging.open import SectionImage
from imaging.polygons import Grid
from model.targets import TARGET_OF_MARKER, VEGF_CELL, VESSEL

UInt8 = npt.NDArray[np.uint8]

THUMBNAIL_PX = 240
# Two colours of Okabe and Ito that stay apart in every kind of colour blindness; a black seam
# makes them visible on white tissue and on black background alike.
COLOURS = {VESSEL: (86, 180, 233), VEGF_CELL: (230, 159, 0)}
_MARGIN_PX = 8
_LINE_PX = 14
_PAGE = (255, 255, 255)
_INK = (30, 30, 30)


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """A small RGB picture with its outlines, and the lines of text beneath it."""

    rgb: UInt8
    lines: tuple[str, ...]


def outlined_thumbnail(
    image: SectionImage, row: Row, outlines: Mapping[str, TargetAnnotation]
) -> tuple[npt.NDArray[Any], Thumbnail]:
    """Return the whole image small as it is, and what was annotated of it with its outlines."""
    whole = _read_small(image, (0, 0, image.width_px, image.height_px))[0]
    pixels, grid = _read_small(image, annotated_box(image, outlines))
    if image.modality == "brightfield":
        rgb = (pixels[..., :3] // max(1, (image.full_scale + 1) // 256)).astype(np.uint8)
    else:
        channel = next(
            (image.channels[marker] for marker in row.markers if marker in image.channels), 0
        )
        rgb = np.repeat(_stretch(pixels[..., channel])[..., None], 3, axis=-1)
    rgb = np.ascontiguousarray(rgb)
    for target, annotation in outlines.items():
        _draw_outline(rgb, annotation.read(grid).labels, COLOURS[target])
    lines = (Path(row.image).name, f"{row.animal}, {row.split or 'undecided'}", row.group)
    return whole, Thumbnail(rgb, lines)


def annotated_box(
    image: SectionImage, outlines: Mapping[str, TargetAnnotation]
) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the annotated areas, or of the image if it is all."""
    bounds = [annotation.area_bounds() for annotation in outlines.values()]
    given = [box for boxes in bounds if boxes is not None for box in boxes]
    if not given or None in bounds:
        return 0, 0, image.width_px, image.height_px
    left = min(image.width_px - 1, max(0, math.floor(min(box[0] for box in given))))
    top = min(image.height_px - 1, max(0, math.floor(min(box[1] for box in given))))
    right = max(left + 1, min(image.width_px, math.ceil(max(box[2] for box in given))))
    bottom = max(top + 1, min(image.height_px, math.ceil(max(box[3] for box in given))))
    return left, top, right, bottom


def _read_small(
    image: SectionImage, box: tuple[int, int, int, int]
) -> tuple[npt.NDArray[Any], Grid]:
    """Read a box of the image at thumbnail size or its own, whichever is smaller."""
    left, top, right, bottom = box
    mpp_um = image.mpp_um * max(1.0, max(right - left, bottom - top) / THUMBNAIL_PX)
    step = image.scale_at(mpp_um)
    limits = image.size_at(mpp_um)
    x, y = min(limits[0] - 1, int(left / step)), min(limits[1] - 1, int(top / step))
    width = max(1, min(limits[0] - x, THUMBNAIL_PX, round((right - left) / step)))
    height = max(1, min(limits[1] - y, THUMBNAIL_PX, round((bottom - top) / step)))
    return image.read_region(x, y, width, height, mpp_um), Grid(x, y, width, height, step)


def write_contact_sheet(
    thumbnails: Sequence[Thumbnail], path: str | Path, *, columns: int | None = None
) -> Path:
    """Write thumbnails in reading order as one PNG, with a legend of the outline colours.

    Raises
    ------
    BuildError
        If there is no thumbnail to show.
    """
    if not thumbnails:
        raise BuildError("no image could be read for the contact sheet", "contact_sheet")
    columns = columns or max(2, min(10, math.ceil(math.sqrt(len(thumbnails) * 1.5))))
    cell_width = THUMBNAIL_PX + _MARGIN_PX
    cell_height = THUMBNAIL_PX + 3 * _LINE_PX + 2 * _MARGIN_PX
    rows = math.ceil(len(thumbnails) / columns)
    top = _LINE_PX + 2 * _MARGIN_PX
    size = (columns * cell_width + _MARGIN_PX, top + rows * cell_height)
    sheet = Image.new("RGB", size, _PAGE)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    _draw_legend(draw, font)
    for index, thumbnail in enumerate(thumbnails):
        x = _MARGIN_PX + index % columns * cell_width
        y = top + index // columns * cell_height
        sheet.paste(Image.fromarray(thumbnail.rgb), (x, y))
        for number, line in enumerate(thumbnail.lines):
            text = _shortened(line, font, THUMBNAIL_PX)
            draw.text((x, y + THUMBNAIL_PX + number * _LINE_PX), text, _INK, font)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG")
    return path


def _draw_legend(draw: ImageDraw.ImageDraw, font: Any) -> None:
    marker_of = {target: marker for marker, target in TARGET_OF_MARKER.items()}
    x = _MARGIN_PX
    for target, colour in COLOURS.items():
        box = (x, _MARGIN_PX, x + _LINE_PX, _MARGIN_PX + _LINE_PX - 2)
        draw.rectangle(box, fill=colour, outline=(0, 0, 0))
        text = f"{target} ({marker_of[target]})"
        draw.text((x + _LINE_PX + 4, _MARGIN_PX), text, _INK, font)
        x += _LINE_PX + 24 + int(font.getlength(text))


def _draw_outline(rgb: UInt8, labels: npt.NDArray[np.int32], colour: tuple[int, int, int]) -> None:
    """Draw the inner border of every object, with a black seam outside of it."""
    padded = np.pad(labels, 1, mode="edge")
    inside = labels > 0
    border = np.zeros(labels.shape, np.bool_)
    for shifted in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        border |= inside & (shifted != labels)
    seam = cv2.dilate(border.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_)
    rgb[seam & ~inside] = (0, 0, 0)
    rgb[border] = colour


def _stretch(plane: npt.NDArray[Any]) -> UInt8:
    low, high = np.percentile(plane, (1, 99.5))
    unit = (plane.astype(np.float32) - low) / max(1.0, float(high - low))
    return np.asarray(np.clip(unit * 255, 0, 255).astype(np.uint8))


def _shortened(text: str, font: Any, width_px: int) -> str:
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength(f"{text}…") > width_px:
        text = text[:-1]
    return f"{text}…"
