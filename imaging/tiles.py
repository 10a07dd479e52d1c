"""Tile geometry: sizes in, windows out; no pixel is touched.

The cores of a grid partition the image, so every pixel has one owner; the outer window of a tile
is its core with a halo, clipped to the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels: left, top, width and height on one grid."""

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(
                f"a window needs at least one pixel, got {self.width} × {self.height}: "
                "give a width and a height of 1 or more"
            )

    @property
    def right(self) -> int:
        """Return the first column after the window."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """Return the first row after the window."""
        return self.y + self.height

    def slices(self) -> tuple[slice, slice]:
        """Return the (row, column) slices of the window in an array of the whole grid."""
        return slice(self.y, self.bottom), slice(self.x, self.right)

    def within(self, other: Window) -> Window:
        """Return this window in the coordinates of `other`, whose origin becomes (0, 0)."""
        return Window(self.x - other.x, self.y - other.y, self.width, self.height)


@dataclass(frozen=True, slots=True)
class Tile:
    """What a tile owns (`core`) and what has to be read for it (`outer`)."""

    core: Window
    outer: Window

    @property
    def core_in_outer(self) -> tuple[slice, slice]:
        """Return the (row, column) slices of the core in an array of the outer window."""
        return self.core.within(self.outer).slices()


def grid_shape(width: int, height: int, core_px: int) -> tuple[int, int]:
    """Return the number of tiles as (columns, rows)."""
    _check(width, height, core_px, 0)
    return -(-width // core_px), -(-height // core_px)


def grid(width: int, height: int, core_px: int, halo_px: int) -> Iterator[Tile]:
    """Yield the tiles of an image, row by row.

    Parameters
    ----------
    width, height : int
        Size of the image in pixels.
    core_px : int
        Side of a core; the last column and row may be narrower.
    halo_px : int
        Margin around a core, clipped to the image.

    Yields
    ------
    Tile
        Cores partition the image in row-major order.

    Raises
    ------
    ValueError
        When a size is not positive or the halo is negative.
    """
    _check(width, height, core_px, halo_px)
    for y in range(0, height, core_px):
        y_end = min(y + core_px, height)
        top, bottom = max(y - halo_px, 0), min(y_end + halo_px, height)
        for x in range(0, width, core_px):
            x_end = min(x + core_px, width)
            left, right = max(x - halo_px, 0), min(x_end + halo_px, width)
            yield Tile(
                core=Window(x, y, x_end - x, y_end - y),
                outer=Window(left, top, right - left, bottom - top),
            )


def owner(x: int, y: int, width: int, height: int, core_px: int) -> int:
    """Return the row-major index of the tile whose core holds the pixel (x, y)."""
    columns, _ = grid_shape(width, height, core_px)
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"pixel ({x}, {y}) lies outside the image of {width} × {height} px")
    return (y // core_px) * columns + x // core_px


def blend_weights(
    tile: Tile, width: int, height: int, core_px: int, halo_px: int
) -> NDArray[np.float32]:
    """Return the weight of each pixel of a tile's outer window.

    Weights fall linearly across the border between two cores, from one halo inside to one halo
    outside, never further than half a core; over all tiles of a grid they sum to 1 at every pixel.

    Parameters
    ----------
    tile : Tile
        A tile of `grid(width, height, core_px, halo_px)`.
    width, height, core_px, halo_px : int
        The same arguments that made the grid.

    Returns
    -------
    ndarray of float32, shape (outer height, outer width)
        Weights from 0 to 1.
    """
    _check(width, height, core_px, halo_px)
    core, outer = tile.core, tile.outer
    rows = _axis_weights(core.y, core.bottom, outer.y, outer.bottom, height, core_px, halo_px)
    columns = _axis_weights(core.x, core.right, outer.x, outer.right, width, core_px, halo_px)
    return (rows[:, None] * columns[None, :]).astype(np.float32)


def _axis_weights(
    start: int, stop: int, outer_start: int, outer_stop: int, length: int, core_px: int, halo: int
) -> NDArray[np.float64]:
    """Return the weights along one axis of the outer window."""
    centre = np.arange(outer_start, outer_stop, dtype=np.float64) + 0.5
    weights = np.ones(outer_stop - outer_start)
    for border, side in ((start, 1.0), (stop, -1.0)):
        if border in (0, length):
            continue
        after = min(core_px, length - border)
        reach = min(float(halo), core_px / 2, after / 2)
        if reach > 0:
            ramp = np.clip(0.5 + side * (centre - border) / (2 * reach), 0.0, 1.0)
        else:
            ramp = (side * (centre - border) > 0).astype(np.float64)
        weights *= ramp
    return weights


def _check(width: int, height: int, core_px: int, halo_px: int) -> None:
    """Refuse sizes that make no grid."""
    if width < 1 or height < 1 or core_px < 1 or halo_px < 0:
        raise ValueError(
            f"no grid of {width} × {height} px with cores of {core_px} px and a halo of "
            f"{halo_px} px: sizes must be at least 1 and the halo at least 0"
        )
