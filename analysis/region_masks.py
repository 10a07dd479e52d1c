"""Outlines as masks on the measuring grid, drawn window by window."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import shapely

from analysis.masks import Key, MaskLike, window_of
from imaging.polygons import Grid, Ring, even_odd
from imaging.tiles import Window

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class OutlineMask:
    """Where the centres of grid pixels lie inside an outline, bool (H, W), read window by window.

    Outlines that share an edge share no pixel and leave none out.

    Attributes
    ----------
    outline
        Polygons in image pixels.
    height_px, width_px
        Size of the grid.
    step
        Image pixels to a pixel of the grid.
    """

    outline: shapely.Geometry
    height_px: int
    width_px: int
    step: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Return (H, W)."""
        return self.height_px, self.width_px

    @cached_property
    def _polygons(self) -> list[tuple[list[Ring], tuple[float, float, float, float]]]:
        return [
            (
                [shapely.get_coordinates(r)[:-1] for r in (part.exterior, *part.interiors)],
                part.bounds,
            )
            for part in shapely.get_parts(self.outline)
            if not part.is_empty
        ]

    def __getitem__(self, key: Key) -> Bools:
        window = window_of(key, self.shape)
        if window is None:
            return np.zeros((0, 0), np.bool_)
        drawn = np.zeros((window.height, window.width), np.bool_)
        for rings, bounds in self._polygons:
            part = self._touched(bounds, window)
            if part is not None:
                grid = Grid(part.x, part.y, part.width, part.height, self.step)
                drawn[part.within(window).slices()] ^= even_odd(rings, grid)
        return drawn

    def _touched(self, bounds: tuple[float, float, float, float], window: Window) -> Window | None:
        """Return the part of a window that a polygon's bounds meet."""
        left, top, right, bottom = (edge / self.step for edge in bounds)
        x0, y0 = max(window.x, int(left) - 1), max(window.y, int(top) - 1)
        x1, y1 = min(window.right, int(right) + 2), min(window.bottom, int(bottom) + 2)
        return Window(x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


@dataclass(frozen=True)
class Within:
    """Where two masks hold, bool (H, W); with ``but`` where the first holds and that one not."""

    first: MaskLike | None
    second: MaskLike | None = None
    but: MaskLike | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (H, W)."""
        known = next(m for m in (self.first, self.second, self.but) if m is not None)
        return known.shape

    def __getitem__(self, key: Key) -> Bools:
        window = window_of(key, (self.shape[0], self.shape[1]))
        size = (0, 0) if window is None else (window.height, window.width)
        held = np.ones(size, np.bool_)
        for mask in (self.first, self.second):
            if mask is not None:
                held &= mask[key]
        if self.but is not None:
            held &= ~self.but[key]
        return held
