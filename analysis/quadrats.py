"""Sums by quadrat: the small squares of a section that the jackknife leaves out in turn.

A quadrat is a square of `side_px` on a grid that begins at the image's first pixel. Every sum that
needs an interval is kept by quadrat and region; its total is the sum over quadrats, so interval and
value cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.masks import counts_between
from imaging.tiles import Window

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

# A quarter of the smallest block's area: blocks put together from them are nearly equal.
QUADRAT_UM = 100.0


@dataclass(frozen=True)
class QuadratGrid:
    """Which quadrat a pixel lies in.

    Attributes
    ----------
    side_px
        Side of a quadrat.
    columns
        Quadrats in a row: number = row · columns + column.
    """

    side_px: int
    columns: int

    @classmethod
    def over(cls, width_px: int, mpp_um: float) -> QuadratGrid:
        """Return the grid of an image `width_px` wide."""
        side = max(1, round(QUADRAT_UM / mpp_um))
        return cls(side, -(-width_px // side))

    def of(self, y: Ints, x: Ints) -> Ints:
        """Return the quadrat (n,) of each pixel of the image."""
        return (y // self.side_px) * self.columns + x // self.side_px


@dataclass(frozen=True)
class QuadratSums:
    """Whole numbers summed by quadrat and region.

    Attributes
    ----------
    quadrat
        Numbers (Q,) of the quadrats that were seen, in rising order.
    value
        Sums (Q, R).
    """

    quadrat: Ints
    value: Ints

    @classmethod
    def collect(cls, quadrat: Ints, value: Ints) -> QuadratSums:
        """Add up `value` (n, R) by its quadrat (n,)."""
        seen, at = np.unique(quadrat, return_inverse=True)
        sums = np.zeros((len(seen), value.shape[1]), np.int64)
        np.add.at(sums, at, value)
        return cls(seen, sums)

    @classmethod
    def weigh(cls, quadrat: Ints, weight: Ints, member: Bools) -> QuadratSums:
        """Add up `weight` (n,) by its quadrat (n,) in each region that holds it, (n, R)."""
        seen, at = np.unique(quadrat, return_inverse=True)
        sums = [np.bincount(at[m], weight[m], minlength=len(seen)) for m in member.T]
        return cls(seen, np.stack(sums, axis=1).astype(np.int64))

    @property
    def total(self) -> Ints:
        """Return the sums over all quadrats (R,)."""
        total: Ints = self.value.sum(axis=0, dtype=np.int64)
        return total

    def __add__(self, other: QuadratSums) -> QuadratSums:
        """Return the sums of two disjoint sets of things."""
        return QuadratSums.collect(
            np.concatenate([self.quadrat, other.quadrat]),
            np.concatenate([self.value, other.value]),
        )

    def at(self, quadrat: Ints, region: int) -> Ints:
        """Return the sums of one region in the quadrats asked for; 0 where nothing was seen."""
        place = np.searchsorted(self.quadrat, quadrat)
        place = np.minimum(place, max(len(self.quadrat) - 1, 0))
        if not len(self.quadrat):
            return np.zeros(len(quadrat), np.int64)
        return np.where(self.quadrat[place] == quadrat, self.value[place, region], 0)


def count_pixels(grid: QuadratGrid, masks: Iterable[Bools], core: Window) -> QuadratSums:
    """Count the set pixels of R masks (h, w) of the block `core` by quadrat."""
    rows, row_edge = _bands(core.y, core.height, grid.side_px)
    columns, column_edge = _bands(core.x, core.width, grid.side_px)
    counts = [counts_between(mask, row_edge, column_edge).reshape(-1) for mask in masks]
    quadrat = (rows[:, None] * grid.columns + columns).reshape(-1)
    return QuadratSums(quadrat, np.stack(counts, axis=1))


def _bands(start: int, length: int, side: int) -> tuple[Ints, Ints]:
    """Return the grid's bands that [start, start + length) meets, and where each begins in it."""
    band = np.arange(start // side, (start + length - 1) // side + 1)
    return band, np.maximum(band * side - start, 0)


@dataclass(frozen=True)
class Places:
    """Things counted one by one, each at one pixel.

    Attributes
    ----------
    key
        Pixel of each (n,), as y·width + x of the image.
    member
        Regions (n, R) that hold it.
    """

    key: Ints
    member: Bools

    @property
    def total(self) -> Ints:
        """Return how many each region holds (R,)."""
        total: Ints = self.member.sum(axis=0, dtype=np.int64)
        return total

    def __add__(self, other: Places) -> Places:
        """Return the places of two disjoint sets of things."""
        return Places(
            np.concatenate([self.key, other.key]), np.concatenate([self.member, other.member])
        )

    def by_quadrat(self, grid: QuadratGrid, width_px: int) -> QuadratSums:
        """Count them by quadrat; `width_px` is that of the image."""
        return QuadratSums.collect(
            grid.of(self.key // width_px, self.key % width_px), self.member.astype(np.int64)
        )

    def of_region(self, region: int, width_px: int) -> tuple[Ints, Ints]:
        """Return (y, x) of what one region holds, in row-major order."""
        key = np.sort(self.key[self.member[:, region]])
        return key // width_px, key % width_px
