"""The skeleton on the section, each segment in the colour of its kind: what length is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from analysis.counting import branchpoint_pixels, segments_of
from analysis.distances import CELL_PX
from analysis.folding import vessel_settings
from analysis.joining import join
from analysis.lettering import draw_text
from analysis.masks import MaskLike
from analysis.overlay import draw_scale_bar, enlarged, picture_mpp, section_picture
from analysis.parts import GraphParts, cut, held_by
from analysis.pipeline import SectionResult
from analysis.skeleton import skeleton_of
from analysis.tally import VesselSettings, block_window
from imaging.open import SectionImage
from imaging.tiles import grid

Ints = npt.NDArray[np.int64]
Picture = npt.NDArray[np.uint8]

# Okabe and Ito's colours, which colour-blind readers can tell apart, by the kind of a segment.
KINDS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("end to end", (230, 159, 0)),
    ("end to branch", (86, 180, 233)),
    ("branch to branch", (0, 158, 115)),
    ("loop", (204, 121, 167)),
)
BRANCHPOINT = ("branchpoint", (213, 94, 0))
_PAPER, _INK = (255, 255, 255), (20, 20, 20)
_FADE = 0.45
# Of the picture's longer side: a picture is looked at some 800 px wide, a line has 2 of them then.
_LINES_TO_A_SIDE = 400


@dataclass(frozen=True)
class DrawnSkeleton:
    """Skeleton pixels (n,) with the kind of their segment, and branchpoints (m,)."""

    y: Ints
    x: Ints
    kind: Ints
    branch_y: Ints
    branch_x: Ints


def trace_skeleton(mask: MaskLike, settings: VesselSettings, block_px: int = 2048) -> DrawnSkeleton:
    """Return the skeleton of a whole mask (H, W), segments joined across its blocks."""
    height, width = mask.shape
    side = -(-block_px // CELL_PX) * CELL_PX
    parts = []
    for tile in grid(width, height, side, settings.halo_px):
        seen = np.asarray(mask[tile.outer.slices()], np.bool_)
        window, place = block_window(seen, tile, (height, width), settings)
        skeleton = skeleton_of(window, settings.max_radius_px)
        parts.append(cut(skeleton, place, held_by(skeleton, place, None)))
    whole = GraphParts.concatenate(parts)
    joined = join(whole, complete=True)
    segments = segments_of(whole, joined, width)
    kind_of = np.full(len(joined.segment_open) + 1, -1)
    kind_of[segments.number] = segments.kind
    kind = np.repeat(kind_of[joined.segment], whole.size)
    drawn = kind >= 0
    y, x = np.divmod(whole.pixel_key[drawn], width)
    branch = whole.node_key[branchpoint_pixels(whole, joined, width)]
    return DrawnSkeleton(y, x, kind[drawn], branch // width, branch % width)


def write_skeleton(result: SectionResult, image: SectionImage, path: Path) -> None:
    """Write the section, faded, with its skeleton and a legend, as a PNG."""
    assert result.vessel_mask is not None
    skeleton = trace_skeleton(result.vessel_mask, vessel_settings(result.settings, result.mpp_um))
    picture = enlarged(section_picture(image, result.scalings, picture_mpp(image)))
    drawn_um = image.mpp_um * image.width_px / picture.shape[1]
    paper = 255.0 if image.modality == "brightfield" else 0.0
    faded = np.rint(_FADE * picture + (1 - _FADE) * paper).astype(np.uint8)
    draw_skeleton(faded, skeleton, result.mpp_um / drawn_um)
    canvas = Image.fromarray(faded)
    draw_scale_bar(canvas, drawn_um)
    partial = path.with_name(path.name + ".partial")
    _with_legend(canvas, skeleton).save(partial, format="PNG", compress_level=1)
    partial.replace(path)


def draw_skeleton(picture: Picture, skeleton: DrawnSkeleton, factor: float) -> None:
    """Draw on `picture` (H, W, 3); `factor` turns pixels of the grid into the picture's.

    A line is a pixel of the grid wide, and no thinner than is seen where the picture is looked at
    as a whole.
    """
    height, width = picture.shape[:2]
    thick = max(1, round(factor), round(max(height, width) / _LINES_TO_A_SIDE))
    brush = np.ones((thick, thick), np.uint8)
    for kind, (_, colour) in enumerate(KINDS):
        mine = skeleton.kind == kind
        line = np.zeros((height, width), np.uint8)
        rows = np.minimum(((skeleton.y[mine] + 0.5) * factor).astype(int), height - 1)
        columns = np.minimum(((skeleton.x[mine] + 0.5) * factor).astype(int), width - 1)
        line[rows, columns] = 1
        picture[cv2.dilate(line, brush) > 0] = colour
    radius = max(2, round(1.5 * factor), thick)
    for y, x in zip(skeleton.branch_y.tolist(), skeleton.branch_x.tolist(), strict=True):
        centre = int((x + 0.5) * factor), int((y + 0.5) * factor)
        cv2.circle(picture, centre, radius, BRANCHPOINT[1], -1, cv2.LINE_AA)


def _with_legend(canvas: Image.Image, skeleton: DrawnSkeleton) -> Image.Image:
    size, step, margin = 18, 27, 16
    entries = (*KINDS, BRANCHPOINT)
    height = 2 * margin + step * len(entries)
    whole = Image.new("RGB", (max(canvas.width, 320), canvas.height + height), _PAPER)
    whole.paste(canvas, (0, 0))
    draw = ImageDraw.Draw(whole)
    for number, (name, colour) in enumerate(entries):
        y = canvas.height + margin + step * number
        draw.rectangle((margin, y + 6, margin + 32, y + 12), fill=colour)
        draw_text(draw, (margin + 46, y), name, size, _INK)
    return whole
