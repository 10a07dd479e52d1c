"""Polygons to label images: pure geometry, one rule.

A pixel belongs to a polygon if its centre lies inside; a centre exactly on an edge belongs to the
polygon on its right. So polygons that share an edge share no pixel and leave no gap between them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ring = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Grid:
    """A window of pixels: `width` × `height` of them, each `step` image pixels wide.

    The centre of pixel (column i, row j) lies at ((x + i + 0.5)·step, (y + j + 0.5)·step) in image
    pixels, whose own first pixel spans 0..1.
    """

    x: int
    y: int
    width: int
    height: int
    step: float = 1.0


def even_odd(rings: Sequence[Ring], grid: Grid) -> npt.NDArray[np.bool_]:
    """Return which pixel centres of `grid` a polygon with holes covers, bool (height, width).

    Parameters
    ----------
    rings
        The outline and its holes in any order and direction, each (vertices, 2) as x, y in image
        pixels, open or closed. A point is inside if a ray to it crosses an odd number of edges.
    """
    toggles = np.zeros((grid.height, grid.width + 1), np.int32)
    for ring in rings:
        start = ring / grid.step
        _toggle_right_of(start, np.roll(start, -1, axis=0), toggles, grid)
    return (np.cumsum(toggles[:, :-1], axis=1) % 2).astype(np.bool_)


def _toggle_right_of(start: Ring, end: Ring, toggles: npt.NDArray[np.int32], grid: Grid) -> None:
    """Count, for each row that an edge crosses, the first pixel whose centre lies right of it.

    Every edge is followed downwards and in coordinates of the whole grid: rounding is then the
    same for the two polygons that share it, and for every window.
    """
    falls = (start[:, 1] <= end[:, 1])[:, None]
    top, bottom = np.where(falls, start, end), np.where(falls, end, start)
    bounds = grid.y, grid.y + grid.height
    first, last = (
        np.clip(np.ceil(y - 0.5), *bounds).astype(int) for y in (top[:, 1], bottom[:, 1])
    )
    count = last - first
    edge = np.repeat(np.arange(len(start)), count)
    rows = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    along = (rows + 0.5 - top[edge, 1]) / (bottom[edge, 1] - top[edge, 1])
    crossing = top[edge, 0] + along * (bottom[edge, 0] - top[edge, 0])
    columns = np.clip(np.ceil(crossing - 0.5) - grid.x, 0, grid.width).astype(np.int64)
    np.add.at(toggles, (rows - grid.y, columns), 1)


def nearest_indices(start: int, count: int, step: float, size: int) -> npt.NDArray[np.int64]:
    """Return the image pixels in which the centres of `count` grid pixels lie, clipped to `size`.

    `start` is the first grid pixel; each is `step` image pixels wide.
    """
    centres = (np.arange(start, start + count) + 0.5) * step
    indices: npt.NDArray[np.int64] = np.clip(np.floor(centres), 0, size - 1).astype(np.int64)
    return indices
