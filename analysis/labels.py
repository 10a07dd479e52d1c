"""Objects as a picture of labels: every pixel holds the number of the object that it belongs to.

Painted from the outlines themselves, which follow the edges of pixels: the picture, the GeoJSON
and the table cannot disagree. Letters: H, W pixels of the image, C classes of objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from analysis.objects import CELL_CLASS, VESSEL_CLASS, SectionObject, numbered
from analysis.pipeline import SectionResult
from analysis.raster import TILE_PX, ImageFrame, nearest, write_ome_tiff
from imaging.open import SectionImage

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelRuns:
    """Horizontal runs of pixels in row-major order: row, first column, column after the last."""

    row: Ints
    start: Ints
    stop: Ints
    label: Ints

    @classmethod
    def of(cls, objects: list[tuple[int, SectionObject]]) -> LabelRuns:
        """Return the runs of numbered objects, whose corners are corners of pixels.

        A row of pixels enters and leaves an object where it crosses the outline's upright edges.
        """
        crossings = [_crossings(number, item) for number, item in objects]
        if not crossings:
            return cls(*(np.empty(0, np.int64) for _ in range(4)))
        row, column, label = np.concatenate(crossings, axis=1)
        order = np.lexsort((column, label, row))
        row, column, label = row[order], column[order], label[order]
        return cls(row[::2], column[::2], column[1::2], label[::2])

    def paint(self, top: int, height: int, width: int) -> npt.NDArray[np.uint32]:
        """Return the labels of `height` rows from `top` on, (height, width), 0 where no object."""
        first, last = np.searchsorted(self.row, (top, top + height))
        size = (self.stop - self.start)[first:last]
        begin = (self.row[first:last] - top) * width + self.start[first:last]
        within = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
        labels = np.zeros((height, width), np.uint32)
        labels.reshape(-1)[np.repeat(begin, size) + within] = np.repeat(
            self.label[first:last], size
        )
        return labels


def _crossings(number: int, item: SectionObject) -> Ints:
    """Return row, column and number (3, n) where the rows of pixels cross an object's outline."""
    corners, ring = shapely.get_coordinates(
        shapely.get_rings(shapely.get_parts(item.geometry)), return_index=True
    )
    corners = np.rint(corners).astype(np.int64)
    upright = (ring[1:] == ring[:-1]) & (corners[1:, 0] == corners[:-1, 0])
    ends = np.sort(np.stack([corners[:-1, 1], corners[1:, 1]])[:, upright], axis=0)
    length = ends[1] - ends[0]
    row = np.repeat(ends[0], length)
    row += np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
    column = np.repeat(corners[:-1, 0][upright], length)
    return np.stack([row, column, np.full(len(row), number)])


def write_labels(
    result: SectionResult, image: SectionImage, path: Path, objects: list[SectionObject]
) -> None:
    """Write profiles and cells as a tiled OME-TIFF (C, H, W) in the image's own size.

    One channel for each marker measured; an object's number is its ``label`` in the table of
    objects, 0 is no object. 16 bits, or 32 for more than 65,535 objects.
    """
    named = {VESSEL_CLASS: result.vessel_mask, CELL_CLASS: result.cell_mask}
    classes = [name for name, mask in named.items() if mask is not None]
    counted = numbered(objects)
    runs = [LabelRuns.of([(k, item) for k, item in counted if item.name == c]) for c in classes]
    frame = ImageFrame.of(image, result.mpp_um)
    dtype = np.dtype(np.uint16 if len(counted) < 2**16 else np.uint32)
    partial = path.with_name(path.name + ".partial")
    planes = [_strips(one, result.shape, frame, dtype) for one in runs]
    write_ome_tiff(partial, frame, dtype, planes, classes)
    partial.replace(path)


def _strips(
    runs: LabelRuns, grid_size: tuple[int, int], frame: ImageFrame, dtype: np.dtype[Any]
) -> Iterator[npt.NDArray[Any]]:
    """Yield the labels in the image's own size as strips (`TILE_PX`, W) from the top."""
    rows = nearest(frame.height_px, frame.scale, grid_size[0])
    columns = nearest(frame.width_px, frame.scale, grid_size[1])
    for top in range(0, frame.height_px, TILE_PX):
        wanted = rows[top : top + TILE_PX]
        first = int(wanted[0])
        seen = runs.paint(first, int(wanted[-1]) + 1 - first, grid_size[1])
        yield seen[wanted - first][:, columns].astype(dtype)
