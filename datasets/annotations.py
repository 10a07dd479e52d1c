"""What people outlined on an image: label images and QuPath GeoJSON, read window by window.

Classes of a GeoJSON file become targets by a mapping from class name to one of `vessel`,
`vegf_cell`, `annotated_area` (outside of which the annotation is not complete), `unknown_area` (in
which it is not) or `ignore`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import shapely

from datasets.errors import AnnotationError
from datasets.geojson import (
    ANNOTATED_AREA,
    CLASS_MEANINGS,
    DEFAULT_CLASSES,
    IGNORE,
    UNKNOWN_AREA,
    read_outlines,
)
from datasets.label_image import number_cells, read_label_image
from datasets.rows import is_geojson
from imaging.polygons import Grid, Ring, even_odd, nearest_indices
from model.targets import VESSEL

Bounds = tuple[float, float, float, float]
"""Left, top, right, bottom in image pixels."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """Labels of one window: int32 (H, W), and bool (H, W) where they are complete."""

    labels: npt.NDArray[np.int32]
    complete: npt.NDArray[np.bool_]


class TargetAnnotation(Protocol):
    """One target's outlines on one image."""

    def read(self, grid: Grid) -> Labels:
        """Return the labels at the pixel centres of `grid`; 0 is background."""
        ...

    def area_bounds(self) -> tuple[Bounds, ...] | None:
        """Return what encloses each annotated area; None if all of the image is annotated."""
        ...


@dataclasses.dataclass(frozen=True)
class LabelImage:
    """Labels given as an image (H, W) of the section's own size; every pixel is annotated."""

    pixels: npt.NDArray[Any]

    def read(self, grid: Grid) -> Labels:
        """Return the label of the image pixel in which each pixel centre of `grid` lies."""
        height, width = self.pixels.shape
        rows = nearest_indices(grid.y, grid.height, grid.step, height)
        columns = nearest_indices(grid.x, grid.width, grid.step, width)
        labels = np.asarray(self.pixels[np.ix_(rows, columns)], np.int32)
        return Labels(labels, np.ones(labels.shape, np.bool_))

    def area_bounds(self) -> tuple[Bounds, ...] | None:
        """Return None: every pixel is annotated."""
        return None


@dataclasses.dataclass(frozen=True)
class Outlines:
    """Labels given as polygons in image pixels.

    `areas` bound what was annotated, if any; nobody knows what lies in `unknown`.
    """

    objects: tuple[shapely.Geometry, ...]
    areas: tuple[shapely.Geometry, ...] = ()
    unknown: tuple[shapely.Geometry, ...] = ()

    def read(self, grid: Grid) -> Labels:
        """Rasterise the objects at the pixel centres of `grid`, numbered in their order from 1.

        Where objects overlap, the smaller one is on top, so that each keeps a label of its own.
        """
        labels = np.zeros((grid.height, grid.width), np.int32)
        complete = np.full(labels.shape, not self.areas, np.uint8)
        for known, areas in ((1, self.areas), (0, self.unknown)):
            for area in areas:
                _paint(area, grid, complete, known)
        if complete.any():
            for index in self._in_painting_order(grid):
                _paint(self.objects[index], grid, labels, index + 1)
        return Labels(labels, complete.astype(np.bool_))

    def area_bounds(self) -> tuple[Bounds, ...] | None:
        """Return what encloses each annotated area; None if all of the image is annotated."""
        if not self.areas:
            return None
        return tuple(area.bounds for area in self.areas if not area.is_empty)

    @functools.cached_property
    def _tree(self) -> shapely.STRtree:
        """Index the objects' boxes: a slide has tens of thousands, a tile a few."""
        return shapely.STRtree(self.objects)

    def _in_painting_order(self, grid: Grid) -> list[int]:
        """Return the objects whose boxes meet the window, the largest first."""
        corners = (grid.x, grid.y, grid.x + grid.width, grid.y + grid.height)
        near = self._tree.query(shapely.box(*(corner * grid.step for corner in corners)))
        return sorted(map(int, near), key=lambda index: (-self.objects[index].area, index))


def open_annotation(
    path: Path,
    target: str,
    size_px: tuple[int, int],
    classes: Mapping[str, str] = DEFAULT_CLASSES,
    ignore: Sequence[str] = (),
) -> TargetAnnotation:
    """Open the outlines of `target` on an image of `size_px`, width and height.

    Parameters
    ----------
    path
        A label image (PNG, TIFF; 8 or 16 bit; 0 is background; a vessel mask is anything else, a
        cell has a number of its own) or a QuPath GeoJSON file in full-resolution pixels. In a
        0/255 mask of cells, connected ones are one cell.
    classes
        GeoJSON class name to one of `CLASS_MEANINGS`; capitals do not matter.
    ignore
        Further GeoJSON class names that are left out.

    Raises
    ------
    AnnotationError
        If the file cannot be read, has another size than the image, lies outside of it, or has
        a class that is neither mapped nor ignored.
    """
    if is_geojson(path):
        meanings = {**classes, **dict.fromkeys(ignore, IGNORE)}
        return _read_outlines(path, target, size_px, meanings)
    pixels = read_label_image(path, size_px)
    return LabelImage(pixels if target == VESSEL else number_cells(pixels))


def parse_classes(
    pairs: Sequence[str], known: Mapping[str, str] = DEFAULT_CLASSES
) -> dict[str, str]:
    """Parse ``"Name=target"`` pairs and add them to the class mapping that is `known`.

    Raises
    ------
    AnnotationError
        If a pair has no ``=``, or its right side is not one of `CLASS_MEANINGS`.
    """
    classes = dict(known)
    for pair in pairs:
        name, equals, meaning = (part.strip() for part in pair.rpartition("="))
        if not (name and equals) or meaning not in CLASS_MEANINGS:
            raise AnnotationError(
                f"{pair!r} maps no class; write NAME=TARGET with a target of "
                f"{', '.join(CLASS_MEANINGS)}",
                field="classes",
            )
        classes[name] = meaning
    return classes


def _read_outlines(
    path: Path, target: str, size_px: tuple[int, int], meanings: Mapping[str, str]
) -> Outlines:
    found = read_outlines(path, meanings)
    frame = shapely.box(0, 0, *size_px)
    if found[target] and not any(outline.intersects(frame) for outline in found[target]):
        raise AnnotationError(
            f"every {target} of {path.name} lies outside of the image; "
            "export the outlines of this image in full-resolution pixels"
        )
    return Outlines(found[target], found[ANNOTATED_AREA], found[UNKNOWN_AREA])


def _rings(polygon: shapely.Polygon) -> list[Ring]:
    return [shapely.get_coordinates(ring)[:-1] for ring in (polygon.exterior, *polygon.interiors)]


def _paint(geometry: shapely.Geometry, grid: Grid, labels: npt.NDArray[Any], number: int) -> None:
    """Write `number` where the geometry covers pixel centres, looking at its bounding box only."""
    for polygon in shapely.get_parts(geometry):
        if polygon.is_empty:
            continue
        left, top, right, bottom = (
            edge / grid.step - origin
            for edge, origin in zip(polygon.bounds, (grid.x, grid.y) * 2, strict=True)
        )
        x0, y0 = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
        x1 = min(grid.width, int(np.ceil(right)) + 1)
        y1 = min(grid.height, int(np.ceil(bottom)) + 1)
        if x0 < x1 and y0 < y1:
            box = Grid(grid.x + x0, grid.y + y0, x1 - x0, y1 - y0, grid.step)
            labels[y0:y1, x0:x1][even_odd(_rings(polygon), box)] = number
